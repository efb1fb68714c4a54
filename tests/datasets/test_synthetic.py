"""The synthetic engine: the same bytes for the same seed, exact and visible masks, no shortcut, words and errors."""

import hashlib
import io
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from genau.datasets.synthetic import (
    APPLICABLE_TYPES,
    DEFECT_TYPES,
    FAMILIES,
    PAINTABLE_TYPES,
    SyntheticScene,
    engine,
    make_scene,
    paint_defect,
)
from genau.datasets.synthetic.nuisance import draw_view, photograph, photograph_again
from genau.errors import ImageError, UsageError

SIZE_HW = (96, 128)
EVALUATION_PRODUCTS = ("capsule", "pcb", "leather", "tile", "wood", "grid", "magnetic", "strip", "screw ", "zipper")


@cache
def scene_of(seed: int, family: str | None = None, type_name: str | None = None) -> SyntheticScene:
    return make_scene(seed, SIZE_HW, family, None if type_name is None else (type_name,), defective=True)


def union_of(scene: SyntheticScene) -> NDArray[np.bool_]:
    return np.asarray(np.any(list(scene.masks.values()), axis=0), np.bool_)


def change_of(scene: SyntheticScene) -> NDArray[np.int16]:
    return np.asarray(np.abs(scene.image.astype(np.int16) - scene.good).max(-1), np.int16)


def digest(scene: SyntheticScene) -> str:
    parts = [scene.image, scene.good, scene.reference(1), *scene.masks.values()]
    words = "|".join((scene.product, *scene.types, *(d.appearance for d in scene.defects)))
    return hashlib.sha256(b"".join(p.tobytes() for p in parts) + words.encode()).hexdigest()


def test_another_process_makes_the_same_bytes() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_synthetic as t;"
        "print([t.digest(t.make_scene(s, t.SIZE_HW, defective=True)) for s in range(6)])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == str([digest(make_scene(s, SIZE_HW, defective=True)) for s in range(6)])


def test_another_seed_makes_another_picture() -> None:
    pictures = {make_scene(seed, SIZE_HW, "stone").image.tobytes() for seed in range(4)}
    assert len(pictures) == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_makes_a_picture_with_structure_and_a_defect_that_shows(family: str) -> None:
    for seed in (3, 4):
        scene = scene_of(seed, family)
        assert scene.image.shape == scene.good.shape == (*SIZE_HW, 3)
        assert scene.image.dtype == np.uint8
        assert scene.good.std() > 2
        assert scene.family == family
        assert scene.types
        assert set(scene.types) <= set(APPLICABLE_TYPES[family])
        assert not any(name in f"{scene.product} {family}" for name in EVALUATION_PRODUCTS)


@pytest.mark.parametrize("name", DEFECT_TYPES)
def test_every_type_is_painted_visibly_and_masked_where_the_picture_changed(name: str) -> None:
    for seed in (1, 2):
        scene = scene_of(seed, None, name)
        assert scene.types == (name,)
        mask, change = scene.masks[name], change_of(scene)
        assert mask.shape == SIZE_HW
        assert mask.dtype == np.bool_
        assert mask.any()
        assert change[mask].mean() >= 4
        far = ~binary_dilation(mask, iterations=8)
        assert change[far].mean() < 0.25 * change[mask].mean()


def test_what_the_camera_would_hide_is_drawn_again_stronger(monkeypatch: pytest.MonkeyPatch) -> None:
    def least(seed: int) -> float:
        scene = make_scene(seed, SIZE_HW, "brushed", ("wear", "smear", "stain"), defective=True)
        return float(min(change_of(scene)[d.mask].mean() for d in scene.defects))

    with monkeypatch.context() as patch:
        patch.setattr(engine, "VISIBLE_LEVELS", 0.0)
        hidden = [seed for seed in range(60) if least(seed) < 4]
    assert hidden  # so the rest does test it
    assert all(least(seed) >= engine.VISIBLE_LEVELS for seed in hidden)


def test_the_picture_equals_its_twin_away_from_the_mask() -> None:
    rests = []
    for seed in range(40):
        scene = scene_of(seed)
        far = ~binary_dilation(union_of(scene), iterations=10)
        rests.append(change_of(scene)[far].mean() if far.any() else 0.0)
    assert np.mean(rests) < 0.25
    assert np.max(rests) < 3


def test_the_masks_hold_most_of_the_change() -> None:
    shares = []
    for seed in range(40):
        scene = scene_of(seed)
        change = change_of(scene) * (change_of(scene) > 12)
        shares.append(change[binary_dilation(union_of(scene), iterations=3)].sum() / max(1, change.sum()))
    assert np.mean(shares) > 0.9


