"""Which option an answer names, and when it names none."""

import pytest

from genau.evaluation.dialogue.choice import read_as_published, read_option, read_yes_no, yes_as_published

OPTIONS = {"A": "Scratch.", "B": "Broken rim.", "C": "No defect.", "D": "A stain."}


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("**B**", "B"),
        ("(B) Broken rim.", "B"),
        ("Answer: B.", "B"),
        ("The answer is B because A scratch would be thinner", "B"),
        ("The correct option is D. A stain.", "D"),
        ("Answer: **A**", "A"),
        ("broken rim", "B"),
        ("A scratch is visible on the rim.", None),
        ("The answer is A scratch", None),
        ("A or B", None),
        ("Answer: A. Answer: B.", None),
        ("E", None),
        ("I am not sure.", None),
        ("", None),
        ("b", None),
        ("<think>Perhaps A, no, C.</think>B", "B"),
        ("<think>It could be A", None),
    ],
)
def test_an_option_is_read_only_where_one_is_named(text: str, option: str | None) -> None:
    assert read_option(text, OPTIONS) == option


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Yes", "Yes"),
        ("no.", "No"),
        ("Yes, without a doubt, no question.", "Yes"),
        ("There are no defects.", "No"),
        ("I see yes and no", None),
        ("The part is broken.", None),
        ("Nothing is wrong, I know", None),
        ("", None),
        ("<think>no</think> Yes", "Yes"),
    ],
)
def test_yes_or_no_is_read_only_where_one_is_said(text: str, said: str | None) -> None:
    assert read_yes_no(text) == said


def test_the_published_reading_takes_the_last_letter_and_else_the_closest_option() -> None:
    assert read_as_published("Answer: B. A scratch would be thinner.", OPTIONS) == "A"
    assert read_as_published("the rim is broken", OPTIONS) == "B"
    assert read_as_published("zzz", OPTIONS) in OPTIONS
    assert [yes_as_published(text) for text in ("oh yes", "YES", "hm", "eyes")] == ["Yes", "No", "No", "Yes"]
