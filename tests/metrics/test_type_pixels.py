"""Which kind of defect is where: the streamed measures are scikit-learn's of all pixels at once."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from genau.metrics import TypePixels, UndefinedMetricError

sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is in the extra 'dev'")

NAMES = ("scratch", "hole", "stain")
BINNING = 1e-4  # as in the tests of PixelHistogram
Map = NDArray[np.float32]
Mask = NDArray[np.bool_]
Picture = tuple[dict[str, Map], Map, dict[str, Mask]]


def _pictures(n: int = 4, seed: int = 0, levels: int = 10**7, doubled: bool = False) -> list[Picture]:
    """Return type maps, anomaly map and masks; with `doubled`, the masks of two types overlap."""
    rng = np.random.default_rng(seed)
    pictures: list[Picture] = []
    for index in range(n):
        masks = {}
        if index:
            masks = {name: np.zeros((21, 34), np.bool_) for name in NAMES[:2]}
            masks["scratch"][2 : 4 + index, 3:20] = True
            masks["hole"][(3 if doubled else 12) : 17, 8 : 10 + index] = True
        truth = {name: masks.get(name, np.zeros((21, 34), np.bool_)) for name in NAMES}
        maps = {n: np.round((rng.random((21, 34)) + truth[n] * 0.3) / 1.3 * levels) / levels for n in NAMES}
        anomaly = np.round((rng.random((21, 34)) + 0.3 * sum(truth.values())) / 1.6 * levels) / levels
        pictures.append(({n: m.astype(np.float32) for n, m in maps.items()}, anomaly.astype(np.float32), masks))
    return pictures


def _streamed(pictures: list[Picture]) -> TypePixels:
    pixels = TypePixels(NAMES)
    for picture in pictures:
        pixels.update(*picture)
    return pixels


def _flat(pictures: list[Picture]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return scores (pixels, C) and truth (pixels,), pixels of two types left out."""
    scores, truths = [], []
    for maps, anomaly, masks in pictures:
        stacked = np.stack([1 - anomaly, *(maps[name] for name in NAMES)], axis=-1)
        truth, times = np.zeros(anomaly.shape, np.int64), np.zeros(anomaly.shape, np.int64)
        for name, mask in masks.items():
            truth[mask] = NAMES.index(name) + 1
            times += mask
        scores.append(stacked[times <= 1])
        truths.append(truth[times <= 1])
    return np.concatenate(scores), np.concatenate(truths)


@pytest.mark.parametrize("doubled", [False, True])
@pytest.mark.parametrize("levels", [10**7, 64])
def test_macro_measures_of_pixels_are_those_of_scikit_learn(levels: int, doubled: bool) -> None:
    pictures = _pictures(levels=levels, doubled=doubled)
    pixels = _streamed(pictures)
    scores, truth = _flat(pictures)
    present = np.unique(truth)  # no pixel is a stain
    assert present.tolist() == [0, 1, 2]
    binary = (truth[:, None] == present).astype(int)
    assert pixels.macro_auroc() == pytest.approx(sk.roc_auc_score(binary, scores[:, present]), abs=BINNING)
    expected = sk.average_precision_score(binary, scores[:, present], average="macro")
    assert pixels.macro_average_precision() == pytest.approx(expected, abs=BINNING)
    expected = sk.f1_score(truth, scores.argmax(axis=1), average="macro", zero_division=0)
    assert pixels.macro_f1() == pytest.approx(expected, abs=1e-12)
    assert int(pixels.n_left_out) == sum(mask["scratch"][mask["hole"]].sum() for _, _, mask in pictures if mask)
    assert bool(pixels.n_left_out) is doubled


def test_the_table_of_classes_is_that_of_scikit_learn() -> None:
    pictures = _pictures()
    scores, truth = _flat(pictures)
    precision, recall, f1, n = sk.precision_recall_fscore_support(
        truth, scores.argmax(axis=1), labels=range(4), zero_division=0
    )
    table = _streamed(pictures).per_type()
    assert list(table) == ["good", *NAMES]
    for index, row in enumerate(list(table.values())[:3]):
        expected = {"n": n[index], "recall": recall[index], "precision": precision[index], "f1": f1[index]}
        expected["auroc"] = sk.roc_auc_score(truth == index, scores[:, index])
        expected["average_precision"] = sk.average_precision_score(truth == index, scores[:, index])
        assert row == pytest.approx(expected, abs=BINNING)
    none = {"recall": None, "auroc": None, "average_precision": None}
    assert table["stain"] == {"n": 0, "precision": 0.0, "f1": 0.0} | none


