"""What we ask: who wrote which words, and the form of the answer."""

from dataclasses import fields

import pytest

from genau.prompts import (
    ANALYSIS_KEYS,
    ANY_DEFECT_FORMS,
    CHAT_FORMATS,
    DEFECT_WORD,
    FREE_KEYS,
    IMAGE_TOKEN,
    INSTRUCTION,
    NORMAL_WORD,
    PRODUCT_FORMS,
    QUERY_TOKENS,
    TYPE_FORMS,
    VERDICT_PROMPT,
    Query,
    answer_text,
    question_spans,
)
from genau.results import Analysis


def words(query: Query, form: int = 0) -> str:
    return "".join(span.text for span in question_spans(query, form))


def test_a_question_reads_as_a_sentence() -> None:
    assert words(Query()) == "Look for any defect."
    assert words(Query(product="connector")) == "Product: connector. Look for any defect."
    assert words(Query("bent pin")) == "Look for this defect: bent pin."
    assert (
        words(Query("bent pin", "a pin out of line", "connector"), 1)
        == "This is a connector. Is there any bent pin (a pin out of line)?"
    )


def test_phrasings_are_taken_in_turn_and_begin_again() -> None:
    forms = len(ANY_DEFECT_FORMS)
    assert {words(Query(), form) for form in range(2 * forms)} == set(ANY_DEFECT_FORMS)
    assert words(Query("dent", product="cap"), 0) == words(Query("dent", product="cap"), 12)
    assert len({words(Query("dent"), form) for form in range(8)}) == len(TYPE_FORMS)


@pytest.mark.parametrize("form", range(12))
def test_exactly_what_a_user_wrote_is_not_trusted(form: int) -> None:
    spans = question_spans(Query("TYPE", "DESCRIPTION", "PRODUCT"), form)
    assert [span.text for span in spans if not span.trusted] == ["PRODUCT", "TYPE", "DESCRIPTION"]
    assert all(span.trusted for span in question_spans(Query(), form))


def test_no_wording_of_ours_holds_a_control_token_by_accident() -> None:
    pairs = [word for pair in (*TYPE_FORMS, *PRODUCT_FORMS) for word in pair]
    for text in (INSTRUCTION, *ANY_DEFECT_FORMS, *ANALYSIS_KEYS, *pairs):
        assert not any(token in text for token in (*QUERY_TOKENS, IMAGE_TOKEN, "<|"))


def test_the_query_tokens_stand_before_the_verdict_and_defect_comes_first() -> None:
    assert VERDICT_PROMPT == "[SEG_defect][SEG_normal] Verdict:"
    assert (NORMAL_WORD, DEFECT_WORD) == (" normal", " defect")


def test_the_lines_of_an_answer_are_the_fields_of_an_analysis_in_order() -> None:
    keys = ["verdict", *(key.lower().replace(" ", "_") for key in ANALYSIS_KEYS)]
    assert keys == [field.name for field in fields(Analysis)]
    assert set(FREE_KEYS) < set(ANALYSIS_KEYS)


def test_an_answer_is_the_verdict_word_and_then_the_lines() -> None:
    assert answer_text(NORMAL_WORD) == " normal"
    text = answer_text(DEFECT_WORD, {key: key.upper() for key in reversed(ANALYSIS_KEYS)})
    assert text == (
        " defect\nTypes: TYPES\nLocation: LOCATION\nAppearance: APPEARANCE\nSeverity: SEVERITY"
        "\nLikely cause: LIKELY CAUSE\nRecommendation: RECOMMENDATION"
    )


def test_an_answer_with_a_missing_line_is_refused() -> None:
    with pytest.raises(KeyError, match="Recommendation"):
        answer_text(DEFECT_WORD, dict.fromkeys(ANALYSIS_KEYS[:-1], "x"))


def test_a_turn_of_the_chat_ends_as_it_is_labelled() -> None:
    chat = CHAT_FORMATS["chatml"]
    assert chat.before_answer.startswith(chat.end_of_turn)
    assert chat.before_picture.startswith(chat.end_of_turn)
