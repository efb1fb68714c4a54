"""The card of a saved model, filled from its configuration."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from genau.calibration import Thresholds
from genau.model.configuration import GenAUConfig
from genau.modelcard import CARD_FILE, card_text, write_card

SEVEN = "Qwen/Qwen2.5-VL-7B-Instruct"


def card(base: str | None = SEVEN, adapter: bool = True, lora: bool = True, **settings: Any) -> Any:
    """A card as the hub's library reads it; its types know less than its values."""
    backbone = "nano" if base is None else "qwen-vl"
    config = GenAUConfig(backbone=backbone, base=base, base_fingerprint="feedfeedfeedfeed", **settings)
    return ModelCard(card_text(config, Thresholds(0.25, method="largest F1", data="made"), adapter=adapter, lora=lora))


def test_the_front_matter_is_the_hubs() -> None:
    data = card().data
    assert data.base_model == SEVEN
    assert data.to_dict()["base_model_relation"] == "adapter"
    assert data.license == "apache-2.0"
    assert data.library_name == "genau"
    assert data.pipeline_tag == "image-segmentation"
    assert "lora" in data.tags
    assert card(adapter=False, lora=False).data.to_dict()["base_model_relation"] == "merge"


def test_nothing_in_the_front_matter_is_empty() -> None:
    for base in (None, SEVEN, "/home/me/base", "someone/another-vlm"):
        text = card(base).content
        fields = yaml.safe_load(text.split("---")[1])
        assert all(fields.values()), fields
        assert "None" not in text


@pytest.mark.parametrize(
    ("base", "licence", "name"),
    [
        (None, "apache-2.0", None),
        ("Qwen/Qwen2.5-VL-3B-Instruct", "other", "qwen-research"),
        ("someone/another-vlm", None, None),
    ],
)
def test_the_licence_is_the_bases_where_it_is_known(base: str | None, licence: str | None, name: str | None) -> None:
    found = card(base).data.to_dict()
    assert found.get("license") == licence
    assert found.get("license_name") == name
    if name:
        assert "no commercial use" in card(base).text


def test_a_revision_is_told_but_is_no_part_of_the_name() -> None:
    found = card(f"{SEVEN}@abc")
    assert found.data.base_model == SEVEN
    assert f"base: {SEVEN}@abc" in found.text


def test_a_folder_is_no_base_that_a_hub_knows() -> None:
    for folder in ("/home/me/base", "./base", "a/b/c", "base"):
        assert card(folder).data.base_model is None


def test_what_was_trained_is_said_and_a_long_list_is_cut() -> None:
    types = tuple(f"type {number}" for number in range(50))
    text = card(trained_types=types, trained_products=("bolt",), trained_data=("sheets",)).text
    assert "- data: sheets" in text
    assert "- products: bolt" in text
    assert "type 39 and 10 more" in text
    assert "Results on these products are not zero-shot" in text
    assert "the map is the plain distance" in card().text


def test_thresholds_use_and_limits_are_on_the_card() -> None:
    text = card().text
    assert "defective from a score of 0.25 on" in text
    assert "method: largest F1" in text
    assert "Not a safety device" in text
    assert "the analysis is null" in text
    assert "the analysis is null" not in card(writes_analysis=True).text
    assert 'Inspector.from_pretrained("FOLDER")' in text


def test_a_card_is_written_whole_and_read_by_the_hubs_library(tmp_path: Path) -> None:
    write_card(tmp_path, GenAUConfig(), Thresholds(), adapter=True, lora=False)
    assert [path.name for path in tmp_path.iterdir()] == [CARD_FILE]
    assert ModelCard.load(tmp_path / CARD_FILE).data.license == "apache-2.0"
    assert asdict(Thresholds())["image"] == 0.5


def test_a_card_says_whether_free_questions_are_answered() -> None:
    assert "- free questions: answered in words, which decide nothing" in card(answers_freely=True).text
    assert "free questions" not in card().text
