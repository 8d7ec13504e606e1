"""Entry: one training, in the form that both plans and stacks use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lightning_modules.settings import Settings

if TYPE_CHECKING:
    from lightning_modules.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Entry:
    """One training: its settings, the epochs at which it is evaluated, and the state from which it starts.

    This module does not import torch, because a plan consists of entries (`sweeps.planning.plan.Training`).
    """

    id: str
    settings: Settings
    evaluated: Sequence[int]
    """Epochs at which the per-epoch measures are computed; 0 is before training."""
    measured: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """The names of the on-demand measures to compute, by epoch."""
    checkpoint: Checkpoint | None = field(default=None, compare=False, repr=False)
    """The state from which the training resumes, or None if it starts from its initialization."""

    @property
    def epoch(self) -> int:
        """The number of epochs that have already been trained."""
        return self.checkpoint.epoch if self.checkpoint else 0
