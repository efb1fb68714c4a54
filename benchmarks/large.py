"""Time large backbones with random weights on one device: `python benchmarks/large.py [NAME...] --device cuda`.

Speed does not depend on the weights, so nothing is downloaded: sizes are those of the supported checkpoints, see
docs/backbones.md. Measured are seeing a picture with one question (score and map), each further question, and pictures
per second in batches; beside them, in the same run, CLIP ViT-L/14-336 at 518 pixels, the tower of WinCLIP and
AnomalyCLIP, and the ratio to it. Prints one JSON object per model. `--profile` prints where the time goes.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from genau.layouts import layout_of
from genau.model.backbones.catalog import known
from genau.model.backbones.families import build_backbone, family
from genau.model.configuration import GenAUConfig
from genau.model.modeling import GenAUModel

SIZES = ("llava-onevision-qwen2-0.5b-ov-hf", "Qwen3-VL-2B-Instruct", "Qwen2.5-VL-7B-Instruct")
CLIP_PIXELS = 518
INSTRUCTION_WORDS, QUESTION_WORDS, TYPES = 30, 30, 10


class Stopwatch:
    """Medians of warm runs, with the device's queue empty at both ends."""

    def __init__(self, device: torch.device, runs: int) -> None:
        self.device, self.runs = device, runs

    def seconds(self, work: Callable[[], object]) -> float:
        """Return the median wall time of `work` after a warm-up."""
        times = []
        for number in range(self.runs + 1):
            started = self._now()
            work()
            if number:
                times.append(self._now() - started)
        return statistics.median(times)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class RandomModel:
    """A GenAU of a supported checkpoint's size, and inputs of the right shapes; its answers mean nothing."""

    def __init__(self, name: str, device: torch.device, dtype: torch.dtype, image_size: int | None) -> None:
        base = known(name).config
        habits = family(known(name).family).habits(base, image_size)
        vocabulary = int(base.get("vocab_size") or base["text_config"]["vocab_size"])
        config = GenAUConfig(
            backbone=known(name).family,
            backbone_config=base,
            image_size=habits.image_size,
            context_scales=habits.context_scales,
            upsample=habits.upsample,
            image_token_id=vocabulary,
            seg_defect_token_id=vocabulary + 1,
            seg_normal_token_id=vocabulary + 2,
            normal_word_id=1,
            defect_word_id=2,
        )
        before = torch.get_default_dtype()
        try:
            torch.set_default_dtype(dtype)
            with device:
                backbone = build_backbone(config)
        finally:
            torch.set_default_dtype(before)
        self.model = GenAUModel(config, backbone).to(device).eval()
        self.device, self.layout = device, layout_of(habits.layout)

    def batch(self, pictures: int, questions: int) -> dict[str, Any]:
        """Return inputs of `GenAUModel.forward`: square pictures that fill the canvas, each asked so many questions."""
        config, device = self.model.config, self.device
        generator = torch.Generator().manual_seed(0)
        content = (config.image_size, config.image_size)
        ids = [
            word
            for piece in self.layout.pieces(content)
            for word in ([config.image_token_id] * piece if isinstance(piece, int) else [3, 4])
        ]
        query = torch.randint(5, 1000, (QUESTION_WORDS,), generator=generator).tolist()
        query[-3:] = [config.seg_defect_token_id, config.seg_normal_token_id, 5]
        rows = pictures * questions
        inputs: dict[str, Tensor] = {
            "pixel_values": torch.randn(pictures, 3, *content, generator=generator),
            "content_hw": torch.tensor([content] * pictures),
            "instruction_ids": torch.randint(5, 1000, (1, INSTRUCTION_WORDS), generator=generator),
            "picture_ids": torch.tensor([ids] * pictures),
            "picture_mask": torch.ones(pictures, len(ids), dtype=torch.bool),
            "query_ids": torch.tensor([query] * rows),
            "query_mask": torch.ones(rows, len(query), dtype=torch.bool),
            "verdict_at": torch.full((rows,), len(query) - 1),
            "asked_ids": torch.tensor([query] * rows),
            "asked_mask": torch.ones(rows, len(query), dtype=torch.bool),
            "image_index": torch.arange(pictures).repeat_interleave(questions),
        }
        return {name: tensor.to(device) for name, tensor in inputs.items()}