def test_only_blocks_that_changed_are_photographed_again() -> None:
    rng = np.random.default_rng(0)
    before = rng.random((80, 112, 3), dtype=np.float32)
    changed = before.copy()
    changed[32:36, 48:59] = 1 - changed[32:36, 48:59]  # up to the rim of a block
    for seed in range(12):  # with and without colour, JPEG and blur
        view = draw_view(np.random.default_rng(seed), rng, (80, 112))
        good, whole = photograph(before, view), photograph(changed, view)
        image = photograph_again(changed, before, view, good)
        near = np.zeros((80, 112), np.bool_)
        near[16:48, 32:80] = True  # the blocks of the change, with a lens that blurs less than to the next
        assert np.array_equal(image[~near], good[~near])
        inner = np.s_[33:46, 50:62]  # at the rim JPEG smooths colour across blocks
        assert np.array_equal(image[inner], whole[inner])
        assert not np.array_equal(image[32:36, 48:59], good[32:36, 48:59])
        assert photograph_again(before, before, view, good) is good
        blurred = replace(view, jpeg_quality=None, focus_sigma=1.2)
        again = photograph_again(changed, before, blurred, photograph(before, blurred))
        assert np.array_equal(again, photograph(changed, blurred))


def test_many_defects_are_faint_and_some_are_strong() -> None:
    levels = [change_of(scene_of(seed))[d.mask].mean() for seed in range(60) for d in scene_of(seed).defects]
    assert np.mean(np.array(levels) < 20) > 0.25
    assert np.mean(np.array(levels) > 60) > 0.1


def test_a_large_chip_shows_the_ground_up_to_the_end_of_the_part() -> None:
    scenes = [scene_of(seed, "moulded", "chip") for seed in range(30)]
    assert any(d.appearance.endswith("broken-off piece") for s in scenes for d in s.defects)


def test_sizes_run_from_specks_to_large_areas() -> None:
    shares = np.array([d.mask.mean() for seed in range(60) for d in scene_of(seed).defects])
    assert np.quantile(shares, 0.2) < 0.003
    assert np.quantile(shares, 0.9) > 0.06
    assert shares.max() < 0.6


def test_a_good_scene_has_no_mask_and_is_its_own_twin() -> None:
    scene = make_scene(5, SIZE_HW, defective=False)
    assert scene.types == ()
    assert not scene.masks
    assert not scene.defects
    assert np.array_equal(scene.image, scene.good)


def test_asking_for_a_defect_changes_neither_the_product_nor_its_twin() -> None:
    good, bad = make_scene(6, SIZE_HW, defective=False), make_scene(6, SIZE_HW, defective=True)
    assert np.array_equal(good.image, bad.good)
    assert good.product == bad.product


def test_about_half_of_the_scenes_are_defective_if_nothing_is_asked() -> None:
    defective = [bool(make_scene(seed, (64, 72), "brushed").types) for seed in range(60)]
    assert 0.3 < np.mean(defective) < 0.7


@pytest.mark.parametrize("family", FAMILIES)
def test_references_are_other_parts_of_the_same_product(family: str) -> None:
    scene = scene_of(3, family)
    first, second = scene.reference(0), scene.reference(1)
    assert first.shape == scene.image.shape
    assert np.array_equal(first, scene.reference(0))
    assert np.abs(first.astype(int) - second).mean() > 1
    assert np.abs(first.astype(int) - scene.good).mean() > 1


def test_references_are_nearer_to_their_product_than_other_products_are() -> None:
    def look(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.asarray(picture.reshape(-1, 3).mean(0))

    goods = [scene_of(seed, "plastic") for seed in range(12)]
    own = [np.abs(look(s.good) - look(s.reference(0))).max() for s in goods]
    other = [np.abs(look(a.good) - look(b.reference(0))).max() for a, b in pairwise(goods)]
    assert np.mean(own) < 0.5 * np.mean(other)


def test_trivial_statistics_do_not_tell_a_defective_picture_from_its_twin() -> None:
    def statistics(picture: NDArray[np.uint8]) -> list[float]:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=90)
        levels = picture.astype(np.float32)
        return [levels.mean(), levels.std(), levels.min(), levels.max(), float(len(buffer.getvalue()))]

    scenes = [scene_of(seed) for seed in range(160)]
    rows = np.array([statistics(p) for s in scenes for p in (s.good, s.image)])
    labels, scores = np.tile([0, 1], len(scenes)), np.zeros(2 * len(scenes))
    group = np.repeat(np.arange(len(scenes)) % 2, 2)  # a pair is never split
    for held_out in (0, 1):
        model = make_pipeline(StandardScaler(), LogisticRegression())
        model.fit(rows[group != held_out], labels[group != held_out])
        scores[group == held_out] = model.predict_proba(rows[group == held_out])[:, 1]
    aurocs = [roc_auc_score(labels[group == g], scores[group == g]) for g in (0, 1)]
    assert np.mean(aurocs) < 0.6


