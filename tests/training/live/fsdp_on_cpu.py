"""Starts the command line with weights divided among processes on the CPU, where accelerate would not divide them.

The division itself (torch's `fully_shard`) knows no difference; accelerate only turns it on for GPUs.
"""

from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from genau import cli

prepare = AcceleratorState.__init__


def divided(self: AcceleratorState, *arguments: Any, fsdp_plugin: Any = None, **options: Any) -> None:
    """Set up as always, then as on GPUs."""
    prepare(self, *arguments, fsdp_plugin=fsdp_plugin, **options)
    if fsdp_plugin is not None:
        self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin


if __name__ == "__main__":
    AcceleratorState.__init__ = divided
    cli.main()
