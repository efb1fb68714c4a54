"""Calibration of scores: by hand, and against scikit-learn."""

import numpy as np
import pytest

from genau.metrics import UndefinedMetricError, brier, expected_calibration_error, reliability_points

sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is in the extra 'dev'")


def test_the_calibration_error_by_hand() -> None:
    scores, labels = [0.1, 0.2, 0.9, 0.7], [0, 1, 1, 1]
    # Two bins: mean score 0.15 with half defective; mean score 0.8 with all defective.
    assert reliability_points(scores, labels, bins=2) == [
        pytest.approx((0.15, 0.5, 2)),
        pytest.approx((0.8, 1.0, 2)),
    ]
    assert expected_calibration_error(scores, labels, bins=2) == pytest.approx(0.5 * 0.35 + 0.5 * 0.2)


def test_points_are_those_of_scikit_learn_on_its_edges_too() -> None:
    calibration = pytest.importorskip("sklearn.calibration")
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.random(200), np.arange(9) / 8])  # 0, 1 and the edges of eight bins
    labels = rng.random(scores.size) < scores
    share, mean = calibration.calibration_curve(labels, scores, n_bins=8)
    points = np.array(reliability_points(scores, labels, bins=8))
    np.testing.assert_allclose(points[:, :2], np.stack([mean, share], axis=1))
    assert points[:, 2].sum() == scores.size


def test_a_calibrated_score_has_a_small_error_and_a_bold_one_a_large_one() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random(20_000)
    labels = rng.random(scores.size) < scores
    assert expected_calibration_error(scores, labels) < 0.02
    assert expected_calibration_error(np.round(scores), labels) == pytest.approx(0.25, abs=0.02)


def test_the_brier_score_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    scores, labels = rng.random(50), rng.random(50) < 0.4
    assert brier(scores, labels) == pytest.approx(sk.brier_score_loss(labels, scores))
    assert brier([1.0], [True]) == 0
    assert brier([0.0, 0.0], [True, True]) == 1


def test_one_class_alone_can_be_calibrated() -> None:
    assert expected_calibration_error([0.2, 0.2, 0.2], [0, 0, 0]) == pytest.approx(0.2)


def test_what_is_no_probability_is_refused() -> None:
    for metric in (brier, expected_calibration_error):
        with pytest.raises(UndefinedMetricError, match=r"scores run from 0.1 to 1.5; they must be probabilities"):
            metric([0.1, 1.5], [0, 1])
        with pytest.raises(UndefinedMetricError, match="run from nan"):
            metric([0.1, np.nan], [0, 1])
        with pytest.raises(UndefinedMetricError, match="needs pictures; got none"):
            metric([], [])
        with pytest.raises(ValueError, match=r"scores \(2,\) and labels \(1,\) must both be \(N,\)"):
            metric([0.1, 0.2], [0])
    with pytest.raises(ValueError, match="bins=0 must be at least 1"):
        reliability_points([0.1], [0], bins=0)
