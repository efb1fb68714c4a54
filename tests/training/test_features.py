"""What is kept of an example is what the model sees of it."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genau.images import Picture
from genau.inspector import Inspector
from genau.model.modeling import GenAUModel
from genau.processor import GenAUProcessor
from genau.training import features
from genau.training.examples import Example
from genau.training.features import EncodedExamples, encode, read, save

Draw = Callable[..., NDArray[np.uint8]]


@pytest.fixture
def example(picture: Draw) -> Example:
    rgb = picture(1, 90, 140, spot=True)
    mask = np.zeros((90, 140), np.bool_)
    mask[22:34, 70:84] = True
    return Example(rgb, {"stain": mask}, "plate", {"stain": "a dark square"}, (picture(5), picture(6, 70, 100)))


@pytest.mark.parametrize("with_references", [True, False])
def test_what_is_encoded_is_the_context_that_the_inspector_sees(
    inspector: Inspector, example: Example, with_references: bool
) -> None:
    references = list(example.references) if with_references else None
    shown = Example(example.rgb, example.masks, "plate", example.appearances, tuple(references or ()))
    encoded = encode(shown, inspector.model, inspector.processor)
    seen = inspector.see(Picture(example.rgb, "part"), references).seen
    assert encoded.scalars.shape == (8, 8, 8)
    assert torch.allclose(encoded.scalars, seen.context.scalars[0], atol=1e-4)
    assert torch.allclose(encoded.residual.float(), seen.context.residual[0], atol=2e-3)
    assert encoded.from_references is with_references
    assert encoded.content_hw == (82, 128)
    assert [level.dtype for level in encoded.pyramid] == [torch.float16] * 4


def test_a_target_is_every_cell_that_the_defect_touches(
    model: GenAUModel, processor: GenAUProcessor, example: Example
) -> None:
    (target,) = encode(example, model, processor).targets.values()
    rows, columns = (torch.nonzero(target.any(axis))[:, 0].tolist() for axis in (1, 0))
    # 22 to 34 of 90 pixels and 70 to 84 of 140, at 128 / 140, in cells of 4.
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (5, 7, 16, 19)


def test_what_is_written_is_read_again(
    model: GenAUModel, processor: GenAUProcessor, example: Example, tmp_path: Path
) -> None:
    encoded = encode(example, model, processor)
    save(encoded, tmp_path / "0.safetensors")
    again = read(tmp_path / "0.safetensors")
    for name in ("scalars", "residual"):
        assert torch.equal(getattr(encoded, name), getattr(again, name))
    assert all(torch.equal(one, other) for one, other in zip(encoded.pyramid, again.pyramid, strict=True))
    assert (again.facts, again.content_hw, again.from_references) == (encoded.facts, (82, 128), True)
    assert again.targets.keys() == {"stain"}
    assert torch.equal(again.targets["stain"], encoded.targets["stain"])
    assert [path.name for path in tmp_path.iterdir()] == ["0.safetensors"]


class Counted(list[Example]):
    """Examples that count how often each is made."""

    def __init__(self, made: Sequence[Example]) -> None:
        super().__init__(made)
        self.asked: list[int] = []

    def __getitem__(self, index: Any) -> Any:
        self.asked.append(index)
        return super().__getitem__(index)


def test_each_example_is_made_once_and_carries_its_visit(
    model: GenAUModel, processor: GenAUProcessor, examples: list[Example], tmp_path: Path
) -> None:
    source = Counted(examples[:3])
    kept = EncodedExamples(source, model, processor, tmp_path / "features")
    kept.epoch = 4
    assert [kept[k].visit for k in (2, 0, 2)] == [(4, 2), (4, 0), (4, 2)]
    assert source.asked == [2, 0]
    kept.fill()
    assert source.asked == [2, 0, 1]
    kept.fill()
    assert torch.equal(kept[1].scalars, encode(examples[1], model, processor).scalars)
    assert source.asked == [2, 0, 1]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_examples_made_by_others_are_kept_in_order_and_only_a_few_are_made_ahead(
    model: GenAUModel,
    processor: GenAUProcessor,
    examples: list[Example],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    monkeypatch.setattr(features, "ProcessPoolExecutor", lambda count, context: ThreadPoolExecutor(count))
    source, ahead = Counted(examples), []
    kept = EncodedExamples(source, model, processor, tmp_path)

    def note(example: Example, *_: Any) -> features.Encoded:
        ahead.append(len(source.asked))
        return encode(example, model, processor)

    monkeypatch.setattr(features, "encode", note)
    kept.fill(workers)
    assert sorted(source.asked) == list(range(8))
    assert all(asked <= done + 2 * workers + 1 for done, asked in enumerate(ahead))
    for index, example in enumerate(examples):
        assert torch.equal(kept[index].scalars, encode(example, model, processor).scalars), index
