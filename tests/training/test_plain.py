"""Training of anything that gives margins: losses by hand, and whole runs with a module of seven weights."""

import itertools
import json
import logging
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn
from transformers import set_seed

from genau.datasets.sample import Sample
from genau.errors import DataError, UsageError
from genau.images import Picture
from genau.training.plain import PlainSettings, PlainTrainer, loss_terms, read_samples, train, training_arguments

CONFIG = Path(__file__).parents[2] / "configs" / "anomalyclip.yaml"


def settings(**changes: Any) -> PlainSettings:
    values: dict[str, Any] = {"trains": "toy", "base": "none", "data": [{"root": "none", "format": "mvtec"}]}
    values |= {"epochs": 3, "batch_size": 4, "learning_rate": 1e-2, "log_every": 1, "save_every": 100}
    return PlainSettings(**(values | changes))


class Toy(nn.Module):
    """Two maps on a grid of 4 x 6 cells, each a weighted sum of the colours."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.full((2, 3), 0.1))
        self.offset = nn.Parameter(torch.zeros(()))
        self.noted: tuple[Sequence[str], Sequence[str]] = ((), ())

    def collate(self, pictures: Sequence[Picture], masks: Sequence[NDArray[np.bool_]]) -> dict[str, Tensor]:
        colours = [torch.tensor(picture.rgb).permute(2, 0, 1).float() / 255 - 0.5 for picture in pictures]
        return {"colours": torch.stack(colours), "targets": torch.from_numpy(np.stack(masks)).float()}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        cells = F.adaptive_avg_pool2d(batch["colours"], (4, 6))  # (B, 3, h, w)
        maps = torch.einsum("lc,bchw->blhw", self.mix, cells) + self.offset
        return {"image": maps.amax((1, 2, 3)), "maps": maps}

    def note_training(self, products: Sequence[str], data: Sequence[str]) -> None:
        self.noted = (products, data)

    def save_pretrained(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "toy.json").write_text(json.dumps(self.mix.tolist()))


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Seven grey plates of 40 x 60 pixels, the odd ones with a blue square of their own size."""
    made = []
    for number in range(7):
        rgb = np.random.default_rng(number).integers(110, 140, (40, 60, 3), np.uint8)
        mask = np.zeros((40, 60), np.uint8)
        if number % 2:
            box = (slice(5, 10 + 3 * number), slice(20, 26 + 4 * number))
            rgb[box], mask[box] = (10, 20, 250), 255
            Image.fromarray(mask).save(tmp_path / f"{number}_mask.png")
        Image.fromarray(rgb).save(tmp_path / f"{number}.png")
        drawn = tmp_path / f"{number}_mask.png" if number % 2 else None
        made.append(Sample(tmp_path / f"{number}.png", bool(number % 2), "plate", "plates", "toys", "test", mask=drawn))
    return made


# The loss


def test_without_any_opinion_every_term_has_the_value_computed_by_hand() -> None:
    margins = {"image": torch.zeros(1), "maps": torch.zeros(1, 2, 2, 3)}
    targets = torch.zeros(1, 4, 6)
    targets[0, :2, :3] = 1  # 6 of 24 pixels
    means = {name: term.mean.item() for name, term in loss_terms(margins, targets).items()}
    assert means == pytest.approx(
        {
            "focal": 2 * 0.25 * math.log(2),  # both maps
            "dice_defect": 2 * (1 - (2 * 3 + 1) / (12 + 6 + 1)),
            "dice_normal": 2 * (1 - (2 * 9 + 1) / (12 + 18 + 1)),
            "image": math.log(2),
        },
        rel=1e-5,
    )


def test_a_good_picture_counts_in_every_term_as_published() -> None:
    margins = {"image": torch.zeros(2), "maps": torch.zeros(2, 1, 2, 3)}
    terms = loss_terms(margins, torch.zeros(2, 2, 3))
    assert {name: term.count for name, term in terms.items()} == dict.fromkeys(terms, 2)
    assert terms["dice_defect"].mean.item() == pytest.approx(1 - 1 / 4)  # (0 + 1) / (3 + 0 + 1)


