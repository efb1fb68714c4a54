"""What every checkpoint would need of a GPU: the table of docs/backbones.md, by `python benchmarks/estimates.py`.

From the sizes in the package, on the meta device; nothing is fetched and nothing is run.
"""

import dataclasses

from genau.model.backbones.catalog import KnownCheckpoint, build_config, known_checkpoints
from genau.model.estimate import GIB, Workload, estimate

HEAD = (
    "| checkpoint | backbone | licence | parameters | visual tokens | inspect, bf16 | inspect, 4 bits | train, bf16 | "
    "train, 4 bits | train on 8, FSDP |"
)


def row(checkpoint: KnownCheckpoint) -> str:
    """Return one line: parameters, visual tokens of a picture that fills the usual canvas, GiB on each GPU."""
    config = build_config(checkpoint.config, checkpoint.name)
    work = Workload()
    bf16, bits = (estimate(config, dataclasses.replace(work, dtype=dtype)) for dtype in ("bfloat16", "nf4"))
    many = estimate(config, dataclasses.replace(work, gpus=8))
    memories = (
        bf16.inspection,
        bits.inspection,
        *(e.training["checkpointing"] for e in (bf16, bits)),
        many.sharded["fsdp"],
    )
    licence = checkpoint.licence + ("*" if checkpoint.licence_note else "")
    numbers = " | ".join(f"{memory.total / GIB:.1f}" for memory in memories)
    name = f"`{checkpoint.name}`"
    return (
        f"| {name} | {checkpoint.family} | {licence} | {checkpoint.parameters:,} | {bf16.visual_tokens:,} | {numbers} |"
    )


def main() -> None:
    """Print the table."""
    print(HEAD)
    print("| --- | --- | --- " + "| ---: " * 7 + "|")
    for checkpoint in known_checkpoints().values():
        print(row(checkpoint))


if __name__ == "__main__":
    main()
