"""AnomalyCLIP on a CLIP of random weights: what its prompts are, what it says, that training changes only them."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer, set_seed

from genau import datasets
from genau.baselines.anomalyclip import AnomalyClip, AnomalyClipConfig, draw_map
from genau.baselines.clip_tower import ClipTower
from genau.datasets.sample import Sample
from genau.detection import Detector, Task
from genau.errors import CheckpointError, UsageError
from genau.images import Picture
from genau.training.plain import PlainSettings, PlainTrainer, Trainable, train, training_arguments

SIZES: dict[str, Any] = {"image_size": 64, "context_tokens": 4, "deep_tokens": 2, "deep_layers": 3}
TRANSFORMER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
SIDE_HW = (48, 96)  # of the pictures; a cell of the grid is 6 x 12 pixels


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a CLIP with four blocks per tower, patches of 8 pixels, and a token per letter."""
    folder = tmp_path_factory.mktemp("clip")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<|startoftext|>", *letters, *(f"{letter}</w>" for letter in letters), "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])
    ends = {"bos_token_id": 0, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    config = CLIPConfig(
        text_config=TRANSFORMER | ends | {"vocab_size": len(words), "max_position_embeddings": 32},
        vision_config=TRANSFORMER | {"image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    set_seed(0)
    model = CLIPModel(config)
    for parameter in model.parameters():  # small random weights would make all patches alike
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def detector(base: Path) -> AnomalyClip:
    return AnomalyClip.untrained(base, seed=3, **SIZES)


def draw(seed: int, defective: bool) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A grey plate (48, 96), a defective one with a bright square of 12 x 12 pixels, and its mask."""
    rng = np.random.default_rng(seed)
    rgb = rng.integers(90, 120, (*SIDE_HW, 3), np.uint8)
    mask = np.zeros(SIDE_HW, np.bool_)
    if defective:
        top, left = 6 * int(rng.integers(1, 5)), 12 * int(rng.integers(1, 6))
        mask[top : top + 12, left : left + 24] = True
        rgb[mask] = (250, 240, 30)
    return rgb, mask


def picture(seed: int, defective: bool = False) -> Picture:
    return Picture(draw(seed, defective)[0], f"plate{seed}")


def write_samples(folder: Path) -> list[Sample]:
    """Eight plates, the odd ones defective."""
    samples = []
    for seed in range(8):
        rgb, mask = draw(seed, bool(seed % 2))
        Image.fromarray(rgb).save(folder / f"{seed}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{seed}_mask.png")
        drawn = folder / f"{seed}_mask.png" if seed % 2 else None
        product = "steel plate" if seed < 6 else "brass plate"
        samples.append(Sample(folder / f"{seed}.png", bool(seed % 2), product, "plates", "toys", "test", mask=drawn))
    return samples


def settings(base: Path, **changes: Any) -> PlainSettings:
    values: dict[str, Any] = {"trains": "anomalyclip", "base": str(base), "data": [{"root": base, "format": "mvtec"}]}
    values |= {"epochs": 2, "batch_size": 4, "learning_rate": 3e-2, "lam": 4.0, "log_every": 1, "save_every": 100}
    return PlainSettings(**(values | changes))


def look(detector: AnomalyClip, pictures: Sequence[Picture]) -> list[tuple[float, NDArray[np.float32]]]:
    found = detector.detect(pictures, detector.prepare(Task()))
    return [(detection.inspection.pred_score, detection.inspection.anomaly_map) for detection in found]


# The prompts


def test_prompts_that_hold_real_words_say_the_same_as_the_text(base: Path) -> None:
    detector = AnomalyClip.untrained(base, **(SIZES | {"deep_layers": 1}))
    words = detector.tower.word_embeddings(detector.tower.tokenize(["a b c d", "k l m n"]))[:, 1:5]
    with torch.no_grad():
        detector.prompts.get_parameter("context").copy_(words)
    told = detector.tower.encode_texts(["a b c d object.", "k l m n damaged object."])
    assert torch.allclose(detector.prompts(detector.tower), told, atol=1e-5)


def test_deep_tokens_are_what_later_blocks_read_after_the_start_token(detector: AnomalyClip) -> None:
    read: dict[int, torch.Tensor] = {}
    wrote: dict[int, torch.Tensor] = {}
    layers = detector.tower.model.text_model.encoder.layers
    for number, layer in enumerate(layers):
        # Inside attention's norm: what a block reads after all that is done to its input.
        layer.layer_norm1.register_forward_pre_hook(lambda _, args, n=number: read.update({n: args[0].detach()}))
        layer.register_forward_hook(lambda _, args, out, n=number: wrote.update({n: out.detach()}))
    detector.prompts(detector.tower)
    deep = detector.prompts.get_parameter("deep").detach()
    assert deep.shape == (2, 2, 32)  # blocks 2 and 3
    for number in (1, 2):
        assert torch.equal(read[number][:, 1:3], deep[number - 1].expand(2, -1, -1))
        assert torch.equal(read[number][:, 3:], wrote[number - 1][:, 3:])
        assert torch.equal(read[number][:, :1], wrote[number - 1][:, :1])
    assert torch.equal(read[3], wrote[2])


def test_the_text_tower_is_left_as_it_was(detector: AnomalyClip) -> None:
    before = detector.tower.encode_texts(["a scratched plate"])
    detector.prompts(detector.tower)
    assert torch.equal(detector.tower.encode_texts(["a scratched plate"]), before)
    assert not any(layer._forward_pre_hooks for layer in detector.tower.model.text_model.encoder.layers)


def test_the_seed_and_nothing_else_decides_the_first_prompts(base: Path) -> None:
    one, same, other = (AnomalyClip.untrained(base, seed=seed, **SIZES).prompts.state_dict() for seed in (3, 3, 4))
    for key, value in one.items():
        assert torch.equal(value, same[key])
        assert not torch.equal(value, other[key])
        assert value.std().item() == pytest.approx(0.02, rel=0.2)


def test_every_learned_token_gets_a_gradient_and_nothing_else_does(detector: AnomalyClip) -> None:
    margins = detector({"pixels": detector.tower.pixels([picture(1, True)])})
    (margins["image"].sum() + margins["maps"].square().sum()).backward()
    assert {name for name, _ in detector.named_parameters()} == {"prompts.context", "prompts.deep"}
    for parameter in detector.parameters():
        assert parameter.grad is not None
        assert (parameter.grad.abs().amax(-1) > 0).all()
    assert all(parameter.grad is None for parameter in detector.tower.model.parameters())


def test_the_published_sizes_learn_43008_numbers(base: Path) -> None:
    tower = ClipTower.from_pretrained(base)
    wide: Any = CLIPConfig(
        text_config={"hidden_size": 768, "num_hidden_layers": 12, "max_position_embeddings": 77},
        projection_dim=768,
    )
    tower.model.config = wide
    published = {name: getattr(AnomalyClipConfig, name) for name in ("context_tokens", "deep_tokens", "deep_layers")}
    assert published == {"context_tokens": 12, "deep_tokens": 4, "deep_layers": 9}
    detector = AnomalyClip(tower, AnomalyClipConfig("wide", 64, (1, 2, 3, 4)))
    assert sum(parameter.numel() for parameter in detector.parameters()) == 43_008  # (2 * 12 + 8 * 4) * 768


# What it says


def test_score_and_map_are_the_softmax_over_the_two_prompts(detector: AnomalyClip) -> None:
    shown = picture(1, True)
    directions = detector.prepare(Task())
    seen = detector.tower.encode_pixels(detector.tower.pixels([shown]), (1, 2, 3, 4), vv=True)
    score, drawn = look(detector, [shown])[0]
    assert score == pytest.approx(torch.softmax(seen.image[0] @ directions.T / 0.07, -1)[1].item(), abs=1e-5)
    cells = torch.stack([torch.softmax(level[0] @ directions.T / 0.07, -1)[..., 1] for level in seen.patches]).mean(0)
    assert np.abs(draw_map(cells, 64, SIDE_HW) - drawn).max() < 1e-5
    assert detector.facts.depths == (1, 2, 3, 4)


def test_the_map_has_the_frame_of_the_picture(detector: AnomalyClip) -> None:
    cells = torch.zeros(8, 8)
    cells[1, 6] = 1
    drawn = draw_map(cells, 64, SIDE_HW)
    assert drawn.shape == SIDE_HW
    row, column = divmod(int(drawn.argmax()), SIDE_HW[1])
    assert (row // 6, column // 12) == (1, 6)
    assert drawn.min() >= 0
    assert draw_map(torch.ones(8, 8), 64, SIDE_HW) == pytest.approx(1, abs=1e-5)


def test_the_map_is_smoothed_by_four_pixels_of_the_input() -> None:
    cells = torch.zeros(8, 8)
    cells[4, 4] = 1
    profile = draw_map(cells, 64, (64, 128)).sum(1)
    rows = np.arange(64)
    centre = (profile * rows).sum() / profile.sum()
    variance = (profile * (rows - centre) ** 2).sum() / profile.sum()
    assert variance == pytest.approx(4**2 + 8**2 / 6, rel=0.05)  # beside the triangle of the cell, 8 pixels high


def test_a_picture_alone_in_a_batch_and_again_gives_the_same(detector: AnomalyClip) -> None:
    wide = Picture(np.random.default_rng(5).integers(0, 255, (70, 31, 3), np.uint8), "other")
    pictures = [picture(0), wide, picture(1, True)]
    together, again = look(detector, pictures), look(detector, pictures)
    for number, (score, drawn) in enumerate(together):
        alone_score, alone = look(detector, [pictures[number]])[0]
        assert (score, alone_score) == pytest.approx((again[number][0], score), abs=1e-4)
        assert drawn.shape == (pictures[number].height, pictures[number].width)
        assert np.abs(drawn - alone).max() < 1e-4
        assert np.array_equal(drawn, again[number][1])


def test_nothing_is_said_of_types(detector: AnomalyClip) -> None:
    found = detector.detect([picture(0)], detector.prepare(Task("plate", {"scratch": None, "dent": "round"})))[0]
    assert found.inspection.types == {}
    assert not found.draw_type


def test_references_are_refused_because_nothing_is_compared_with_them(detector: AnomalyClip) -> None:
    with pytest.raises(UsageError, match=r"with words only, but 2 references are given. Leave them out"):
        detector.prepare(Task(references=(Path("a.png"), Path("b.png"))))


def test_it_is_a_detector_and_can_be_trained(detector: AnomalyClip) -> None:
    rival: Detector = detector
    pupil: Trainable = detector
    assert rival.name == "anomalyclip"
    assert rival.settings["trained_data"] == "none: random prompts"
    assert pupil.collate([picture(0)], [np.zeros(SIDE_HW, np.bool_)])["targets"].shape == (1, 64, 64)


def test_a_defect_of_one_pixel_stays_in_the_targets(detector: AnomalyClip) -> None:
    mask = np.zeros((300, 500), np.bool_)
    mask[150, 400] = True
    targets = detector.collate([Picture(np.zeros((300, 500, 3), np.uint8), "big")], [mask])["targets"][0]
    assert set(targets.unique().tolist()) == {0, 1}
    rows, columns = targets.nonzero().T
    assert (int(rows.float().mean()), int(columns.float().mean())) == (32, 51)


# Training


@pytest.fixture(scope="module")
def overfitted(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[AnomalyClip, Path, list[Sample]]:
    """A detector that has seen eight plates sixty times, the folder of its run, and the plates."""
    samples = write_samples(tmp_path_factory.mktemp("plates"))
    detector = AnomalyClip.untrained(base, seed=0, **SIZES)
    run = tmp_path_factory.mktemp("run")
    train(detector, samples, settings(base, epochs=60, batch_size=8, momentum=0.5), run)
    return detector, run, samples


def test_the_loss_falls_and_defective_plates_score_higher(
    overfitted: tuple[AnomalyClip, Path, list[Sample]],
) -> None:
    detector, run, _ = overfitted
    rows = [row for row in json.loads((run / "log.json").read_text()) if "loss" in row]
    assert rows[-1]["loss_focal"] < 0.3 * rows[0]["loss_focal"]
    assert rows[-1]["loss_image"] < 0.5 * rows[0]["loss_image"]
    assert rows[-1]["loss_dice_normal"] < 0.5 * rows[0]["loss_dice_normal"]
    found = look(detector, [picture(seed, bool(seed % 2)) for seed in range(8)])
    assert min(score for score, _ in found[1::2]) > max(score for score, _ in found[0::2])


def test_after_overfitting_the_map_peaks_inside_the_square(overfitted: tuple[AnomalyClip, Path, list[Sample]]) -> None:
    detector, _, _ = overfitted
    for seed in (1, 3, 5, 7, 11, 13):  # the last two it has not seen
        rgb, mask = draw(seed, True)
        drawn = look(detector, [Picture(rgb, "plate")])[0][1]
        assert mask[np.unravel_index(int(drawn.argmax()), drawn.shape)], seed
        assert drawn[mask].mean() > 2 * drawn[~mask].mean()


def test_only_the_prompts_change(base: Path, overfitted: tuple[AnomalyClip, Path, list[Sample]]) -> None:
    detector, _, _ = overfitted
    fresh = AnomalyClip.untrained(base, seed=0, **SIZES)
    for key, value in fresh.tower.model.state_dict().items():
        assert torch.equal(value, detector.tower.model.state_dict()[key]), key
    for key, value in fresh.prompts.state_dict().items():
        assert (value != detector.prompts.state_dict()[key]).any(-1).all(), key


def test_a_saved_detector_loads_with_equal_outputs_and_only_the_prompts(
    overfitted: tuple[AnomalyClip, Path, list[Sample]],
) -> None:
    detector, run, _ = overfitted
    loaded = AnomalyClip.from_pretrained(run / "trained")
    pictures = [picture(0), picture(1, True)]
    for (score, drawn), (same, equal) in zip(look(detector, pictures), look(loaded, pictures), strict=True):
        assert score == same
        assert np.array_equal(drawn, equal)
    assert loaded.facts == detector.facts
    assert sorted(path.name for path in (run / "trained").iterdir()) == ["config.json", "prompts.safetensors"]
    assert load_file(run / "trained" / "prompts.safetensors").keys() == {"context", "deep"}


def test_products_and_data_of_the_training_are_kept(overfitted: tuple[AnomalyClip, Path, list[Sample]]) -> None:
    detector, run, _ = overfitted
    assert detector.trained_products == ("brass plate", "steel plate")
    config = json.loads((run / "trained" / "config.json").read_text())
    assert config["trained_products"] == ["brass plate", "steel plate"]
    assert config["trained_data"] == ["toys, split test"]
    assert AnomalyClip.from_pretrained(run / "trained").settings["trained_data"] == "toys, split test"


def test_a_resumed_run_ends_with_the_same_prompts(base: Path, tmp_path: Path) -> None:
    samples = write_samples(tmp_path)
    options = settings(base, epochs=3, batch_size=2, save_every=6)  # step 6 is in the middle of the second epoch
    whole = AnomalyClip.untrained(base, seed=0, **SIZES)
    train(whole, samples, options, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoint-12")
    set_seed(99)
    again = AnomalyClip.untrained(base, seed=5, **SIZES)
    train(again, samples, options, tmp_path / "run", resume=True)
    for key, value in whole.prompts.state_dict().items():
        assert torch.equal(value, again.prompts.state_dict()[key]), key


def test_one_batch_of_four_and_two_of_two_give_the_same_gradient(base: Path, tmp_path: Path) -> None:
    gradients = []
    for size in (4, 2):
        detector = AnomalyClip.untrained(base, seed=0, **SIZES)
        options = settings(base, batch_size=size, accumulation=4 // size)
        run = PlainTrainer(
            options,
            model=detector,
            args=training_arguments(options, tmp_path, torch.device("cpu")),
            train_dataset=torch.utils.data.TensorDataset(torch.zeros(4)),
        )
        drawn = [draw(seed, bool(seed % 2)) for seed in range(4)]
        pictures, masks = [Picture(rgb, "plate") for rgb, _ in drawn], [mask for _, mask in drawn]
        batches = [detector.collate(pictures[k : k + size], masks[k : k + size]) for k in range(0, 4, size)]
        run.get_batch_samples(iter(batches), len(batches), torch.device("cpu"))
        for batch in batches:
            run.compute_loss(detector, batch).backward()
        gradients.append({name: parameter.grad for name, parameter in detector.named_parameters()})
    for name, gradient in gradients[0].items():
        other = gradients[1][name]
        assert gradient is not None
        assert other is not None
        assert gradient.abs().max() > 1e-3
        assert torch.allclose(gradient, other, atol=1e-5, rtol=1e-4), name


@pytest.mark.skipif("GENAU_DATA" not in os.environ, reason="GENAU_DATA names no folder of real pictures")
def test_real_pictures_of_any_size_can_be_learned_from(base: Path, tmp_path: Path) -> None:
    samples = datasets.read(Path(os.environ["GENAU_DATA"]) / "train" / "ball_screw", "manifest")[:4]
    folder = train(AnomalyClip.untrained(base, **SIZES), samples, settings(base, epochs=1), tmp_path / "run")
    assert AnomalyClip.from_pretrained(folder).trained_products == (samples[0].product,)


# What does not fit


def test_sizes_that_do_not_fit_the_tower_are_refused(base: Path) -> None:
    for changes, words in (
        ({"deep_layers": 5}, "deep_layers=5 is no depth of this text tower. Use 1 to 4."),
        ({"deep_tokens": 9}, "deep_tokens=9 must lie between 0 and context_tokens=4"),
        ({"context_tokens": 20}, "context_tokens=20 does not fit into a prompt. Use at most 16."),
        ({"depths": (2, 7)}, "depths holds 7, which is no block of .*. Use 1 to 4."),
        ({"depths": ()}, "depths is empty, so there is no map. Name blocks"),
        ({"image_size": 60}, "image_size=60 is not a positive multiple"),
        ({"device": "gpu"}, "'gpu' is not a device. Use cpu"),
    ):
        with pytest.raises(UsageError, match=words):
            AnomalyClip.untrained(base, **(SIZES | changes))


def test_a_folder_that_was_not_saved_whole_is_refused(base: Path, detector: AnomalyClip, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no config.json. Give the folder that training AnomalyCLIP wrote"):
        AnomalyClip.from_pretrained(tmp_path)
    detector.save_pretrained(tmp_path)
    (tmp_path / "prompts.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"is not a complete AnomalyCLIP .*Save or copy it again"):
        AnomalyClip.from_pretrained(tmp_path)
    save_file({"context": torch.zeros(2, 3, 32)}, tmp_path / "prompts.safetensors")
    with pytest.raises(CheckpointError, match="is not a complete AnomalyCLIP"):
        AnomalyClip.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(CheckpointError, match=r"config.json is not AnomalyCLIP's"):
        AnomalyClip.from_pretrained(tmp_path)


def test_prompts_do_not_load_on_another_clip(base: Path, detector: AnomalyClip, tmp_path: Path) -> None:
    detector.save_pretrained(tmp_path / "saved")
    other = ClipTower.from_pretrained(base)
    torch.nn.init.normal_(other.model.text_projection.weight)
    other.model.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    (tmp_path / "saved" / "config.json").write_text(json.dumps(config | {"base": str(tmp_path / "other")}))
    with pytest.raises(CheckpointError, match=r"was trained on a CLIP with fingerprint \w+, but .*other has \w+"):
        AnomalyClip.from_pretrained(tmp_path / "saved")