def test_right_maps_cost_nothing_and_mirrored_ones_much() -> None:
    targets = torch.zeros(1, 4, 6)
    targets[0, :2, :3] = 1
    right = torch.where(targets.bool(), 20.0, -20.0)[:, None]
    image = torch.tensor([20.0])

    def total(maps: Tensor) -> float:
        return sum(term.mean.item() for term in loss_terms({"image": image, "maps": maps}, targets).values())

    assert total(right) < 1e-4
    assert total(right.flip(-1)) > 1


def test_a_picture_is_defective_if_any_pixel_of_its_mask_is() -> None:
    targets = torch.zeros(2, 4, 6)
    targets[1, 3, 5] = 1
    terms = loss_terms({"image": torch.tensor([-5.0, 5.0]), "maps": torch.zeros(2, 1, 2, 3)}, targets)
    assert terms["image"].mean.item() < 0.01


# Gradients


@pytest.mark.parametrize(("first", "second"), [([4], [2, 2]), ([4], [3, 1])])
def test_gradients_do_not_depend_on_how_a_step_is_cut(
    first: list[int], second: list[int], samples: list[Sample], tmp_path: Path
) -> None:
    gradients = []
    for cut in (first, second):
        module, options = Toy(), settings(accumulation=len(cut), lam=4.0)
        run = PlainTrainer(
            options,
            model=module,
            args=training_arguments(options, tmp_path, torch.device("cpu")),
            train_dataset=torch.utils.data.TensorDataset(torch.zeros(4)),
        )
        pictures, masks = zip(*((_picture(sample), sample.read_mask()) for sample in samples[:4]), strict=True)
        ends = np.cumsum([0, *cut])
        batches = [module.collate(pictures[start:end], masks[start:end]) for start, end in itertools.pairwise(ends)]
        run.get_batch_samples(iter(batches), len(batches), torch.device("cpu"))
        for batch in batches:
            run.compute_loss(module, batch).backward()
        assert module.mix.grad is not None
        gradients.append(module.mix.grad.clone())
    assert gradients[0].abs().max() > 1e-3
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6)


def _picture(sample: Sample) -> Picture:
    return Picture(np.asarray(Image.open(sample.image)), sample.image.name)


# Runs


def test_a_run_learns_and_leaves_the_trained_module_its_log_and_its_settings(
    samples: list[Sample], tmp_path: Path
) -> None:
    module = Toy()
    options = settings(epochs=60, learning_rate=0.3, batch_size=7, lam=2.0)
    folder = train(module, samples, options, tmp_path / "run")
    assert json.loads((folder / "toy.json").read_text()) == module.mix.tolist()
    rows = [row for row in json.loads((tmp_path / "run" / "log.json").read_text()) if "loss" in row]
    assert rows[-1]["loss_focal"] < 0.2 * rows[0]["loss_focal"]  # Dice stays: no map has all of a good part right
    assert (module.mix[:, 2] > module.mix[:, 0]).all()  # blue is what is wrong
    maps = sum(rows[0][f"loss_{name}"] for name in ("focal", "dice_defect", "dice_normal"))
    assert rows[0]["loss"] == pytest.approx(2.0 * maps + rows[0]["loss_image"], abs=1e-3)
    assert PlainSettings(**json.loads((tmp_path / "run" / "settings.json").read_text())) == options


def test_the_module_is_told_its_products_and_data(samples: list[Sample], tmp_path: Path) -> None:
    module = Toy()
    train(module, samples, settings(epochs=1), tmp_path / "run")
    assert module.noted == (["plate"], ["toys, split test"])