def clip_tower(device: torch.device, dtype: torch.dtype) -> Callable[[int], Callable[[], object]]:
    """Return, for a number of pictures, what CLIP ViT-L/14-336 does with them at 518 pixels: random weights too."""
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    config = CLIPVisionConfig(**sizes, patch_size=14, image_size=336, projection_dim=768)
    tower = CLIPVisionModel(config).to(device, dtype).eval()

    def looks_at(pictures: int) -> Callable[[], object]:
        pixels = torch.randn(pictures, 3, CLIP_PIXELS, CLIP_PIXELS, device=device, dtype=dtype)
        return lambda: tower(pixel_values=pixels, interpolate_pos_encoding=True, output_hidden_states=True)

    return looks_at


def measure(
    name: str, device: torch.device, dtype: torch.dtype, watch: Stopwatch, image_size: int | None, batch: int
) -> dict[str, Any]:
    """Time one model; seconds, and GiB of the device."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    random = RandomModel(name, device, dtype, image_size)
    one, ten, many = random.batch(1, 1), random.batch(1, 1 + TYPES), random.batch(batch, 1)
    alone = watch.seconds(lambda: random.model(**one))
    report = {
        "model": name,
        "parameters": sum(weight.numel() for weight in random.model.parameters()),
        "image_size": random.model.config.image_size,
        "tokens": one["picture_ids"].shape[1],
        "score_and_map_s": round(alone, 4),
        "each_type_adds_s": round((watch.seconds(lambda: random.model(**ten)) - alone) / TYPES, 4),
        f"pictures_per_s_in_batches_of_{batch}": round(batch / watch.seconds(lambda: random.model(**many)), 2),
    }
    if device.type == "cuda":
        report["peak_gib"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 1)
    return report


def profile(name: str, device: torch.device, dtype: torch.dtype, image_size: int | None) -> str:
    """Return the table of what takes longest."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if device.type == "cuda" else []
    random = RandomModel(name, device, dtype, image_size)
    one = random.batch(1, 1)
    random.model(**one)
    with torch.profiler.profile(activities=activities, record_shapes=True) as found:
        random.model(**one)
    order = "cuda_time_total" if device.type == "cuda" else "cpu_time_total"
    table: str = found.key_averages(group_by_input_shape=True).table(sort_by=order, row_limit=30)
    return table


def main() -> None:
    """Measure what was named, and CLIP before it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=SIZES, help=f"supported checkpoints; default: {', '.join(SIZES)}")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--image-size", type=int, help="side of the canvas in pixels; default: the family's")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8, help="pictures at once, where their number per second is told")
    parser.add_argument("--profile", action="store_true", help="print where the time goes instead")
    options = parser.parse_args()
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    watch = Stopwatch(device, options.runs)
    with torch.inference_mode():
        if options.profile:
            for name in options.names:
                print(profile(name, device, dtype, options.image_size))
            return
        looks_at = clip_tower(device, dtype)
        clip = {count: watch.seconds(looks_at(count)) / count for count in {1, options.batch}}
        own = {
            "model": f"CLIP ViT-L/14-336, {CLIP_PIXELS} pixels",
            "seconds": round(clip[1], 4),
            f"pictures_per_s_in_batches_of_{options.batch}": round(1 / clip[options.batch], 2),
        }
        print(json.dumps({"device": str(device), "dtype": options.dtype, "torch": torch.__version__} | own))
        for name in options.names:
            report = measure(name, device, dtype, watch, options.image_size, options.batch)
            report["times_clip"] = round(report["score_and_map_s"] / clip[1], 2)
            print(json.dumps(report), flush=True)
            if device.type == "cuda":
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
