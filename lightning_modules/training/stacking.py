"""Stack the tensors of K networks along a new first axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lightning_modules.errors import ModelError


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """Return the detached parameters and buffers of a network by name."""
    return {name: value.detach() for name, value in (*network.named_parameters(), *network.named_buffers())}


def stack_states(states: Sequence[Mapping[str, Tensor]], names: Sequence[str]) -> dict[str, Tensor]:
    """Stack the named tensors of K networks, each as [K, ...].

    `torch.func.stack_module_state` requires networks of the same class, but a user's function that defines its class
    locally returns a new class at every call.
    """
    shapes = [{name: value.shape for name, value in state.items()} for state in states]
    if any(each != shapes[0] for each in shapes):
        raise ModelError(
            "model", "makes networks of different parameters at equal settings; it must depend on them alone"
        )
    return {name: torch.stack([state[name] for state in states]) for name in names}
