"""What is asked of examples, and what is counted: without a model."""

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from genau.datasets.synthetic import DEFECT_TYPES
from genau.processor import IGNORED_LABEL, GenAUProcessor
from genau.prompts import Query
from genau.training import batches
from genau.training.batches import BatchMaker, term_counts
from genau.training.features import Encoded
from genau.training.instructions import Facts

FINEST = (6, 8)
TYPES = ("dent", "scratch", "stain", "torn label")  # the last is not of the engine
READING: tuple[Literal["questions", "pictures"], ...] = ("questions", "pictures")


def row(index: int, epoch: int = 0, **cells: tuple[slice, slice]) -> Encoded:
    """Return an example with a mask for each type."""
    generator = torch.Generator().manual_seed(index)
    targets: dict[str, Tensor] = {}
    for name, where in cells.items():
        mask = torch.zeros(FINEST, dtype=torch.bool)
        mask[where] = True
        targets[name.replace("_", " ")] = mask
    pyramid = tuple(torch.randn(3, *grid, generator=generator).half() for grid in (FINEST, (3, 4)))
    return Encoded(
        pyramid,
        torch.rand(8, 3, 4, generator=generator),
        torch.rand(5, 3, 4, generator=generator).half(),
        bool(index % 2),
        (96, 128),
        targets,
        Facts("gearbox", tuple(targets), "top left", "minor", "a mark"),
        (epoch, index),
    )


BOX, LINE, NOWHERE = (slice(1, 3), slice(2, 5)), (slice(5, 6), slice(0, 8)), (slice(0, 0), slice(0, 0))


@pytest.fixture
def rows() -> list[Encoded]:
    return [row(0), row(1, dent=BOX), row(2, scratch=LINE, torn_label=BOX), row(3)]


def words(processor: GenAUProcessor, ids: Tensor, mask: Tensor) -> list[str]:
    return [processor.tokenizer.decode(line[kept]) for line, kept in zip(ids, mask, strict=True)]


def questions(processor: GenAUProcessor, batch: dict[str, Any], name: str = "asked") -> list[str]:
    return words(processor, batch[f"{name}_ids"], batch[f"{name}_mask"])


def test_where_nothing_is_read_each_picture_has_one_general_question(
    processor: GenAUProcessor, rows: list[Encoded]
) -> None:
    batch = BatchMaker(processor, "nothing", 0.5)(rows)
    assert not {"query_ids", "asked_ids", "labels", "regions", "unworded"} & set(batch)
    assert batch["image_index"].tolist() == [0, 1, 2, 3]
    assert batch["general"].all()
    assert batch["defective"].tolist() == [False, True, True, False]
    assert torch.equal(batch["targets"][2].bool(), rows[2].targets["scratch"] | rows[2].targets["torn label"])
    assert (batch["targets"][[0, 3]] == 0).all()
    assert torch.equal(batch["scalars"], torch.stack([one.scalars for one in rows]))
    assert torch.equal(batch["residual"], torch.stack([one.residual.float() for one in rows]))
    assert batch["from_references"].tolist() == [False, True, False, True]
    assert [level.dtype for level in batch["pyramid"]] == [torch.float32] * 2


def test_where_questions_are_read_they_name_types_and_no_product_and_have_no_answers(
    processor: GenAUProcessor,
) -> None:
    rows = [row(index, dent=BOX) for index in range(12)]
    asked = BatchMaker(processor, "questions", 0.5, TYPES)(rows)
    assert not {"labels", "query_ids", "verdict_at"} & set(asked)
    texts = questions(processor, asked)
    assert not any("gearbox" in text for text in texts)
    assert {text for text, general in zip(texts, asked["general"], strict=True) if general} == {texts[0]}
    assert len(set(texts)) > 3
    assert (~asked["general"]).sum() >= 12
    joint = BatchMaker(processor, "pictures", 0.5, TYPES)(rows)
    assert (joint["labels"] != IGNORED_LABEL).any()
    assert any("gearbox" in text for text in questions(processor, joint, "query"))
    assert not any("gearbox" in text for text in questions(processor, joint))
    assert "unworded" not in joint


def test_the_verdict_that_stands_in_an_answer_is_whether_what_is_asked_for_is_there(processor: GenAUProcessor) -> None:
    batch = BatchMaker(processor, "pictures", 0.5, TYPES)([row(0), *(row(index, dent=BOX) for index in range(1, 8))])
    words = processor.token_ids()
    said = batch["labels"].gather(1, batch["verdict_at"][:, None])[:, 0].tolist()
    assert said == [words["defect_word_id" if there else "normal_word_id"] for there in batch["defective"]]
    for general in (True, False):
        kind = batch["general"] == general
        assert 0 < batch["defective"][kind].sum() < kind.sum()


def test_about_half_of_the_general_questions_and_no_other_are_drawn_by_the_prior_alone(
    processor: GenAUProcessor,
) -> None:
    made = BatchMaker(processor, "questions", 0.0, TYPES)([row(index, dent=BOX) for index in range(60)])
    assert not made["unworded"][~made["general"]].any()
    share = made["unworded"][made["general"]].float().mean().item()
    assert share == pytest.approx(batches.UNWORDED, abs=0.2)