def test_accumulated_steps_train_like_whole_ones(samples: list[Sample], tmp_path: Path) -> None:
    logs = []
    for cut in (1, 2):
        options = settings(batch_size=4 // cut, accumulation=cut)
        train(Toy(), samples, options, tmp_path / f"run{cut}")
        rows = json.loads((tmp_path / f"run{cut}" / "log.json").read_text())
        logs.append([[row[key] for key in ("loss", "loss_focal", "grad_norm")] for row in rows if "loss" in row])
    assert len(logs[0]) == 6
    assert np.allclose(logs[0], logs[1], rtol=1e-3)


def test_a_run_resumed_within_an_epoch_ends_where_an_uninterrupted_one_does(
    samples: list[Sample], tmp_path: Path
) -> None:
    whole, broken = Toy(), Toy()
    options = settings(epochs=3, batch_size=2, save_every=6)  # 4 steps an epoch: step 6 is in the middle of the second
    train(whole, samples, options, tmp_path / "whole")
    train(broken, samples, options, tmp_path / "broken")
    shutil.rmtree(tmp_path / "broken" / "checkpoint-12")
    set_seed(99)
    again = Toy()
    nn.init.constant_(again.mix, 7.0)  # all that matters must come from the checkpoint
    train(again, samples, options, tmp_path / "broken", resume=True)
    assert torch.equal(again.mix, whole.mix)


def test_a_run_is_not_overwritten_and_nothing_is_resumed_where_there_is_none(
    samples: list[Sample], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"nothing to resume in .*Leave --resume out"):
        train(Toy(), samples, settings(), tmp_path / "run", resume=True)
    train(Toy(), samples, settings(epochs=1), tmp_path / "run")
    with pytest.raises(UsageError, match=r"holds a run already. Go on with --resume, or choose another folder"):
        train(Toy(), samples, settings(), tmp_path / "run")


# Data


def test_defective_samples_without_a_mask_are_left_out_and_counted(
    samples: list[Sample], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bare = Sample(samples[1].image, True, "gear", "gears", "toys", "test")
    module = Toy()
    with caplog.at_level(logging.INFO, "genau"):
        train(module, [*samples, bare], settings(epochs=1), tmp_path / "run")
    assert "1 defective samples without a mask are left out" in caplog.text
    assert module.noted[0] == ["plate"]
    with pytest.raises(DataError, match=r"None of 1 samples has a mask, so maps cannot be trained. Add masks"):
        train(Toy(), [bare], settings(), tmp_path / "other")


def test_samples_come_from_the_test_split_of_every_source(tmp_path: Path) -> None:
    for name in ("gear", "bolt"):
        for folder in ("train/good", "test/good", "test/scratch", "ground_truth/scratch"):
            (tmp_path / name / folder).mkdir(parents=True)
            white = np.full((20, 30), 255, np.uint8)
            stem = "000_mask" if "truth" in folder else "000"
            Image.fromarray(white).save(tmp_path / name / folder / f"{stem}.png")
    sources = [{"root": tmp_path, "format": "mvtec", "categories": [name]} for name in ("gear", "bolt")]
    found = read_samples(settings(data=sources).data)
    assert [(sample.category, sample.split, sample.label) for sample in found] == [
        (name, "test", label) for name in ("gear", "bolt") for label in (False, True)
    ]


def test_settings_refuse_a_key_that_they_do_not_know_and_a_run_without_data() -> None:
    with pytest.raises(ValidationError, match="epoch_count"):
        settings(epoch_count=3)
    with pytest.raises(ValidationError, match="data"):
        settings(data=[])


def test_the_shipped_config_holds_the_published_training() -> None:
    options = PlainSettings(**yaml.safe_load(CONFIG.read_text()))
    assert (options.trains, options.base) == ("anomalyclip", "openai/clip-vit-large-patch14-336")
    assert (options.image_size, options.epochs, options.batch_size) == (518, 15, 8)
    assert (options.learning_rate, options.momentum, options.lam) == (1e-3, 0.5, 4.0)
    arguments = training_arguments(options, Path("run"), torch.device("cpu"))
    assert (arguments.learning_rate, arguments.adam_beta1, arguments.seed) == (1e-3, 0.5, 111)
    assert (arguments.lr_scheduler_type, arguments.weight_decay, arguments.max_grad_norm) == ("constant", 0.0, 0.0)
