"""Masks: how well one that should be there is drawn, and whether none is drawn where none should be."""

import numpy as np
import pytest

from genau.metrics import UndefinedMetricError, iou

sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is in the extra 'dev'")


def test_iou_by_hand() -> None:
    truth, pred = np.zeros((4, 7), np.bool_), np.zeros((4, 7), np.bool_)
    truth[1, 1:5] = True
    pred[1:3, 3:6] = True
    assert iou(pred, truth) == 2 / 8
    assert iou(truth, truth) == 1
    assert iou(~truth, truth) == 0


def test_iou_is_the_jaccard_score_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    pred, truth = rng.random((13, 22)) < 0.4, rng.random((13, 22)) < 0.2
    assert iou(pred, truth) == pytest.approx(sk.jaccard_score(truth.ravel(), pred.ravel()))


def test_nothing_drawn_misses_a_defect() -> None:
    nothing, truth = np.zeros((3, 5), np.bool_), np.eye(3, 5, dtype=np.bool_)
    assert iou(nothing, truth) == 0


def test_iou_of_a_good_part_is_undefined() -> None:
    with pytest.raises(UndefinedMetricError, match=r"this mask is empty. Leave good parts out"):
        iou(np.ones((3, 5), np.bool_), np.zeros((3, 5), np.bool_))


def test_masks_that_are_no_masks_are_refused() -> None:
    mask = np.ones((3, 5), np.bool_)
    with pytest.raises(ValueError, match=r"pred \(3, 5\) and truth \(5, 3\) must have one shape"):
        iou(mask, mask.T)
    with pytest.raises(
        ValueError, match=r"pred is uint8 \(3, 5\); it must be bool \(H, W\) with pixels. Use mask != 0"
    ):
        iou(mask.astype(np.uint8), mask)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="truth is float64"):
        iou(mask, mask.astype(np.float64))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"pred is bool \(0, 0\)"):
        iou(np.zeros((0, 0), np.bool_), mask)