def test_words_follow_from_what_was_painted() -> None:
    phrases = {d.appearance for seed in range(60) for d in scene_of(seed).defects}
    assert len(phrases) > 30
    words = {word for phrase in phrases for word in phrase.split()}
    assert {"dark", "bright", "small", "thin", "line"} <= words
    for seed in range(30):
        for defect in scene_of(seed).defects:
            if defect.appearance.startswith("large"):
                assert defect.mask.mean() > 0.03


def test_a_missing_part_leaves_the_ground_and_no_part() -> None:
    scene = scene_of(11, "tray", "missing part")
    assert scene.defects[0].appearance.endswith("empty place")
    assert scene.masks["missing part"].mean() > 0.002


@pytest.mark.parametrize("name", DEFECT_TYPES)
def test_every_type_has_sober_words_and_known_look_alikes(name: str) -> None:
    info = DEFECT_TYPES[name]
    assert 3 <= len(info.synonyms) <= 5
    assert set(info.look_alikes) <= set(DEFECT_TYPES) - {name}
    for phrase in (*info.causes, *info.recommendations):
        assert 2 <= len(phrase.split()) < 12


def test_every_type_belongs_to_a_family_and_every_family_has_types() -> None:
    assert set(APPLICABLE_TYPES) == set(FAMILIES)
    assert {t for types in APPLICABLE_TYPES.values() for t in types} == set(DEFECT_TYPES)


def real_like(height: int = 90, width: int = 140) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    picture = 120 + 30 * np.sin(np.arange(width) / 9)[None, :, None] + rng.normal(0, 4, (height, width, 3))
    return np.asarray(picture, np.uint8)


@pytest.mark.parametrize("name", PAINTABLE_TYPES)
def test_a_defect_is_painted_on_any_picture_and_only_near_its_mask(name: str) -> None:
    good = real_like()
    painted, mask, appearance = paint_defect(good, np.random.default_rng(1), name)
    assert painted.shape == good.shape
    assert painted.dtype == np.uint8
    change = np.abs(painted.astype(int) - good).max(-1)
    assert change[mask].mean() >= 4
    assert change[~binary_dilation(mask, iterations=12)].mean() < 1
    assert appearance
    again, mask_again, _ = paint_defect(good, np.random.default_rng(1), name)
    assert np.array_equal(painted, again)
    assert np.array_equal(mask, mask_again)


def test_a_defect_stays_in_the_region() -> None:
    region = np.zeros((90, 140), np.bool_)
    region[20:70, 30:80] = True
    for seed in range(8):
        _, mask, _ = paint_defect(real_like(), np.random.default_rng(seed), "stain", region)
        assert mask.any()
        assert not (mask & ~region).any()


def test_a_grey_picture_stays_grey() -> None:
    grey = np.repeat(real_like()[..., :1], 3, axis=2)
    for seed in range(6):
        painted, _, _ = paint_defect(grey, np.random.default_rng(seed), "corrosion")
        assert np.ptp(painted.astype(int), axis=-1).max() == 0


@pytest.mark.skipif("GENAU_DATA" not in os.environ, reason="GENAU_DATA is unset: no real pictures to paint on")
def test_a_defect_is_painted_on_a_real_photograph() -> None:
    path = sorted((Path(os.environ["GENAU_DATA"]) / "train" / "paper" / "images").iterdir())[0]
    good = np.array(Image.open(path).convert("RGB"))[:100]
    painted, mask, _ = paint_defect(good, np.random.default_rng(2), "crack")
    assert np.abs(painted.astype(int) - good).max(-1)[mask].mean() >= 4


def test_unknown_names_are_refused_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"'scrach' is not one of .* Did you mean 'scratch'\? Use one of these"):
        make_scene(0, SIZE_HW, types=["scrach"])
    with pytest.raises(UsageError, match=r"'wovn' is not one of .* Did you mean 'woven'\?"):
        make_scene(0, SIZE_HW, family="wovn")
    with pytest.raises(UsageError, match=r"'missing part' is not one of"):
        paint_defect(real_like(), np.random.default_rng(0), "missing part")


def test_what_cannot_be_is_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError, match=r"'stone' cannot have missing part.*choose from these, or another family"):
        make_scene(0, SIZE_HW, family="stone", types=["missing part"])
    with pytest.raises(UsageError, match=r"at least 64 pixels\. Choose a larger size"):
        make_scene(0, (32, 80))
    with pytest.raises(UsageError, match=r"types is empty.*pass None"):
        make_scene(0, SIZE_HW, types=[])
    with pytest.raises(UsageError, match=r"k=-1 is negative"):
        scene_of(3, "stone").reference(-1)
    with pytest.raises(ImageError, match=r"must be uint8 \(H, W, 3\)\. Convert"):
        paint_defect(real_like()[..., 0], np.random.default_rng(0), "stain")
    with pytest.raises(ImageError, match=r"region has shape \(140, 90\).*must be \(H, W\) = \(90, 140\)"):
        paint_defect(real_like(), np.random.default_rng(0), "stain", np.ones((140, 90), np.bool_))