@pytest.mark.parametrize("reads", ["nothing", "questions", "pictures"])
def test_what_is_asked_of_a_picture_follows_from_its_visit_and_not_from_its_batch(
    processor: GenAUProcessor, rows: list[Encoded], reads: Any
) -> None:
    maker = BatchMaker(processor, reads, 0.5, TYPES)
    together, alone = maker(rows), [maker([one]) for one in rows]
    for name in ("targets", "general", "defective", *(["unworded"] if reads == "questions" else [])):
        assert torch.equal(together[name], torch.cat([part[name] for part in alone])), name
    for name in {"nothing": [], "questions": ["asked"], "pictures": ["asked", "query"]}[reads]:
        apart = [text for part in alone for text in questions(processor, part, name)]
        assert questions(processor, together, name) == apart
    counts: dict[str, int] = {}
    for part in alone:
        for name, count in term_counts(part).items():
            counts[name] = counts.get(name, 0) + count
    assert term_counts(together) == counts


def test_another_epoch_asks_something_else_and_the_same_visit_the_same(processor: GenAUProcessor) -> None:
    maker = BatchMaker(processor, "questions", 0.0, TYPES)
    first, again, later = ([row(k, epoch, dent=BOX) for k in range(8)] for epoch in (0, 0, 1))
    one, same, other = (maker(rows) for rows in (first, again, later))
    assert questions(processor, one) == questions(processor, same) != questions(processor, other)
    assert torch.equal(one["type_ids"], same["type_ids"])
    assert words(processor, one["type_ids"], one["type_mask"]) != words(
        processor, other["type_ids"], other["type_mask"]
    )


@pytest.mark.parametrize("reads", READING)
def test_every_region_knows_its_picture_its_type_and_the_types_that_it_is_not(
    processor: GenAUProcessor, reads: Literal["questions", "pictures"]
) -> None:
    rows = [row(0), row(1, stain=BOX), row(2, torn_label=BOX, dent=LINE, scratch=NOWHERE)]
    batch = BatchMaker(processor, reads, 0.0, TYPES)(rows)
    assert batch["region_image"].tolist() == [1, 2, 2]  # a mask without a cell is no region
    assert [TYPES[k] for k in batch["region_type"]] == ["stain", "torn label", "dent"]
    masks = [rows[1].targets["stain"], rows[2].targets["torn label"], rows[2].targets["dent"]]
    assert torch.equal(batch["regions"], torch.stack(masks))
    # Columns as TYPES: what lies in the same picture is no rival.
    assert batch["region_rivals"].int().tolist() == [[1, 1, 1, 1], [0, 0, 1, 1], [1, 0, 1, 0]]
    assert len(batch["type_ids"]) == len(batch["type_mask"]) == len(TYPES)


def test_the_wordings_of_the_types_are_asked_as_questions_about_them(
    processor: GenAUProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "wordings", lambda types, rng: [Query(name) for name in types])
    expected = processor.questions([Query(name) for name in TYPES])
    for reads in READING:
        batch = BatchMaker(processor, reads, 0.0, TYPES)([row(1, dent=BOX)])
        assert torch.equal(batch["type_ids"], expected["asked_ids"])
        assert torch.equal(batch["type_mask"], expected["asked_mask"])


def test_a_batch_of_good_parts_has_no_regions_and_its_shapes_say_so(processor: GenAUProcessor) -> None:
    batch = BatchMaker(processor, "questions", 0.0, TYPES)([row(0), row(1)])
    assert batch["regions"].shape == (0, *FINEST)
    assert batch["region_image"].shape == batch["region_type"].shape == (0,)
    assert batch["region_rivals"].shape == (0, len(TYPES))
    assert term_counts(batch)["type"] == 0


def test_each_loss_term_is_counted_over_its_own_samples(processor: GenAUProcessor, rows: list[Encoded]) -> None:
    batch = BatchMaker(processor, "questions", 0.0, TYPES)(rows)
    asked, filled = len(batch["targets"]), sum(bool(target.any()) for target in batch["targets"])
    assert term_counts(batch) == {
        "focal": asked,
        "dice_defect": filled,
        "empty": asked - filled,
        "dice_normal": asked,
        "image": 4,
        "type": 3,
        "typed_image": asked - 4,
    }
    assert asked > filled > 2
    static = term_counts(BatchMaker(processor, "nothing", 0.0)(rows))
    assert "type" not in static
    assert static["typed_image"] == 0
    assert not {"language", "verdict"} & {*term_counts(batch), *static}
    joint = BatchMaker(processor, "pictures", 0.0, TYPES)(rows)
    counts = term_counts(joint)
    assert counts["language"] == (joint["labels"] != IGNORED_LABEL).sum()
    assert counts["verdict"] == len(joint["targets"])  # every answer decides
    assert counts["typed_image"] == len(joint["targets"]) - 4
    assert counts["type"] == 3


def test_an_absent_type_has_an_empty_mask_and_is_not_there(processor: GenAUProcessor) -> None:
    batch = BatchMaker(processor, "questions", 0.0, TYPES)([row(k, dent=BOX) for k in range(6)])
    typed = ~batch["general"]
    filled = batch["targets"].flatten(1).any(1)
    assert torch.equal(filled[typed], batch["defective"][typed])
    assert 0 < batch["defective"][typed].sum() < typed.sum()
    assert "dent" in DEFECT_TYPES
