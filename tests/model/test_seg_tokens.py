"""Tokens are put in and taken out at their places, and every count is checked."""

import pytest
import torch

from genau.model.seg_tokens import SegTokens, place_visual_tokens

DEFECT, NORMAL, IMAGE = 90, 91, 92


@pytest.fixture
def tokens() -> SegTokens:
    return SegTokens(3, DEFECT, NORMAL)


def test_only_the_two_tokens_get_their_own_embeddings(tokens: SegTokens) -> None:
    ids = torch.tensor([[1, DEFECT, NORMAL, 2], [NORMAL, 1, 2, DEFECT]])
    words = torch.arange(24, dtype=torch.float32).reshape(2, 4, 3)
    placed = tokens.place(words, ids)
    assert torch.equal(placed[0, 1], tokens.embeddings[0])
    assert torch.equal(placed[1, 3], tokens.embeddings[0])
    assert torch.equal(placed[0, 2], tokens.embeddings[1])
    assert torch.equal(placed[1, 0], tokens.embeddings[1])
    plain = (ids != DEFECT) & (ids != NORMAL)
    assert torch.equal(placed[plain], words[plain])
    assert torch.equal(words, torch.arange(24, dtype=torch.float32).reshape(2, 4, 3))


def test_the_gradient_reaches_both_embeddings(tokens: SegTokens) -> None:
    tokens.place(torch.zeros(1, 3, 3), torch.tensor([[DEFECT, 5, NORMAL]])).sum().backward()
    assert tokens.embeddings.grad is not None
    assert (tokens.embeddings.grad == 1).all()


def test_states_are_taken_defect_first_wherever_they_stand(tokens: SegTokens) -> None:
    ids = torch.tensor([[1, DEFECT, NORMAL, 2], [NORMAL, 1, 2, DEFECT]])
    hidden = torch.arange(24, dtype=torch.float32).reshape(2, 4, 3)
    states = tokens.take(hidden, ids)
    assert torch.equal(states[0], hidden[0, [1, 2]])
    assert torch.equal(states[1], hidden[1, [3, 0]])


@pytest.mark.parametrize(
    ("ids", "name", "counts"),
    [
        ([[DEFECT, NORMAL], [DEFECT, 1]], "SEG_normal", r"\[1, 0\]"),
        ([[DEFECT, NORMAL, DEFECT]], "SEG_defect", r"\[2\]"),
        ([[1, 2, NORMAL]], "SEG_defect", r"\[0\]"),
    ],
)
def test_a_missing_or_doubled_query_token_is_refused(
    tokens: SegTokens, ids: list[list[int]], name: str, counts: str
) -> None:
    rows = torch.tensor(ids)
    with pytest.raises(ValueError, match=rf"must hold \[{name}\] exactly once; found {counts}"):
        tokens.take(torch.zeros(*rows.shape, 3), rows)


def test_visual_tokens_take_the_placeholders_in_order_row_by_row() -> None:
    ids = torch.tensor([[1, IMAGE, IMAGE, 2], [IMAGE, 3, 4, IMAGE]])
    visual = torch.arange(1.0, 13.0).reshape(2, 2, 3)
    placed = place_visual_tokens(torch.zeros(2, 4, 3), ids == IMAGE, visual, torch.tensor([2, 2]))
    assert torch.equal(placed[0, 1:3], visual[0])
    assert torch.equal(placed[1, [0, 3]], visual[1])
    assert (placed[ids != IMAGE] == 0).all()


@pytest.mark.parametrize("count", [1, 3])
def test_too_few_and_too_many_visual_tokens_are_refused(count: int) -> None:
    ids = torch.tensor([[1, IMAGE, IMAGE, 2]])
    with pytest.raises(ValueError, match=rf"\[2\] image placeholders for \[{count}\] visual tokens.*same checkpoint"):
        place_visual_tokens(torch.zeros(1, 4, 3), ids == IMAGE, torch.zeros(1, count, 3), torch.tensor([count]))


def test_counts_that_agree_only_in_sum_are_refused() -> None:
    ids = torch.tensor([[IMAGE, IMAGE, IMAGE], [IMAGE, 1, 2]])
    with pytest.raises(ValueError, match=r"\[3, 1\] image placeholders"):
        place_visual_tokens(torch.zeros(2, 3, 3), ids == IMAGE, torch.zeros(2, 2, 3), torch.tensor([2, 2]))
