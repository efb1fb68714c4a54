"""GenAU itself as a detector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from genau.detection import Detection, Task, conclude
from genau.images import Picture
from genau.inspector import Inspector
from genau.model.context import ContextMemory
from genau.model.modeling import GenAUModel
from genau.prompts import Query


@dataclass(frozen=True, eq=False)
class _Prepared:
    task: Task
    memory: ContextMemory | None


class GenAUDetector:
    """An `Inspector` behind the protocol; with `analysis` it also writes, which takes seconds per picture."""

    def __init__(self, inspector: Inspector, *, analysis: bool = False) -> None:
        self._inspector, self._analysis = inspector, analysis
        self._weights = digest(inspector.model)

    @property
    def name(self) -> str:
        """The model's name or folder."""
        return self._inspector.name

    @property
    def trained_products(self) -> Sequence[str]:
        """As the model's configuration says."""
        return tuple(self._inspector.model.config.trained_products)

    @property
    def trained_data(self) -> Sequence[str]:
        """Names of the data sets that the weights were trained on."""
        return tuple(self._inspector.model.config.trained_data)

    @property
    def settings(self) -> Mapping[str, str]:
        """What decides the scores beside the weights."""
        config, thresholds = self._inspector.model.config, self._inspector.thresholds
        return {
            "weights": self._weights,
            "backbone": config.backbone,
            "image size": f"{config.image_size} px",
            "weight of the word (w)": f"{config.text_weight:g}",
            "threshold": f"{thresholds.image:g} ({thresholds.method})",
            "mask threshold": f"{thresholds.pixel:g}",
            "words": "described" if self._analysis else "not asked",
        }

    def prepare(self, task: Task) -> _Prepared:
        """Remember the good parts; errors as `Inspector.remember`."""
        return _Prepared(task, self._inspector.remember(list(task.references)) if task.references else None)

    def detect(self, pictures: Sequence[Picture], prepared: _Prepared) -> list[Detection]:
        """Inspect a batch: one general question and one per type, on one look."""
        task, inspector = prepared.task, self._inspector
        seen = inspector.see_many(pictures, prepared.memory)
        queries = [Query(product=task.product), *(Query(n, text, task.product) for n, text in task.types.items())]
        detections = []
        for image, replies in zip(seen, inspector.replies(seen, queries)[0], strict=True):
            by_type = dict(zip(task.types, replies[1:], strict=True))
            detection = conclude(image.picture, replies[0], by_type, inspector.thresholds)
            if self._analysis:
                told = inspector.ask(image, product=task.product, types=task.types, analysis=True)
                detection = Detection(told, detection.draw_type)
            detections.append(detection)
        return detections


def digest(model: GenAUModel) -> str:
    """Return a short name of the trained weights, so that a run is never resumed with others."""
    hashed = blake2b(digest_size=6)
    for name, value in sorted(model.state_dict().items()):
        hashed.update(name.encode())
        hashed.update(value.float().cpu().contiguous().numpy())
    return hashed.hexdigest()
