"""Curves end where they must, lose nothing that can be seen, and enclose the area that the measure gives."""

import numpy as np
import pytest
from numpy.typing import NDArray

from genau.metrics import (
    PixelHistogram,
    UndefinedMetricError,
    auroc,
    precision_recall_points,
    roc_points,
)

sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is in the extra 'dev'")


def _scores(n: int = 5000, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.2
    return rng.random(n) * 0.7 + 0.3 * labels * rng.random(n), labels


def _histogram() -> PixelHistogram:
    rng = np.random.default_rng(1)
    histogram = PixelHistogram()
    for size in (3, 9, 20):
        mask = np.zeros((60, 90), np.bool_)
        mask[5 : 5 + size, 7 : 7 + 2 * size] = True
        histogram.update((rng.random(mask.shape) * 0.7 + 0.3 * mask * rng.random(mask.shape)).astype(np.float32), mask)
    return histogram


def _area(points: list[tuple[float, float]]) -> float:
    x, y = np.array(points).T
    return float(np.trapezoid(y, x))


def test_a_curve_that_is_not_thinned_is_that_of_scikit_learn() -> None:
    scores, labels = _scores(40)
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc_points(scores, labels), np.stack([fpr, tpr], axis=1))
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    expected = np.stack([recall, precision], axis=1)[-2::-1]  # theirs ends with an invented (0, 1)
    np.testing.assert_allclose(precision_recall_points(scores, labels), expected)


def test_thinned_curves_of_images_keep_their_ends_and_their_area() -> None:
    scores, labels = _scores()
    roc = roc_points(scores, labels, most=50)
    assert len(roc) <= 50
    assert (roc[0], roc[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert _area(roc) == pytest.approx(auroc(scores, labels), abs=2e-3)
    curve = precision_recall_points(scores, labels, most=50)
    assert len(curve) <= 50
    assert curve[0] == precision_recall_points(scores, labels, most=10**6)[0]
    assert curve[-1] == pytest.approx((1.0, labels.mean()))


def test_thinned_curves_of_pixels_keep_their_ends_and_their_area() -> None:
    histogram = _histogram()
    roc, pro = histogram.roc_points(60), histogram.pro_points(60)
    assert max(len(roc), len(pro), len(histogram.precision_recall_points(60))) <= 60
    assert (roc[0], roc[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert _area(roc) == pytest.approx(histogram.auroc(), abs=2e-3)
    assert pro[0] == (0.0, 0.0)
    assert pro[-1][0] == 0.3
    assert _area(pro) / 0.3 == pytest.approx(histogram.aupro(), abs=2e-3)
    assert _area(histogram.pro_points(10**6, 0.1)) / 0.1 == pytest.approx(histogram.aupro(0.1), abs=1e-12)
    share = histogram.anomalous.sum() / (histogram.anomalous.sum() + histogram.normal.sum())
    assert histogram.precision_recall_points(60)[-1] == pytest.approx((1.0, share))


def test_points_rise_with_a_laxer_threshold() -> None:
    histogram = _histogram()
    for points in (histogram.roc_points(30), histogram.pro_points(30), roc_points(*_scores(), most=30)):
        assert (np.diff(np.array(points), axis=0) >= 0).all()


def test_equal_scores_have_a_curve_of_two_points() -> None:
    assert roc_points([0.5, 0.5, 0.5], [1, 0, 0]) == [(0.0, 0.0), (1.0, 1.0)]
    assert precision_recall_points([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0]) == [(1.0, 0.25)]


def test_a_curve_that_is_undefined_says_which_and_why() -> None:
    with pytest.raises(UndefinedMetricError, match="The ROC curve needs both classes; got 0 anomalous and 2 normal"):
        roc_points([0.1, 0.2], [0, 0])
    with pytest.raises(UndefinedMetricError, match="The precision-recall curve needs both classes"):
        precision_recall_points([0.1, 0.2], [1, 1])
    with pytest.raises(UndefinedMetricError, match="The pixel ROC curve needs both classes"):
        PixelHistogram().roc_points()
    with pytest.raises(UndefinedMetricError, match="The pixel precision-recall curve needs both classes"):
        PixelHistogram().precision_recall_points()
    with pytest.raises(UndefinedMetricError, match="The PRO curve needs defect regions"):
        PixelHistogram().pro_points()
    with pytest.raises(ValueError, match="most=1 must be at least 2"):
        roc_points([0.1, 0.2], [0, 1], most=1)
    with pytest.raises(ValueError, match="fpr_limit=0 must be above 0"):
        _histogram().pro_points(fpr_limit=0)
