"""The tensors of K networks stacked along a new first axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lightning_modules.errors import ModelError


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {name: value.detach() for name, value in (*network.named_parameters(), *network.named_buffers())}


def stack_states(states: Sequence[Mapping[str, Tensor]], names: Sequence[str]) -> dict[str, Tensor]:
    """Each [K, ...]. (torch's own asks for one class, which a function of the user's that defines its class inside does
    not give.)"""
    shapes = [{name: value.shape for name, value in state.items()} for state in states]
    if any(each != shapes[0] for each in shapes):
        raise ModelError(
            "model", "makes networks of different parameters at equal settings; it must depend on them alone"
        )
    return {name: torch.stack([state[name] for state in states]) for name in names}


def parameter_key(name: str) -> str:
    """nn.ParameterDict allows no dots."""
    return name.replace(".", "/")
