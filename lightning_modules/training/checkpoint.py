"""Checkpoint: the state from which a training resumes after some epochs, to the same bits.

A checkpoint belongs to one member, not to its cohort: members do not depend on each other, so those of one cohort may
resume in others. Its bytes are those of `torch.save`, with tensors, numbers and strings only; they are read with
`weights_only`, which constructs nothing else.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from lightning_modules.measures.values import PerExample

VERSION = 2
"""Version of the content of a checkpoint, and of how a training resumes from it."""

Rows = list[tuple[int, dict[str, float | None]]]


@dataclass(frozen=True)
class Checkpoint:
    """The state of one member after `epoch` epochs."""

    epoch: int
    device: str
    """cpu or cuda: generators of one cannot resume on the other."""
    parameters: Mapping[str, Tensor]
    constants: Mapping[str, Tensor]
    """Buffers and frozen parameters."""
    optimizer: Mapping[str, Mapping[str, Tensor]]
    """Parameter -> the optimizer's state; empty before the first update."""
    dropout: Tensor | None
    """The state of the generator of dropout masks; None if the member has no dropout."""
    augmentation: Tensor
    probes: Mapping[str, Mapping[str, Tensor]]
    """Measure on demand -> the sums that it has accumulated."""
    rows: Rows
    examples: list[tuple[int, PerExample]]
    measured: Mapping[int, Sequence[str]]
    """Epoch -> the measures on demand that were requested up to this epoch."""
    diverged: int | None
    seconds: float = 0.0
    """The member's share of the wall time of its stacks so far."""

    @property
    def count(self) -> int:
        """The number of trainable parameters."""
        return sum(value.numel() for value in self.parameters.values())

    @property
    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers, by name."""
        return {**self.parameters, **self.constants}

    def serves(self, epochs: int, evaluated: Collection[int], measured: Mapping[int, Collection[str]]) -> bool:
        """Return whether a training of `epochs` epochs, evaluated and measured as given, can resume from here."""
        if self.epoch >= epochs:
            return False
        seen = {epoch for epoch, _ in self.rows}
        end = self.epoch if self.diverged is None else self.diverged - 1
        taken = all(set(measured[epoch]) <= set(self.measured.get(epoch, ())) for epoch in measured if epoch <= end)
        added_up = {name for names in measured.values() for name in names} <= self.probes.keys()
        return taken and added_up and {epoch for epoch in evaluated if epoch <= end} <= seen


def encode(checkpoint: Checkpoint) -> bytes:
    """Return the bytes of a checkpoint; `decode` is the inverse."""
    examples = [
        (epoch, each.measure, each.split, torch.from_numpy(each.example_ids), torch.from_numpy(each.values))
        for epoch, each in checkpoint.examples
    ]
    content = io.BytesIO()
    torch.save({"version": _version(), **checkpoint.__dict__, "examples": examples}, content)
    return content.getvalue()


def decode(content: bytes) -> Checkpoint | None:
    """Return the checkpoint, or None for other bytes and for another version of memsweep or torch."""
    try:
        fields: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
        return None
    if fields.pop("version", None) != _version():
        return None
    examples = [
        (epoch, PerExample(measure, split, ids.numpy(), values.numpy()))
        for epoch, measure, split, ids, values in fields.pop("examples")
    ]
    return Checkpoint(**fields, examples=examples)


def _version() -> str:
    return f"{VERSION}, {_software()}"


@cache
def _software() -> str:
    """Return the versions in use. Cached, because a lookup takes longer than the rest of an encoding."""
    return f"memsweep {metadata.version('memsweep')}, torch {metadata.version('torch')}"
