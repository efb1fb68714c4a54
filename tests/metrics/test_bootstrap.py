"""Intervals: stratified resamples of image scores, and one pass of Poisson weights over pictures for pixels."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from genau.metrics import (
    PixelBootstrap,
    PixelHistogram,
    UndefinedMetricError,
    auroc,
    average_precision,
    f1_max,
    interval,
    replicates,
    resample_indices,
)
from genau.metrics.bootstrap import PixelMeasure, coarse_starts, poisson_weights

MEASURES: tuple[PixelMeasure, ...] = ("auroc", "average_precision", "f1_max", "aupro")


def _pictures(n: int, seed: int = 0) -> list[PixelHistogram]:
    """Return histograms of pictures, two in three defective, whose defects differ in how visible they are."""
    rng = np.random.default_rng(seed)
    pictures = []
    for index in range(n):
        mask = np.zeros((24, 37), np.bool_)
        if index % 3:
            height, width = rng.integers(2, 12, 2)
            mask[4 : 4 + height, 6 : 6 + width] = True
        scores = rng.random(mask.shape) * 0.6 + 0.4 * rng.random() * mask
        histogram = PixelHistogram()
        histogram.update(scores.astype(np.float32), mask)
        pictures.append(histogram)
    return pictures


def _bootstrap(pictures: list[PixelHistogram], resamples: int = 50) -> PixelBootstrap:
    bootstrap = PixelBootstrap(resamples)
    for index, picture in enumerate(pictures):
        bootstrap.update(f"test/{index}.png", picture)
    return bootstrap


def _whole(pictures: list[PixelHistogram]) -> PixelHistogram:
    whole = PixelHistogram()
    for picture in pictures:
        whole.merge(picture)
    return whole


def _measure(histogram: PixelHistogram, measure: PixelMeasure) -> float:
    return histogram.f1_max()[0] if measure == "f1_max" else float(getattr(histogram, measure)())


def _brute_force(pictures: list[PixelHistogram], resamples: int) -> dict[PixelMeasure, NDArray[np.float64]]:
    """Return the exact measures of resamples of the pictures themselves, as many as there are."""
    rng = np.random.default_rng(5)
    rows = []
    for _ in range(resamples):
        drawn = _whole([pictures[index] for index in rng.integers(0, len(pictures), len(pictures))])
        rows.append([_measure(drawn, measure) for measure in MEASURES])
    return dict(zip(MEASURES, np.array(rows).T, strict=True))


def test_every_resample_has_as_many_pictures_of_each_class() -> None:
    labels = np.array([1, 0, 0, 1, 0, 2, 0])
    indices = resample_indices(labels, resamples=40)
    assert indices.shape == (40, 7)
    assert (labels[indices] == labels).all()
    assert {int(index) for index in indices[:, 0]} == {0, 3}
    assert (indices[:, 5] == 5).all()


def test_resamples_depend_on_the_seed_only() -> None:
    labels = [True, False] * 10
    assert (resample_indices(labels, 5, seed=3) == resample_indices(labels, 5, seed=3)).all()
    assert (resample_indices(labels, 5, seed=3) != resample_indices(labels, 5, seed=4)).any()


def test_image_measures_are_defined_on_every_resample_even_with_one_defect() -> None:
    scores, labels = np.linspace(0, 1, 9), np.arange(9) == 6
    indices = resample_indices(labels, 200)
    for metric in (auroc, average_precision, lambda s, y: f1_max(s, y)[0]):
        values = replicates(metric, scores, labels, indices)
        assert values.shape == (200,)
        assert np.isfinite(values).all()


def test_replicates_pair_every_score_with_its_own_label() -> None:
    scores, labels = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), np.array([1, 0, 1])
    assert (replicates(lambda s, y: float(s[:, 1] @ y), scores, labels, np.array([[0, 1, 2], [2, 1, 2]]))) == (
        pytest.approx([1.6, 1.4])
    )


def test_the_interval_of_a_normal_mean_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        sample = rng.normal(0, 1, 60)
        drawn = replicates(
            lambda s, _: float(s.mean()), sample, np.zeros(60), resample_indices(np.zeros(60), 200, seed=1)
        )
        low, high = interval(drawn, float(sample.mean()), 0.9)
        covered += low <= 0 <= high
    assert 0.84 <= covered / 200 <= 0.95  # 0.9, less a little for 60 pictures and 200 resamples


def test_an_interval_is_made_of_percentiles_and_holds_its_estimate() -> None:
    values = np.arange(101) / 100
    assert interval(values, 0.5, 0.9) == pytest.approx((0.05, 0.95))
    assert interval(values, 0.01, 0.9) == pytest.approx((0.01, 0.95))
    assert interval(values + 0.5, 1.0) == pytest.approx((0.525, 1.475))
    assert interval(values + 0.5, 1.0, clip=(0, 1)) == pytest.approx((0.525, 1.0))
    assert interval(np.ones(10), 1.0) == (1.0, 1.0)


def test_few_undefined_replicates_are_left_out_and_many_refused() -> None:
    values = np.arange(101) / 100
    assert interval(np.append(values, [np.nan] * 5), 0.5, 0.9) == pytest.approx((0.05, 0.95))
    with pytest.raises(UndefinedMetricError, match="6 undefined of 107"):
        interval(np.append(values, [np.nan] * 6), 0.5, 0.9)


def test_what_makes_no_interval_is_refused_in_words() -> None:
    with pytest.raises(UndefinedMetricError, match=r"got 0.1 and 1 undefined of 3: too few pictures. Give the"):
        interval(np.array([0.1, np.nan, 0.2]), 0.1)
    with pytest.raises(UndefinedMetricError, match="0 undefined of 0"):
        interval(np.zeros(0), 0.1)
    with pytest.raises(
        UndefinedMetricError, match="needs a finite estimate and replicates; got nan and 0 undefined of 3"
    ):
        interval(np.ones(3), np.nan)
    with pytest.raises(ValueError, match="level=95 must be between 0 and 1"):
        interval(np.ones(3), 1.0, level=95)
    with pytest.raises(ValueError, match=r"labels \(0,\) must be \(N,\) with at least one picture"):
        resample_indices([])
    with pytest.raises(ValueError, match=r"indices \(5, 2\) must be \(N,\), \(N,\) and \(R, N\)"):
        replicates(auroc, [0.1, 0.2, 0.3], [1, 0, 1], resample_indices([1, 0], 5))


def test_how_often_a_picture_counts_is_poisson_and_depends_on_its_key_only() -> None:
    weights = np.array([poisson_weights(f"part {index}", 500) for index in range(40)])
    shares = np.bincount(weights.ravel(), minlength=8) / weights.size
    assert shares[:5] == pytest.approx(np.exp(-1) / np.array([1, 1, 2, 6, 24]), abs=0.01)
    assert (poisson_weights("part 3", 500) == weights[3]).all()
    assert abs(np.corrcoef(weights)[0, 1:]).max() < 0.2
    assert poisson_weights("a", 12).tolist() == [0, 0, 1, 1, 1, 2, 3, 1, 2, 4, 1, 1]  # saved runs go on with these


def test_order_and_workers_do_not_change_the_replicates() -> None:
    pictures = _pictures(9)
    whole, first, second = _bootstrap(pictures), PixelBootstrap(50), PixelBootstrap(50)
    for index in (7, 2, 0, 5, 8):
        first.update(f"test/{index}.png", pictures[index])
    for index in (6, 1, 4, 3):
        second.update(f"test/{index}.png", pictures[index])
    second.merge(first)
    for measure in MEASURES:
        assert second.replicates(measure) == pytest.approx(whole.replicates(measure), abs=1e-12)


def test_a_replicate_is_the_measure_of_the_pictures_it_counts() -> None:
    pictures = _pictures(6)
    bootstrap = PixelBootstrap(4, bins=65_536)  # as fine as the pictures, so exact
    for index, picture in enumerate(pictures):
        bootstrap.update(str(index), picture)
    for row in range(4):
        drawn = [p for index, p in enumerate(pictures) for _ in range(poisson_weights(str(index), 4)[row])]
        for measure in MEASURES:
            expected = _measure(_whole(drawn), measure)
            assert bootstrap.replicates(measure)[row] == pytest.approx(expected, abs=1e-12), measure


def test_intervals_are_those_of_a_brute_force_bootstrap_of_the_pictures() -> None:
    pictures = _pictures(40)
    bootstrap, exact = _bootstrap(pictures, resamples=400), _whole(pictures)
    for measure, drawn in _brute_force(pictures, 120).items():
        estimate = _measure(exact, measure)
        low, high = bootstrap.interval(measure, estimate)
        expected_low, expected_high = interval(drawn, estimate)
        width = expected_high - expected_low
        assert width > 0.02
        assert low == pytest.approx(expected_low, abs=0.3 * width), measure
        assert high == pytest.approx(expected_high, abs=0.3 * width), measure


def test_the_bias_of_coarse_bins_cancels_in_the_interval() -> None:
    pictures = _pictures(12)
    coarse, fine = PixelBootstrap(300, bins=64), PixelBootstrap(300, bins=4096)
    for index, picture in enumerate(pictures):
        coarse.update(str(index), picture)
        fine.update(str(index), picture)
    estimate = _whole(pictures).average_precision()
    _, high = coarse.interval("average_precision", estimate)
    _, expected = fine.interval("average_precision", estimate)
    assert np.quantile(coarse.replicates("average_precision"), 0.975) < expected - 0.02
    assert high == pytest.approx(expected, abs=0.005)


def test_maps_that_use_little_of_the_range_have_an_interval_all_the_same() -> None:
    whole, squeezed = PixelBootstrap(100), PixelBootstrap(100)
    histogram = PixelHistogram()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        scores = rng.random((40, 50)).astype(np.float32)
        mask = np.zeros((40, 50), np.bool_)
        mask[5:15, 5:20] = seed % 2 == 0
        scores[mask] = np.clip(scores[mask] + 0.2 * rng.random(), 0, 1)
        for bootstrap, factor in ((whole, 1.0), (squeezed, 1 / 256)):
            picture = PixelHistogram()
            picture.update(scores * np.float32(factor), mask)
            bootstrap.update(str(seed), picture)
        histogram.merge(picture)
    expected, found = whole.interval("auroc", 0.6), squeezed.interval("auroc", 0.6)
    assert expected[1] - expected[0] > 0.01
    assert found == pytest.approx(expected, abs=0.003)


def test_coarse_bins_cover_every_fine_one_once() -> None:
    for bins in (16, 100, 1024, 65_536):
        starts = coarse_starts(bins)
        assert len(starts) == bins
        assert starts[0] == 0
        assert (np.diff(starts) > 0).all()
        assert starts[-1] < 65_536


def test_a_saved_bootstrap_goes_on_where_it_was(tmp_path: Path) -> None:
    pictures = _pictures(6)
    half = _bootstrap(pictures[:4])
    np.savez(tmp_path / "half.npz", allow_pickle=False, **half.arrays())
    with np.load(tmp_path / "half.npz", allow_pickle=False) as saved:
        rebuilt = PixelBootstrap.from_arrays(saved)
    assert (rebuilt.resamples, rebuilt.bins) == (50, 1024)
    for index in (4, 5):
        rebuilt.update(f"test/{index}.png", pictures[index])
    np.testing.assert_array_equal(rebuilt.replicates("aupro"), _bootstrap(pictures).replicates("aupro"))
    half.arrays()["normal"][:] = 0
    assert half.normal.any()


def test_saved_counts_that_cannot_be_are_refused() -> None:
    arrays = _bootstrap(_pictures(3)).arrays()
    with pytest.raises(ValueError, match="'normal' has shape"):
        PixelBootstrap.from_arrays({})
    with pytest.raises(ValueError, match="lack 'overlap'"):
        PixelBootstrap.from_arrays({name: array for name, array in arrays.items() if name != "overlap"})
    with pytest.raises(ValueError, match=r"'n_regions' is int64 \(50,\); it must be int64 \(51,\)"):
        PixelBootstrap.from_arrays(arrays | {"n_regions": arrays["n_regions"][1:]})
    with pytest.raises(ValueError, match="bins=8 even and from 16 to 65536"):
        PixelBootstrap(bins=8)
    with pytest.raises(ValueError, match="50, 1024 here and 20, 1024 there"):
        _bootstrap([]).merge(PixelBootstrap(20))


def test_too_few_pictures_make_no_interval() -> None:
    pictures = _pictures(2)  # one good, one defective: more than a third of the resamples has no defect
    bootstrap = _bootstrap(pictures)
    assert np.isnan(bootstrap.replicates("auroc")).mean() > 0.2
    with pytest.raises(UndefinedMetricError, match=r"1[0-9] undefined of 50: too few pictures"):
        bootstrap.interval("auroc", _whole(pictures).auroc())
    with pytest.raises(UndefinedMetricError, match="Pixel auroc needs both classes"):
        _bootstrap(pictures[:1]).replicates("auroc")
    with pytest.raises(UndefinedMetricError, match="AUPRO needs defect regions"):
        _bootstrap(pictures[:1]).interval("aupro", 0.5)
    with pytest.raises(ValueError, match="measure='iou' must be one of auroc, average_precision, f1_max, aupro"):
        bootstrap.replicates("iou")  # type: ignore[arg-type]
