"""Every number that shapes a GenAU model, each once."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedConfig

from genau.errors import CheckpointError, suggest

BACKBONE_NAMES = ("nano", "llava-onevision", "qwen-vl", "smolvlm")
QUESTIONS = ("presence", "kind", "place", "count", "size", "severity")  # what map and queries can answer


class GenAUConfig(PreTrainedConfig):
    """Configuration of `GenAUModel`.

    Paper: the two query tokens, multi-scale features, the fused score. Ours: context, read-out, chat format.
    """

    model_type = "genau"

    # Parts
    backbone: str = "nano"  # one of BACKBONE_NAMES
    backbone_config: dict[str, Any] | None = None  # sizes of the backbone's own parts; see its file
    base: str | None = None  # where its weights come from: a hub id or a folder; None: nano's own
    base_fingerprint: str | None = None  # identity of the base weights that the trained weights belong to
    image_size: int = 640  # side of the square canvas, pixels

    # Words
    chat_format: str = "chatml"
    image_token_id: int = -1
    seg_defect_token_id: int = -1
    seg_normal_token_id: int = -1
    normal_word_id: int = -1  # first tokens of the two verdict words; they must differ
    defect_word_id: int = -1

    # Context memory: the rest of the same picture, or good parts
    # Sizes of patches as (pyramid levels, stride in canvas pixels, cells around a patch that are not its context):
    # small ones find fine prints and scratches, large ones broad defects.
    context_scales: tuple[tuple[tuple[int, ...], int, int], ...] = (((1, 2), 16, 2), ((1, 2, 3), 32, 1))
    context_temperature: float = 0.02  # of the soft minimum, in cosine distance
    context_neighbours: int = 5  # how many equally near patches count as distance zero offset
    context_most: int = 8192  # remembered patches of good parts at the first scale, those of five pictures of nano's

    # Mask head
    head_width: int = 64
    upsample: int = 1  # learned, of the finest level: a transformer's grid is too coarse for a scratch
    normal_query: bool = True  # whether [SEG_normal] counters [SEG_defect]; off in an ablation
    context: bool = True  # whether distances and residuals are used; off in an ablation
    tau_init: float = 10.0  # temperature of the cosines; 100 with a random projector saturates the softmax
    tau_max: float = 100.0
    distance_gain_init: float = 16.0  # a of the map equation
    distance_offset_init: float = 0.42  # b: distance at which the map crosses 0.5, zero-shot
    reference_offset_init: float = 0.42  # the same with references of good parts

    # Scores
    readout_fractions: tuple[float, ...] = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)  # rho
    readout_offset: float = 0.0  # margin at which s_map is 0.5
    text_weight: float = 0.0  # w; chosen on held-out products

    reads_pictures: bool = True  # whether the decoder reads the picture, or (after the first stage) the question only

    # What the shipped weights know (empty: untrained)
    trained_types: tuple[str, ...] = ()
    trained_products: tuple[str, ...] = ()
    trained_data: tuple[str, ...] = ()  # names of the data sets
    trained_advice: dict[str, tuple[str, ...]] | None = None  # by type: what the decoder may recommend for a bad part
    trained_causes: dict[str, tuple[str, ...]] | None = None  # the likely causes, in the same way
    questions: tuple[str, ...] = QUESTIONS  # typed questions that are answered
    writes_analysis: bool = False  # whether the decoder was trained to describe defects
    measures_appearance: bool = False  # whether the appearance is measured in the picture instead of written
    answers_freely: bool = False  # whether the decoder was trained to answer free questions

    def __post_init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - the framework's signature
        """Check what the framework's types cannot say."""
        for name in ("readout_fractions", "trained_types", "trained_products", "trained_data", "questions"):
            setattr(self, name, tuple(getattr(self, name)))  # JSON has lists only
        self.trained_advice = _by_type(self.trained_advice, self.trained_types)
        self.trained_causes = _by_type(self.trained_causes, self.trained_types)
        self.context_scales = tuple((tuple(levels), stride, around) for levels, stride, around in self.context_scales)
        super().__post_init__(**kwargs)
        if self.backbone not in BACKBONE_NAMES:
            hint = suggest(self.backbone, BACKBONE_NAMES)
            raise CheckpointError(f"backbone={self.backbone!r} is not one of {', '.join(BACKBONE_NAMES)}.{hint}")
        for name in self.questions:
            if name not in QUESTIONS:
                hint = suggest(name, QUESTIONS)
                raise CheckpointError(f"questions has {name!r}, which is not one of {', '.join(QUESTIONS)}.{hint}")
        for _, stride, _ in self.context_scales:
            if self.image_size % stride:
                size = self.image_size // stride * stride
                raise CheckpointError(
                    f"image_size={self.image_size} is not a multiple of the context's stride {stride}. Use {size}."
                )
        if not 0 <= self.text_weight <= 1:
            raise CheckpointError(f"text_weight={self.text_weight} is not in [0, 1].")
        if self.normal_word_id == self.defect_word_id != -1:
            raise CheckpointError(
                f"Both verdict words begin with token {self.normal_word_id}: choose words whose first tokens differ."
            )

    @property
    def speaks(self) -> bool:
        """Whether free questions are answered in words: never by a decoder that does not read the picture."""
        return self.answers_freely and self.reads_pictures


def _by_type(
    texts: Mapping[str, Sequence[str]] | Sequence[str] | None, types: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return texts by type; a flat list, as models before nano v3.1 have it, holds for every type."""
    by_type = texts if isinstance(texts, Mapping) else dict.fromkeys(types, texts or ())
    return {name: tuple(own) for name, own in by_type.items()}
