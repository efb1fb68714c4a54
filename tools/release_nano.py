"""Turn a training run into the shipped nano: `python tools/release_nano.py RUN --scores EVALUATION/images.jsonl ...`.

Chooses w and the image threshold on development scores, never on evaluation data: `genau eval` on dev/ and on fresh
synthetic scenes (`genau data synth --count 100 --seed 7000000`), because two products alone do not tell where a
threshold lies on a third. Every set counts the same. Then it writes the adapter form in half precision into the
package. The model card is docs/model-card.md.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from genau import checkpoints
from genau.calibration import Thresholds
from genau.metrics import auroc, balanced_accuracy
from genau.training.instructions import texts_of

WEIGHTS = np.linspace(0, 1, 21)
WORTH = 0.02  # mean AUROC that a weight must gain over the map alone; less is noise on a hundred pictures
OUTPUT = Path(__file__).parent.parent / "src" / "genau" / "pretrained" / "nano"


def read_scores(paths: Sequence[Path]) -> dict[str, np.ndarray]:
    """Return per development set and number of references an array (n, 3): label, map score, text score."""
    rows = defaultdict(list)
    for line in (line for path in paths for line in path.read_text().splitlines()):
        row = json.loads(line)
        if row["seed"] == 0 and row["pred_score"] is not None:  # one draw of references, inspected pictures
            name = f"{row['dataset']}/{row['references']}"
            rows[name].append((row["label"], row["map_score"], row["text_score"]))
    return {name: np.array(values) for name, values in rows.items()}


def choose(sets: dict[str, np.ndarray]) -> tuple[float, float, float]:
    """Return w of the largest mean AUROC if it is worth it, and the threshold of the largest mean balanced accuracy."""

    def fused(values: np.ndarray, w: float) -> np.ndarray:
        return (1 - w) * values[:, 1] + w * values[:, 2]

    def mean_auroc(w: float) -> float:
        return float(np.mean([auroc(fused(values, w), values[:, 0] > 0) for values in sets.values()]))

    weight = float(max(WEIGHTS, key=mean_auroc))
    weight = weight if mean_auroc(weight) >= mean_auroc(0) + WORTH else 0.0
    candidates = np.linspace(0.02, 0.98, 193)

    def mean_accuracy(threshold: float) -> float:
        found = [balanced_accuracy(fused(v, weight) >= threshold, v[:, 0] > 0) for v in sets.values()]
        return float(np.mean(found))

    threshold = float(max(candidates, key=mean_accuracy))
    return round(weight, 3), round(threshold, 3), mean_accuracy(threshold)


def halve(path: Path) -> None:
    """Rewrite a safetensors file in half precision, its metadata kept."""
    with safe_open(path, "pt") as stream:
        metadata = stream.metadata()
        tensors = {key: stream.get_tensor(key).half() for key in stream.keys()}  # noqa: SIM118 - not a dict
    save_file(tensors, path, metadata)


def main() -> None:
    """Write the package's nano."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of `genau train`")
    parser.add_argument("--scores", type=Path, nargs="+", required=True)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    checkpoint = checkpoints.load(options.run / "adapter", merge=False)
    sets = read_scores(options.scores)
    weight, threshold, accuracy = choose(sets)
    config = checkpoint.model.config
    config.text_weight = weight
    config.trained_advice, config.trained_causes = texts_of(config.trained_types)
    config.measures_appearance = True
    (config.backbone_config or {})["decoder"].pop("_name_or_path", None)  # a folder of this machine
    thresholds = Thresholds(
        image=threshold,
        method=f"largest mean balanced accuracy ({accuracy:.3f}) over development sets",
        data=f"{', '.join(sets)}; {datetime.now(UTC):%Y-%m-%d}",
    )
    checkpoints.save_adapter(options.output, checkpoint.model, checkpoint.processor, thresholds)
    for path in options.output.rglob("*.safetensors"):
        halve(path)
        path.chmod(0o644)
    lora = options.output / checkpoints.ADAPTER_FOLDER / "adapter_config.json"
    if lora.is_file():  # peft notes the folder of the base on this machine; the fingerprint says which base it is
        settings = json.loads(lora.read_text()) | {"base_model_name_or_path": None}
        lora.write_text(json.dumps(settings, indent=2) + "\n")
    size = sum(path.stat().st_size for path in options.output.rglob("*") if path.is_file())
    print(json.dumps({"text_weight": weight, "threshold": threshold, "balanced_accuracy": accuracy, "bytes": size}))


if __name__ == "__main__":
    main()
