"""The measures of image scores agree with scikit-learn and refuse what they cannot define."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from genau.errors import GenAUError
from genau.metrics import UndefinedMetricError, auroc, average_precision, balanced_accuracy, f1_max

sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is in the extra 'dev'")

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]

RANKING: list[Callable[..., object]] = [auroc, average_precision, f1_max]


def _cases() -> list[tuple[Scores, Labels]]:
    """Return score and label vectors with few and many ties, rare classes and extreme values."""
    rng = np.random.default_rng(3)
    cases = []
    for n, distinct in ((2, 1), (7, 2), (50, 3), (200, 20), (300, 10**9)):
        scores = rng.integers(0, distinct, n) / distinct
        labels = rng.random(n) < 0.3
        labels[:2] = (True, False)
        cases.append((scores, labels))
    cases.append((np.array([0.0, 1.0, 1.0, 0.0, 0.5]), np.array([False, True, False, True, True])))
    cases.append((np.array([-1e300, 1e300, 5e-324, 0.0]), np.array([True, False, True, False])))
    cases.append((np.linspace(0, 1, 31), np.arange(31) == 0))  # the only defect scores lowest
    return cases


@pytest.mark.parametrize("case", range(8))
def test_auroc_and_average_precision_are_those_of_scikit_learn_with_ties(case: int) -> None:
    scores, labels = _cases()[case]
    assert auroc(scores, labels) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(scores, labels) == pytest.approx(sk.average_precision_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("case", range(8))
def test_f1_max_is_the_best_f1_over_all_thresholds_and_its_threshold_gives_it(case: int) -> None:
    scores, labels = _cases()[case]
    best, threshold = f1_max(scores, labels)
    by_threshold = {t: float(sk.f1_score(labels, scores >= t)) for t in np.unique(scores)}
    assert best == pytest.approx(max(by_threshold.values()), abs=1e-12)
    assert by_threshold[threshold] == pytest.approx(best, abs=1e-12)


def test_f1_max_takes_the_lowest_of_equally_good_thresholds() -> None:
    # At 0.9: one of two defects, no false alarm, F1 = 2/3. At 0.1: both, two false alarms, F1 = 4/6.
    assert f1_max([0.9, 0.5, 0.4, 0.1], [1, 0, 0, 1]) == pytest.approx((2 / 3, 0.1))


def test_auroc_by_hand_counts_a_tie_as_half() -> None:
    # Pairs (defective, normal): 0.5 beats 0.1, ties with 0.5; 0.2 beats 0.1, loses to 0.5.
    assert auroc([0.5, 0.2, 0.5, 0.1], [True, True, False, False]) == pytest.approx((1 + 0.5 + 1 + 0) / 4)


def test_equal_scores_tell_nothing() -> None:
    assert auroc([0.3] * 5, [1, 0, 0, 0, 0]) == 0.5
    assert average_precision([0.3] * 5, [1, 0, 0, 0, 0]) == pytest.approx(0.2)
    assert f1_max([0.3] * 5, [1, 0, 0, 0, 0]) == pytest.approx((1 / 3, 0.3))


def test_balanced_accuracy_weighs_both_classes_alike() -> None:
    predicted = np.array([True, True, False, False, False])
    labels = np.array([True, False, False, False, False])
    assert balanced_accuracy(predicted, labels) == pytest.approx((1 + 3 / 4) / 2)
    assert balanced_accuracy(predicted, labels) == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    assert balanced_accuracy([1, 1, 1], [1, 1, 0]) == 0.5


@pytest.mark.parametrize("metric", [*RANKING, balanced_accuracy])
def test_one_class_alone_is_an_error_that_counts_both(metric: Callable[..., object]) -> None:
    with pytest.raises(UndefinedMetricError, match="needs both classes; got 0 anomalous and 3 normal"):
        metric([0, 1, 1], [False, False, False])
    with pytest.raises(UndefinedMetricError, match="got 2 anomalous and 0 normal"):
        metric([0, 1], [True, True])
    with pytest.raises(UndefinedMetricError, match="got 0 anomalous and 0 normal"):
        metric(np.zeros(0), np.zeros(0, np.bool_))


def test_an_undefined_measure_names_itself_and_can_be_caught_as_ours() -> None:
    with pytest.raises(GenAUError, match=r"^AUROC needs both classes"):
        auroc([0.1], [True])
    assert issubclass(UndefinedMetricError, ValueError)


@pytest.mark.parametrize("metric", RANKING)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused_and_counted(metric: Callable[..., object], bad: float) -> None:
    with pytest.raises(UndefinedMetricError, match=r"1 of 3 scores are NaN or infinite.*not inspected"):
        metric([0.1, bad, 0.3], [True, False, True])


def test_wrong_shapes_and_labels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"scores \(3,\) and labels \(2,\) must both be \(N,\)"):
        auroc([0.1, 0.2, 0.3], [True, False])
    with pytest.raises(ValueError, match=r"must both be \(N,\)"):
        auroc(np.zeros((2, 3)), np.eye(2, 3) > 0)
    with pytest.raises(ValueError, match=r"labels must be True or False .* got \[-1, 1\]"):
        auroc([0.1, 0.2], [1, -1])
    with pytest.raises(ValueError, match="predictions must be True or False"):
        balanced_accuracy([0.4, 0.9], [True, False])
