"""Which kind of defect it is: the measures agree with scikit-learn, and with what a constant answer would get."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from genau.metrics import (
    UndefinedMetricError,
    constant_accuracy,
    constant_macro_f1,
    constant_macro_recall,
    macro_auroc,
    macro_f1,
    macro_recall,
    per_type,
    replicates,
    resample_indices,
    top1_accuracy,
)

sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is in the extra 'dev'")

NAMES = ["scratch", "bent pin", "hole", "stain"]
OF_SCORES: list[Callable[..., object]] = [top1_accuracy, macro_recall, macro_f1, macro_auroc]


def _data(n: int = 80, seed: int = 0, distinct: int = 10**6) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(4, n, p=[0.5, 0.3, 0.15, 0.05])
    truth[:4] = range(4)
    scores = np.round((rng.random((n, 4)) + 0.4 * np.eye(4)[truth]) * distinct) / distinct
    return scores, truth


@pytest.mark.parametrize("distinct", [10**6, 3])
@pytest.mark.parametrize("seed", range(3))
def test_measures_of_types_are_those_of_scikit_learn(seed: int, distinct: int) -> None:
    scores, truth = _data(seed=seed, distinct=distinct)
    answers = scores.argmax(axis=1)
    assert top1_accuracy(scores, truth) == pytest.approx(sk.accuracy_score(truth, answers))
    assert macro_recall(scores, truth, min_images=1) == pytest.approx(sk.balanced_accuracy_score(truth, answers))
    assert macro_f1(scores, truth) == pytest.approx(sk.f1_score(truth, answers, average="macro"))
    expected = sk.roc_auc_score(np.eye(4)[truth], scores, average="macro")
    assert macro_auroc(scores, truth) == pytest.approx(expected)


def test_the_table_of_types_is_that_of_scikit_learn() -> None:
    scores, truth = _data()
    precision, recall, f1, n = sk.precision_recall_fscore_support(truth, scores.argmax(axis=1))
    for index, (name, row) in enumerate(per_type(scores, truth, NAMES).items()):
        assert name == NAMES[index]
        expected = {"n": n[index], "recall": recall[index], "precision": precision[index], "f1": f1[index]}
        assert row == pytest.approx(expected | {"auroc": sk.roc_auc_score(truth == index, scores[:, index])})


def test_types_that_are_absent_or_never_answered_have_empty_cells() -> None:
    scores = np.array([[0.9, 0.1, 0.2, 0.0], [0.8, 0.3, 0.1, 0.0], [0.1, 0.2, 0.7, 0.0]])
    table = per_type(scores, [0, 1, 0], NAMES)
    assert table["bent pin"] == {"n": 1, "recall": 0.0, "precision": None, "f1": 0.0, "auroc": 1.0}
    assert table["hole"] == {"n": 0, "recall": None, "precision": 0.0, "f1": 0.0, "auroc": None}
    assert table["stain"] == {"n": 0, "recall": None, "precision": None, "f1": None, "auroc": None}
    assert per_type([[0.1, 0.9]], [1], ["a", "b"])["b"] == {
        "n": 1,
        "recall": 1.0,
        "precision": 1.0,
        "f1": 1.0,
        "auroc": None,
    }


def test_macro_recall_leaves_out_types_with_few_pictures() -> None:
    truth = np.array([0] * 6 + [1] * 5 + [2] * 4)
    scores = np.eye(3)[[0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]]
    assert macro_recall(scores, truth) == pytest.approx((3 / 6 + 1) / 2)
    assert macro_recall(scores, truth, min_images=4) == pytest.approx((3 / 6 + 1 + 0) / 3)
    assert macro_recall(scores, truth, min_images=6) == pytest.approx(0.5)
    with pytest.raises(UndefinedMetricError, match=r"at least 7 pictures; the largest has 6\. Lower min_images"):
        macro_recall(scores, truth, min_images=7)


def test_ties_are_answered_with_the_first_type() -> None:
    assert top1_accuracy(np.full((4, 3), 0.5), [0, 0, 1, 2]) == 0.5
    assert macro_auroc(np.full((4, 3), 0.5), [0, 0, 1, 2]) == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_the_constant_answer_gets_what_a_model_that_always_says_so_gets(seed: int) -> None:
    _, truth = _data(seed=seed)
    always = np.zeros((truth.size, 4))
    always[:, np.bincount(truth).argmax()] = 1
    assert constant_accuracy(truth) == pytest.approx(top1_accuracy(always, truth))
    assert constant_macro_recall(truth) == pytest.approx(macro_recall(always, truth))
    assert constant_macro_f1(truth) == pytest.approx(macro_f1(always, truth))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = sk.f1_score(truth, always.argmax(axis=1), average="macro", zero_division=0)
    assert constant_macro_f1(truth) == pytest.approx(expected)


def test_one_picture_has_an_accuracy_and_no_ranking() -> None:
    assert top1_accuracy([[0.2, 0.7]], [1]) == 1
    assert constant_accuracy([1]) == 1
    with pytest.raises(UndefinedMetricError, match="Macro AUROC needs pictures of at least two types; got 1"):
        macro_auroc([[0.2, 0.7]], [1])


def test_measures_of_types_can_be_resampled() -> None:
    scores, truth = _data()
    values = replicates(macro_auroc, scores, truth, resample_indices(truth, 20))
    assert np.isfinite(values).all()
    assert values.std() > 0


@pytest.mark.parametrize("metric", OF_SCORES)
def test_scores_of_types_that_are_not_finite_are_refused_and_counted(metric: Callable[..., object]) -> None:
    with pytest.raises(UndefinedMetricError, match=r"1 of 2 pictures have scores that are NaN.*not inspected"):
        metric([[np.nan, np.nan], [0.1, 0.2]], [0, 1])


@pytest.mark.parametrize("metric", OF_SCORES)
def test_truth_that_does_not_fit_the_scores_is_refused(metric: Callable[..., object]) -> None:
    with pytest.raises(
        ValueError, match=r"scores \(2, 2\) and truth \(2,\) must be .* truth below C; its largest is 2"
    ):
        metric(np.zeros((2, 2)), [0, 2])
    with pytest.raises(ValueError, match=r"scores \(3, 2\) and truth \(2,\)"):
        metric(np.zeros((3, 2)), [0, 1])
    with pytest.raises(ValueError, match=r"truth is float64 \(2,\); it must be \(N,\) indices"):
        metric(np.zeros((2, 2)), [0.0, 1.0])
    with pytest.raises(ValueError, match="indices of types, from 0"):
        metric(np.zeros((2, 2)), [-1, 1])
    with pytest.raises(UndefinedMetricError, match="needs pictures; got none"):
        metric(np.zeros((0, 2)), np.zeros(0, np.int64))


def test_names_must_fit_the_columns_and_differ() -> None:
    with pytest.raises(ValueError, match=r"names \(2,\) and scores \(1, 3\) must be \(C,\) and \(N, C\)"):
        per_type([[0.1, 0.2, 0.3]], [0], ["a", "b"])
    with pytest.raises(ValueError, match=r"each once; doubled: \['a'\]"):
        per_type([[0.1, 0.2]], [0], ["a", "a"])
