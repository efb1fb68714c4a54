"""Weights that are divided among processes: made divisible before, and brought together to be saved.

FSDP divides every parameter along its first dimension, which the head's few scalars do not have. They are kept as
vectors of one number while they are trained.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from genau.checkpoints import is_base
from genau.model.modeling import GenAUModel

PARAMETRISED, ORIGINAL = "parametrizations.", ".original"  # of torch's names


class Scalar(nn.Module):
    """A number that is kept as a vector (1,)."""

    def forward(self, vector: Tensor) -> Tensor:
        """(1,) -> ()."""
        return vector.reshape(())

    def right_inverse(self, scalar: Tensor) -> Tensor:
        """() -> (1,)."""
        return scalar.reshape(1)


def make_divisible(model: nn.Module) -> None:
    """Keep all parameters that are scalars as vectors; what reads them does not notice."""
    found = [
        (module, name)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.ndim == 0
    ]
    for module, name in found:
        parametrize.register_parametrization(module, name, Scalar())


def plain_name(name: str) -> str:
    """Return the name of a parameter as it is where nothing is divided."""
    return name.replace(PARAMETRISED, "").removesuffix(ORIGINAL)


@torch.no_grad()
def gathered(model: GenAUModel) -> dict[str, Tensor]:
    """Return all that is trained, whole and on the CPU, by its plain name; every process must call it together."""
    whole = {}
    for name, tensor in model.state_dict().items():
        if is_base(model, name) and "lora_" not in name:
            continue
        full = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        scalar = PARAMETRISED in name
        whole[plain_name(name)] = (full.reshape(()) if scalar else full).detach().cpu().clone()
    return whole
