"""Checkpoint: the state of a training after some epochs. Resuming from it does not change any bit.

A checkpoint belongs to one member, not to a cohort. Members do not depend on each other, so the members of one cohort
may resume in different cohorts. Checkpoints are written with `torch.save` and contain only tensors, numbers and
strings, so that `torch.load` can read them with `weights_only`.
"""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from lightning_modules.measures.values import PerExample

_log = logging.getLogger(f"memsweep.{__name__}")

VERSION = 3
"""Version of the checkpoint format and of the code that resumes from a checkpoint."""

Rows = list[tuple[int, dict[str, float | None]]]


@dataclass(frozen=True)
class Checkpoint:
    """The state of one member after `epoch` epochs."""

    epoch: int
    device: str
    """cpu or cuda. The state of a generator cannot be moved between the two."""
    parameters: Mapping[str, Tensor]
    constants: Mapping[str, Tensor]
    """Buffers and frozen parameters."""
    optimizer: Mapping[str, Mapping[str, Tensor]]
    """The optimizer's state by parameter name; empty before the first update."""
    probes: Mapping[str, Mapping[str, Tensor]]
    """The accumulated sums of each on-demand measure, by measure name."""
    rows: Rows
    examples: list[tuple[int, PerExample]]
    measured: Mapping[int, Sequence[str]]
    """The names of the on-demand measures requested at each epoch so far."""
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
        """Return whether a training with these epochs, evaluations and on-demand measures can use this checkpoint."""
        if self.epoch >= epochs:
            return False
        seen = {epoch for epoch, _ in self.rows}
        end = self.epoch if self.diverged is None else self.diverged - 1
        taken = all(set(measured[epoch]) <= set(self.measured.get(epoch, ())) for epoch in measured if epoch <= end)
        added_up = {name for names in measured.values() for name in names} <= self.probes.keys()
        return taken and added_up and {epoch for epoch in evaluated if epoch <= end} <= seen


def encode(checkpoint: Checkpoint) -> bytes:
    """Serialize a checkpoint. `decode` is the inverse."""
    examples = [
        (epoch, each.measure, each.split, torch.from_numpy(each.example_ids), torch.from_numpy(each.values))
        for epoch, each in checkpoint.examples
    ]
    content = io.BytesIO()
    torch.save({"version": _version(), **checkpoint.__dict__, "examples": examples}, content)
    return content.getvalue()


def decode(content: bytes) -> Checkpoint | None:
    """Deserialize a checkpoint. Return None if it is unreadable or from another version of memsweep or torch.

    Logs a warning for each other version, once per process.
    """
    try:
        fields: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
        return None
    version = fields.pop("version", None)
    if version != _version():
        _warn_of(version, _version())
        return None
    examples = [
        (epoch, PerExample(measure, split, ids.numpy(), values.numpy()))
        for epoch, measure, split, ids, values in fields.pop("examples")
    ]
    return Checkpoint(**fields, examples=examples)


def _version() -> str:
    return f"{VERSION}, {_software()}"


@cache
def _warn_of(other: object, own: str) -> None:
    _log.warning("checkpoints of version %s are not used by version %s: their trainings begin anew", other, own)


@cache
def _software() -> str:
    """Return the versions of memsweep and torch. Cached, because the lookup is slower than the rest of `encode`."""
    return f"memsweep {metadata.version('memsweep')}, torch {metadata.version('torch')}"