def test_equal_scores_are_answered_good() -> None:
    masks = {"hole": np.eye(2, 5, dtype=np.bool_)}
    half = np.full((2, 5), 0.5, np.float32)
    pixels = TypePixels(NAMES)
    pixels.update(dict.fromkeys(NAMES, half), half, masks)
    assert pixels.confusion[:, 0].tolist() == [8, 0, 2, 0]
    assert pixels.macro_auroc() == 0.5


def test_a_perfect_answer_is_perfect() -> None:
    pixels = TypePixels(["scratch"])
    mask = np.zeros((4, 9), np.bool_)
    mask[1, 2:5] = True
    pixels.update({"scratch": mask.astype(np.float32)}, mask.astype(np.float32), {"scratch": mask})
    assert (pixels.macro_auroc(), pixels.macro_average_precision(), pixels.macro_f1()) == pytest.approx((1, 1, 1))


def test_workers_in_any_order_give_the_same_as_one(tmp_path: Path) -> None:
    pictures = _pictures(5, doubled=True)
    whole, first, second = _streamed(pictures), _streamed(pictures[3:]), _streamed(pictures[:3])
    np.savez(tmp_path / "second.npz", allow_pickle=False, **second.arrays())
    with np.load(tmp_path / "second.npz", allow_pickle=False) as saved:
        first.merge(TypePixels.from_arrays(saved))
    for name in ("own", "total", "confusion", "n_left_out"):
        assert (getattr(first, name) == getattr(whole, name)).all(), name
    assert first.macro_average_precision() == whole.macro_average_precision()
    with pytest.raises(ValueError, match=r"names are .* here and .* there; they must agree"):
        first.merge(TypePixels(NAMES[::-1]))


def test_what_cannot_be_measured_says_so() -> None:
    maps, anomaly, _ = _pictures(1)[0]
    good = TypePixels(NAMES)
    good.update(maps, anomaly, {})
    for measure in ("macro_auroc", "macro_average_precision", "macro_f1"):
        with pytest.raises(UndefinedMetricError, match="needs pixels of at least two classes; got good"):
            getattr(good, measure)()
        with pytest.raises(UndefinedMetricError, match="at least two classes; got none"):
            getattr(TypePixels(NAMES), measure)()
    with pytest.raises(UndefinedMetricError, match="The table of types needs pixels; got none"):
        TypePixels(NAMES).per_type()


def test_wrong_maps_and_masks_are_refused_before_anything_is_counted() -> None:
    maps, anomaly, masks = _pictures(2)[1]
    pixels = TypePixels(NAMES)
    with pytest.raises(ValueError, match=r"lack \['stain'\] and have \['rust'\] beside the types"):
        pixels.update({"scratch": anomaly, "hole": anomaly, "rust": anomaly}, anomaly, masks)
    with pytest.raises(ValueError, match=r"mask of 'scratches'.* Did you mean 'scratch'\? Leave out pictures"):
        pixels.update(maps, anomaly, {"scratches": masks["hole"]})
    with pytest.raises(ValueError, match=r"mask of 'hole' is bool \(34, 21\); it must be bool \(21, 34\)"):
        pixels.update(maps, anomaly, {"hole": masks["hole"].T})
    with pytest.raises(ValueError, match=r"mask of 'hole' is uint8"):
        pixels.update(maps, anomaly, {"hole": masks["hole"].astype(np.uint8)})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"must be finite and in \[0, 1\]"):
        pixels.update(maps | {"stain": maps["stain"] + 1}, anomaly, masks)
    with pytest.raises(ValueError, match="must be finite"):
        pixels.update(maps, anomaly * np.float32(np.nan), masks)
    with pytest.raises(ValueError, match=r"must both be \(H, W\)"):
        pixels.update(maps | {"stain": maps["stain"].T}, anomaly, masks)
    assert not pixels.total.any()


def test_names_and_saved_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="'good' is added"):
        TypePixels(["good", "hole"])
    with pytest.raises(ValueError, match="at least one type"):
        TypePixels([])
    arrays = TypePixels(NAMES).arrays()
    with pytest.raises(ValueError, match="need 'names'"):
        TypePixels.from_arrays({name: array for name, array in arrays.items() if name != "names"})
    with pytest.raises(ValueError, match=r"'own' is int64 \(4, 65536\); it must be int64 \(2, 65536\)"):
        TypePixels.from_arrays(arrays | {"names": np.array(["hole"])})
