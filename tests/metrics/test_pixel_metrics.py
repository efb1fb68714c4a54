"""The streaming pixel measures agree with exact ones, whatever the order and the number of workers."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from genau.metrics import PixelHistogram, UndefinedMetricError

sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is in the extra 'dev'")

BINNING = 1e-4  # ties within 1/65,536 of the range change a measure of spread-out scores by less than this
Image = tuple[NDArray[np.float32], NDArray[np.bool_]]


def _images(seed: int = 0, signal: float = 0.35, n: int = 5) -> list[Image]:
    """Return maps with regions of very different size, one of them on a diagonal, and a normal image."""
    rng = np.random.default_rng(seed)
    images = []
    for index in range(n):
        mask = np.zeros((23, 41), np.bool_)
        if index:
            mask[2 : 3 + index, 5 : 7 + 3 * index] = True
            mask[18, 30] = True
            mask[np.arange(12, 16), np.arange(12, 16)] = True
        scores = rng.random(mask.shape) * 0.65 + signal * mask * rng.random(mask.shape)
        images.append((scores.astype(np.float32), mask))
    return images


def _histogram(images: list[Image]) -> PixelHistogram:
    histogram = PixelHistogram()
    for scores, mask in images:
        histogram.update(scores, mask)
    return histogram


def _flat(images: list[Image]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    return np.concatenate([s.ravel() for s, _ in images]), np.concatenate([m.ravel() for _, m in images])


def _regions(mask: NDArray[np.bool_]) -> list[set[tuple[int, int]]]:
    """Return the 8-connected regions by flood fill."""
    left = {(int(r), int(c)) for r, c in np.argwhere(mask)}
    regions = []
    while left:
        front = [left.pop()]
        region = set(front)
        while front:
            r, c = front.pop()
            near = {(r + dr, c + dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1)} & left
            left -= near
            region |= near
            front += near
        regions.append(region)
    return regions


def _aupro_directly(images: list[Image], limit: float) -> float:
    """Return AUPRO from its definition: every threshold, every region, one at a time."""
    regions = [np.array([s[p] for p in region]) for s, m in images for region in _regions(m)]
    normal = np.concatenate([s[~m] for s, m in images])
    area, last = 0.0, (0.0, 0.0)
    for threshold in sorted({float(v) for s, _ in images for v in s.ravel()}, reverse=True):
        x = float((normal >= threshold).mean())
        y = float(np.mean([(region >= threshold).mean() for region in regions]))
        if x >= limit:
            at_limit = y if x == last[0] else last[1] + (y - last[1]) * (limit - last[0]) / (x - last[0])
            area += (limit - last[0]) * (last[1] + at_limit) / 2
            if x > limit:
                return area / limit
        else:
            area += (x - last[0]) * (last[1] + y) / 2
        last = (min(x, limit), y)
    return area / limit


@pytest.mark.parametrize("signal", [-0.2, 0.0, 0.2, 0.35])
def test_auroc_and_average_precision_are_those_of_scikit_learn_within_the_binning(signal: float) -> None:
    images = [(np.clip(s, 0, 1), m) for s, m in _images(signal=signal)]
    scores, labels = _flat(images)
    histogram = _histogram(images)
    exact = sk.roc_auc_score(labels, scores)
    assert histogram.auroc() == pytest.approx(exact, abs=BINNING)
    assert abs(histogram.auroc() - exact) <= histogram.tie_error() + 1e-12
    assert histogram.average_precision() == pytest.approx(sk.average_precision_score(labels, scores), abs=BINNING)


def test_scores_on_the_edges_of_the_bins_are_measured_exactly() -> None:
    rng = np.random.default_rng(5)
    scores = (rng.integers(0, 65, (31, 17)) / 64).astype(np.float32)  # ties everywhere, 0 and 1 among them
    mask = rng.random(scores.shape) < 0.2
    histogram = _histogram([(scores, mask)])
    # 1 shares the last bin with scores above 65535/65536; here there are none, so nothing is lost.
    assert histogram.auroc() == pytest.approx(sk.roc_auc_score(mask.ravel(), scores.ravel()), abs=1e-12)
    exact = sk.average_precision_score(mask.ravel(), scores.ravel())
    assert histogram.average_precision() == pytest.approx(exact, abs=1e-12)


def test_f1_max_and_its_threshold_hold_on_the_scores_themselves() -> None:
    images = _images()
    scores, labels = _flat(images)
    best, threshold = _histogram(images).f1_max()
    exact = max(sk.f1_score(labels, scores >= t) for t in np.quantile(scores, np.linspace(0, 1, 300)))
    assert best >= exact - 1e-3
    assert sk.f1_score(labels, scores >= threshold) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("signal", [0.0, 0.35])
def test_aupro_is_that_of_the_definition(limit: float, signal: float) -> None:
    images = _images(signal=signal, n=3)
    assert _histogram(images).aupro(limit) == pytest.approx(_aupro_directly(images, limit), abs=5e-4)


def test_aupro_is_that_of_the_definition_with_ties_across_the_limit() -> None:
    rng = np.random.default_rng(9)
    images = [((np.round(s * 8) / 8).astype(np.float32), m) for s, m in _images()]
    images.append((rng.choice(np.array([0, 1], np.float32), (5, 9)), rng.random((5, 9)) < 0.3))
    assert _histogram(images).aupro() == pytest.approx(_aupro_directly(images, 0.3), abs=1e-9)


def test_aupro_by_hand() -> None:
    # Ten normal pixels; a region of four and one of one. Threshold 0.8 finds the small region and half of the large
    # one (PRO 3/4) at FPR 0.2; threshold 0.4 everything at FPR 0.4. At the limit, halfway: PRO 7/8.
    scores = np.array([[8, 8, 4, 4, 1], [8, 8, 1, 1, 1], [4, 4, 1, 1, 8]], np.float32) / np.float32(10)
    mask = np.zeros((3, 5), np.bool_)
    mask[0, :4] = mask[2, 4] = True
    area = 0.2 * (0 + 3 / 4) / 2 + 0.1 * (3 / 4 + 7 / 8) / 2
    assert _histogram([(scores, mask)]).aupro() == pytest.approx(area / 0.3, abs=1e-12)


def test_every_region_counts_alike_whatever_its_size() -> None:
    mask = np.zeros((20, 30), np.bool_)
    mask[:10, :10] = True
    mask[15, 25] = True
    found_large, found_small = (mask * np.float32(0.0) for _ in range(2))
    found_large[:10, :10] = 1
    found_small[15, 25] = 1
    assert _histogram([(found_large, mask)]).aupro() == pytest.approx(_histogram([(found_small, mask)]).aupro())


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    histogram = _histogram([(np.eye(4, 6, dtype=np.float32), np.eye(4, 6, dtype=np.bool_))])
    assert histogram.n_regions == 1
    assert histogram.overlap.sum() == pytest.approx(1)


def test_regions_of_two_images_are_not_joined() -> None:
    mask = np.ones((3, 4), np.bool_)
    assert _histogram([(np.zeros((3, 4), np.float32), mask)] * 2).n_regions == 2


def test_merging_workers_in_any_order_gives_the_same_as_one_worker() -> None:
    images = _images(n=6)
    whole, first, second = _histogram(images), _histogram(images[4:]), _histogram(images[:4])
    first.merge(pickle.loads(pickle.dumps(second)))
    for name in ("auroc", "average_precision", "f1_max", "aupro", "tie_error"):
        assert getattr(first, name)() == pytest.approx(getattr(whole, name)(), abs=1e-12), name
    assert first.n_regions == whole.n_regions


def test_a_perfect_map_scores_one_and_a_reversed_map_nothing() -> None:
    mask = np.zeros((12, 19), np.bool_)
    mask[3:5, 4:9] = True
    perfect = _histogram([(mask.astype(np.float32), mask)])
    assert (perfect.auroc(), perfect.average_precision(), perfect.aupro()) == pytest.approx((1, 1, 1))
    best, threshold = perfect.f1_max()
    assert best == 1
    assert 0 < threshold < 1
    reverse = _histogram([(1 - mask.astype(np.float32), mask)])
    assert (reverse.auroc(), reverse.aupro()) == pytest.approx((0, 0))


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_map_tells_nothing_and_says_that_it_is_all_ties(value: float) -> None:
    mask = np.zeros((10, 20), np.bool_)
    mask[:2, :5] = True
    histogram = _histogram([(np.full(mask.shape, value, np.float32), mask)])
    assert histogram.auroc() == pytest.approx(0.5)
    assert histogram.average_precision() == pytest.approx(0.05)
    assert histogram.aupro() == pytest.approx(0.3 / 2)
    assert histogram.tie_error() == pytest.approx(0.5)


def test_good_images_alone_leave_every_measure_undefined() -> None:
    histogram = _histogram([(np.zeros((3, 5), np.float32), np.zeros((3, 5), np.bool_))])
    for name in ("auroc", "average_precision", "f1_max", "tie_error"):
        with pytest.raises(UndefinedMetricError, match="needs both classes; got 0 anomalous and 15 normal pixels"):
            getattr(histogram, name)()
    with pytest.raises(UndefinedMetricError, match=r"AUPRO needs defect regions.*got 0 regions and 15 normal"):
        histogram.aupro()


def test_defective_pixels_alone_or_nothing_at_all_are_undefined_too() -> None:
    full = _histogram([(np.zeros((3, 5), np.float32), np.ones((3, 5), np.bool_))])
    with pytest.raises(UndefinedMetricError, match="Pixel AUROC needs both classes; got 15 anomalous and 0 normal"):
        full.auroc()
    with pytest.raises(UndefinedMetricError, match="got 1 regions and 0 normal"):
        full.aupro()
    with pytest.raises(UndefinedMetricError, match="got 0 anomalous and 0 normal"):
        PixelHistogram().average_precision()


@pytest.mark.parametrize(
    ("scores", "mask", "words"),
    [
        (np.zeros((3, 5)), np.zeros((5, 3), np.bool_), r"scores \(3, 5\) and mask \(5, 3\) must both be \(H, W\)"),
        (np.zeros(15), np.zeros(15, np.bool_), r"must both be \(H, W\)"),
        (np.zeros((3, 5)), np.zeros((3, 5), np.uint8), "dtype uint8; it must be bool. Use mask != 0"),
        (np.zeros((0, 5)), np.zeros((0, 5), np.bool_), "has no pixels"),
        (np.full((3, 5), 1.5), np.zeros((3, 5), np.bool_), r"run from 1.5 to 1.5; they must be finite and in \[0, 1\]"),
        (np.full((3, 5), -0.01), np.zeros((3, 5), np.bool_), r"in \[0, 1\]"),
        (np.where(np.eye(3, 5) > 0, np.nan, 0.5), np.zeros((3, 5), np.bool_), "must be finite"),
        (np.where(np.eye(3, 5) > 0, np.inf, 0.5), np.zeros((3, 5), np.bool_), "must be finite"),
    ],
)
def test_maps_that_would_be_counted_wrongly_are_refused(
    scores: NDArray[np.float64], mask: NDArray[np.bool_], words: str
) -> None:
    histogram = PixelHistogram()
    with pytest.raises(ValueError, match=words):
        histogram.update(scores.astype(np.float32), mask)
    assert histogram.normal.sum() == 0


def test_counts_beyond_four_billion_pixels_do_not_overflow() -> None:
    images = _images()
    histogram, once = _histogram(images), _histogram(images)
    for _ in range(33):  # 2**33 times the images
        histogram.merge(histogram)
    assert histogram.normal.sum() > 2**40
    assert histogram.auroc() == pytest.approx(once.auroc(), abs=1e-9)
    assert histogram.average_precision() == pytest.approx(once.average_precision(), abs=1e-9)
    assert histogram.aupro() == pytest.approx(once.aupro(), abs=1e-9)


def test_a_map_squeezed_into_a_few_bins_is_given_away_by_its_tie_error() -> None:
    images = [((0.5 + s * 1e-5).astype(np.float32), m) for s, m in _images()]
    assert _histogram(images).tie_error() > 0.1
    assert _histogram(_images()).tie_error() < 1e-4


@pytest.mark.parametrize("where", [np.s_[0, 0], np.s_[-1, -1], np.s_[:, -1], np.s_[-1, :], np.s_[2:5, 0], np.s_[:]])
def test_defects_at_the_edges_of_a_picture_are_counted_whole(where: tuple[slice, ...]) -> None:
    mask = np.zeros((6, 11), np.bool_)
    mask[where] = True
    histogram = _histogram([(np.full(mask.shape, 0.25, np.float32), mask)])
    assert (histogram.anomalous.sum(), histogram.normal.sum()) == (mask.sum(), (~mask).sum())
    assert (histogram.normal >= 0).all()
    assert histogram.overlap[65_536 // 4] == pytest.approx(histogram.n_regions) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_score_of_one_is_in_the_last_bin_and_zero_in_the_first(dtype: type) -> None:
    scores: NDArray[np.float32] = np.array([[0, 1 - 2**-17, 1]], dtype)
    assert np.flatnonzero(_histogram([(scores, scores < 0)]).normal).tolist() == [0, 65_535]


def test_a_saved_histogram_is_read_back_the_same(tmp_path: Path) -> None:
    histogram = _histogram(_images())
    np.savez(tmp_path / "counts.npz", allow_pickle=False, **histogram.arrays())
    with np.load(tmp_path / "counts.npz", allow_pickle=False) as saved:
        rebuilt = PixelHistogram.from_arrays(saved)
    assert rebuilt.aupro() == histogram.aupro()
    assert rebuilt.auroc() == histogram.auroc()
    rebuilt.update(*_images()[1])  # goes on counting, and leaves the original alone
    assert rebuilt.n_regions == histogram.n_regions + 3


def test_saved_counts_that_cannot_be_are_refused() -> None:
    arrays = _histogram(_images()).arrays()
    with pytest.raises(ValueError, match=r"lack 'overlap'; they hold \['anomalous', 'n_regions', 'normal'\]"):
        PixelHistogram.from_arrays({name: array for name, array in arrays.items() if name != "overlap"})
    with pytest.raises(ValueError, match=r"'normal' is int64 \(1024,\); it must be int64 \(65536,\).*measure again"):
        PixelHistogram.from_arrays(arrays | {"normal": arrays["normal"][:1024]})
    with pytest.raises(ValueError, match="'anomalous' is float64"):
        PixelHistogram.from_arrays(arrays | {"anomalous": arrays["anomalous"] * 1.0})
    with pytest.raises(ValueError, match="'normal' has negative counts or NaN"):
        PixelHistogram.from_arrays(arrays | {"normal": -arrays["normal"]})
    with pytest.raises(ValueError, match="'overlap' has negative counts or NaN"):
        PixelHistogram.from_arrays(arrays | {"overlap": arrays["overlap"] * np.nan})
