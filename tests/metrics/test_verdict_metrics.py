"""Measures of verdicts in words agree with scikit-learn; what is unreadable is never counted as right."""

from collections.abc import Callable

import numpy as np
import pytest

from genau.metrics import (
    UndefinedMetricError,
    balanced_accuracy,
    f1,
    precision,
    recall,
    specificity,
    unreadable_share,
    verdict_balanced_accuracy,
)
from genau.results import Verdict

sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is in the extra 'dev'")


def test_verdicts_that_are_all_readable_are_measured_as_by_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    called, labels = rng.random(60) < 0.4, rng.random(60) < 0.3
    verdicts = ["defect" if call else "normal" for call in called]
    assert precision(verdicts, labels) == pytest.approx(sk.precision_score(labels, called))
    assert recall(verdicts, labels) == pytest.approx(sk.recall_score(labels, called))
    assert specificity(verdicts, labels) == pytest.approx(sk.recall_score(~labels, ~called))
    assert f1(verdicts, labels) == pytest.approx(sk.f1_score(labels, called))
    assert verdict_balanced_accuracy(verdicts, labels) == pytest.approx(balanced_accuracy(called, labels))
    assert unreadable_share(verdicts) == 0


def test_an_unreadable_answer_is_wrong_for_both_classes() -> None:
    verdicts = ["defect", "unreadable", "normal", "unreadable", "defect", "normal"]
    labels = [1, 1, 0, 0, 0, 0]
    assert recall(verdicts, labels) == 1 / 2
    assert specificity(verdicts, labels) == 2 / 4
    assert verdict_balanced_accuracy(verdicts, labels) == 0.5
    assert precision(verdicts, labels) == 1 / 2
    assert f1(verdicts, labels) == pytest.approx(0.5)
    assert unreadable_share(verdicts) == pytest.approx(1 / 3)


def test_a_model_that_is_never_readable_gets_nothing() -> None:
    verdicts, labels = ["unreadable"] * 5, [1, 0, 0, 1, 0]
    assert verdict_balanced_accuracy(verdicts, labels) == 0
    assert f1(verdicts, labels) == 0
    assert unreadable_share(verdicts) == 1
    with pytest.raises(UndefinedMetricError, match='Precision needs verdicts "defect"; got none'):
        precision(verdicts, labels)


def test_our_own_verdicts_are_words_too() -> None:
    assert recall([Verdict.DEFECT, Verdict.UNREADABLE], [True, True]) == 0.5


@pytest.mark.parametrize(
    ("metric", "labels", "words"),
    [
        (recall, [0, 0], "Recall needs defective pictures; got none"),
        (f1, [0, 0], "F1 needs defective pictures; got none"),
        (specificity, [1, 1], "Specificity needs good pictures; got none"),
        (verdict_balanced_accuracy, [1, 1], "Balanced accuracy needs both classes; got 2 anomalous and 0 normal"),
    ],
)
def test_a_missing_class_is_an_error_that_says_which(
    metric: Callable[..., float], labels: list[int], words: str
) -> None:
    with pytest.raises(UndefinedMetricError, match=words):
        metric(["defect", "normal"], labels)
    with pytest.raises(UndefinedMetricError, match=r"got none|got 0 anomalous and 0 normal"):
        metric([], [])


def test_other_words_and_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"verdict 'defects' must be one of normal, defect, unreadable. Did you mean"):
        recall(["defects"], [1])
    with pytest.raises(ValueError, match=r"verdicts \(1,\) and labels \(2,\) must both be \(N,\)"):
        recall(["defect"], [1, 0])
    with pytest.raises(ValueError, match="labels must be True or False"):
        recall(["defect"], [2])
    with pytest.raises(UndefinedMetricError, match="The unreadable share needs verdicts; got none"):
        unreadable_share([])
