"""Every term of the loss by hand, the empty cases first."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from genau.processor import IGNORED_LABEL
from genau.training.losses import LossTerm, dice, empty_top, focal, image, language, region_types, segmentation, weigh

ALL = torch.ones(1, 2, 3, dtype=torch.bool)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def cells(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 2, 3)


def test_focal_loss_by_hand() -> None:
    margin = cells(*(logit(p) for p in (0.9, 0.1, 0.5, 0.5, 0.2, 0.8)))
    target = cells(1, 0, 1, 0, 1, 0)
    right = [0.9, 0.9, 0.5, 0.5, 0.2, 0.2]  # the probability of what is true
    expected = sum(-((1 - p) ** 2) * math.log(p) for p in right) / 6
    term = focal(margin, target, ALL)
    assert term.count == 1
    assert term.total.item() == pytest.approx(expected, rel=1e-5)


def test_focal_loss_is_averaged_over_the_valid_cells_of_each_picture() -> None:
    margin = torch.cat([cells(0, 0, 0, 99, 99, 99), cells(0, 0, 0, 0, 0, 0)])
    valid = torch.cat([ALL, ALL])
    valid[0, 1] = False
    term = focal(margin, torch.zeros(2, 2, 3), valid)
    assert term.mean.item() == pytest.approx(0.25 * math.log(2))
    assert term.count == 2
    assert focal(margin, torch.zeros(2, 2, 3), torch.zeros_like(valid)).mean.item() == 0


def test_dice_by_hand_with_padding() -> None:
    probability, target = cells(0.5, 1.0, 0.25, 0.9, 0.9, 0.9), cells(1, 1, 0, 1, 0, 1)
    valid = ALL.clone()
    valid[0, 1] = False
    expected = 1 - (2 * 1.5 + 1) / (1.75 + 2 + 1)
    assert dice(probability, target, valid).tolist() == pytest.approx([expected])
    assert dice(target, target, ALL).tolist() == pytest.approx([0.0])


def test_the_empty_term_is_the_mean_of_the_worst_hundredth_of_the_valid_cells() -> None:
    margin = torch.full((2, 10, 25), -3.0)
    margin[0, 4, 7], margin[0, 9, 24], margin[0, 0, 0], margin[0, 1, 1] = 2.0, 1.0, 0.5, 0.4
    margin[1, 0, :4] = 5.0
    valid = torch.ones(2, 10, 25, dtype=torch.bool)
    valid[1, 0, :3] = False  # of 247 cells one stays lit
    softplus = [math.log1p(math.exp(z)) for z in (2.0, 1.0, 0.5, 5.0, -3.0)]
    expected = [sum(softplus[:3]) / 3, (softplus[3] + 2 * softplus[4]) / 3]  # ceil(2.5) and ceil(2.47)
    assert empty_top(margin, valid).tolist() == pytest.approx(expected, rel=1e-5)
    assert empty_top(margin[:, :2, :3], valid[:, :2, :3])[0].item() == pytest.approx(softplus[2], rel=1e-5)


def test_an_empty_mask_pushes_down_what_fires_and_dice_alone_would_not() -> None:
    margin = torch.full((1, 160, 100), -2.0)
    margin[0, 50, 70] = 1.0
    margin.requires_grad_()
    target, valid = torch.zeros(1, 160, 100), torch.ones(1, 160, 100, dtype=torch.bool)
    (of_empty,) = torch.autograd.grad(segmentation(margin, target, valid)["empty"].mean, margin)
    (of_dice,) = torch.autograd.grad(dice(torch.sigmoid(margin), target, valid).sum(), margin)
    assert of_empty[0, 50, 70].item() == pytest.approx(torch.tensor(1.0).sigmoid().item() / 160, rel=1e-4)
    assert of_dice.abs().max().item() < 1e-6


def test_the_parts_are_counted_each_over_its_own_samples() -> None:
    margin = torch.stack([cells(2, -2, 0, 1, -1, 3)[0], cells(1, 1, 1, -1, -1, -1)[0], cells(0, 0, 0, 0, 0, 0)[0]])
    target = torch.zeros(3, 2, 3)
    target[0, 0, 0] = target[0, 1, 2] = 1
    target[2, 1, 1] = 1
    valid = torch.ones(3, 2, 3, dtype=torch.bool)
    valid[2, 1, 1] = False  # a defect that lies on padding only is none
    parts = segmentation(margin, target, valid)
    assert {name: term.count for name, term in parts.items()} == {
        "focal": 3,
        "dice_defect": 1,
        "empty": 2,
        "dice_normal": 3,
    }
    a = torch.sigmoid(margin)
    expected = 1 - (2 * (a[0, 0, 0] + a[0, 1, 2]) + 1) / (a[0].sum() + 2 + 1)
    assert parts["dice_defect"].mean.item() == pytest.approx(expected.item())
    assert parts["empty"].mean.item() == pytest.approx((math.log1p(math.e) + math.log(2)) / 2, rel=1e-5)
    normal = [
        1
        - (2 * ((1 - a[n]) * (1 - target[n]) * valid[n]).sum() + 1)
        / (((1 - a[n]) * valid[n]).sum() + ((1 - target[n]) * valid[n]).sum() + 1)
        for n in range(3)
    ]
    assert parts["dice_normal"].mean.item() == pytest.approx(sum(n.item() for n in normal) / 3, rel=1e-5)


@pytest.mark.parametrize("filled", [True, False])
def test_batches_of_only_one_kind_have_finite_terms_and_gradients(filled: bool) -> None:
    margin = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = torch.zeros(2, 4, 7)
    target[:, 1:3, 2:5] = float(filled)
    parts = segmentation(margin, target, torch.ones(2, 4, 7, dtype=torch.bool))
    assert parts["dice_defect" if not filled else "empty"].count == 0
    assert parts["dice_defect" if not filled else "empty"].mean.item() == 0
    weigh(parts, 1.0, 0.0).backward()
    assert margin.grad is not None
    assert margin.grad.isfinite().all()
    assert margin.grad.abs().max() > 0


def test_the_padding_gets_no_gradient() -> None:
    for filled in (0.0, 1.0):
        margin = torch.full((1, 2, 3), 4.0, requires_grad=True)
        target = cells(filled, 0, 0, 0, 0, 0)
        valid = ALL.clone()
        valid[0, :, 2] = False
        (gradient,) = torch.autograd.grad(weigh(segmentation(margin, target, valid), 1.0, 0.0), margin)
        assert (gradient[0, :, 2] == 0).all()
        assert (gradient[0, :, :2] != 0).all() or filled == 0.0


def test_a_batch_in_pieces_has_the_sums_of_the_whole() -> None:
    generator = torch.Generator().manual_seed(1)
    margin = torch.randn(5, 3, 4, generator=generator)
    target = (torch.rand(5, 3, 4, generator=generator) > 0.7).float()
    target[1] = target[4] = 0
    valid = torch.rand(5, 3, 4, generator=generator) > 0.2
    whole = segmentation(margin, target, valid)
    pieces = [segmentation(margin[a:b], target[a:b], valid[a:b]) for a, b in ((0, 2), (2, 4), (4, 5))]
    for name, term in whole.items():
        assert term.count == sum(piece[name].count for piece in pieces)
        assert term.total.item() == pytest.approx(sum(piece[name].total.item() for piece in pieces), rel=1e-5)


def test_a_better_map_costs_less_in_every_part() -> None:
    target = cells(1, 0, 0, 0, 0, 1)
    good, bad = (segmentation((2 * target - 1) * sign * 3, target, ALL) for sign in (1, -1))
    for name in ("focal", "dice_defect", "dice_normal"):
        assert good[name].mean < bad[name].mean


def test_language_loss_counts_labelled_words_and_ignores_the_rest() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [9.0, 9.0, -9.0]])
    labels = torch.tensor([1, 0, IGNORED_LABEL])
    term = language(logits, labels)
    assert term.count == 2
    assert term.total.item() == pytest.approx(math.log(3) + math.log(1 + 2 * math.exp(-2)))
    assert term.total.item() == pytest.approx(F.cross_entropy(logits, labels, reduction="sum").item())


def test_without_any_label_the_language_loss_is_zero_and_has_a_gradient() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    term = language(logits, torch.full((2,), IGNORED_LABEL))
    assert term.count == 0
    term.mean.backward()
    assert term.mean.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_the_loss_of_region_types_is_over_the_types_that_may_be_meant() -> None:
    logits = torch.tensor([[1.0, 0.0, 50.0, 2.0], [0.5, 3.0, -1.0, 0.0]])
    allowed = torch.tensor([[True, True, False, True], [True, True, True, True]])  # the third lies there too
    term = region_types(logits, torch.tensor([0, 2]), allowed)
    one = -math.log(math.exp(1) / (math.exp(1) + 1 + math.exp(2)))
    other = -math.log(math.exp(-1) / sum(math.exp(z) for z in (0.5, 3.0, -1.0, 0.0)))
    assert term.count == 2
    assert term.total.item() == pytest.approx(one + other, rel=1e-5)


def test_a_rival_that_is_ruled_out_gets_no_gradient_and_the_others_do() -> None:
    logits = torch.tensor([[1.0, 0.0, 50.0]], requires_grad=True)
    region_types(logits, torch.tensor([0]), torch.tensor([[True, True, False]])).total.backward()
    assert logits.grad is not None
    assert logits.grad[0, 2] == 0
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]


def test_a_region_without_any_rival_costs_nothing() -> None:
    term = region_types(torch.tensor([[1.0, 9.0]]), torch.tensor([0]), torch.tensor([[True, False]]))
    assert (term.total.item(), term.count) == (0, 1)


def test_without_regions_the_loss_of_types_is_zero_and_has_a_gradient() -> None:
    weight = torch.ones(2, 3, requires_grad=True)
    logits = torch.zeros(0, 2) @ weight
    term = region_types(logits, torch.zeros(0, dtype=torch.long), torch.zeros(0, 3, dtype=torch.bool))
    assert (term.count, term.mean.item()) == (0, 0)
    term.mean.backward()
    assert weight.grad is not None
    assert (weight.grad == 0).all()


def test_the_image_loss_by_hand_and_finite_at_the_ends() -> None:
    term = image(torch.tensor([0.25, 0.5]), torch.tensor([True, False]))
    assert term.count == 2
    assert term.total.item() == pytest.approx(-math.log(0.25) - math.log(0.5))
    assert image(torch.tensor([0.0, 1.0]), torch.tensor([1, 0])).mean.isfinite()


def test_the_whole_is_language_and_verdicts_plus_lambda_times_segmentation_plus_the_weighted_image_term() -> None:
    parts = {
        "language": LossTerm(torch.tensor(6.0), 3),
        "verdict": LossTerm(torch.tensor(2.0), 4),
        "focal": LossTerm(torch.tensor(1.0), 4),
        "dice_defect": LossTerm(torch.tensor(5.0), 0),
        "empty": LossTerm(torch.tensor(3.0), 2),
        "type": LossTerm(torch.tensor(9.0), 4),
        "image": LossTerm(torch.tensor(8.0), 2),
        "typed_image": LossTerm(torch.tensor(3.0), 1),
    }
    assert weigh(parts, 0.0, 0.0).item() == pytest.approx(2.0 + 0.5)
    assert weigh(parts, 2.0, 0.5).item() == pytest.approx(2 + 0.5 + 2 * (0.25 + 5 + 1.5 + 2.25) + 0.5 * (4 + 3))
