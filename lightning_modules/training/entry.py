"""Entry: one training of a cohort, in the one form that goes from the plan to the stack that trains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lightning_modules.settings import Settings

if TYPE_CHECKING:
    from lightning_modules.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Entry:
    """One training: what is trained, when it is evaluated, and where it starts.

    Imports no torch, because a plan consists of entries (`sweeps.planning.plan.Training`).
    """

    id: str
    settings: Settings
    evaluated: Sequence[int]
    """Epochs at which every-epoch measures are computed; 0 is before training."""
    measured: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Epoch -> measures on demand that are computed there too."""
    checkpoint: Checkpoint | None = field(default=None, compare=False, repr=False)
    """The state that the training resumes from; None: it starts at initialization."""

    @property
    def epoch(self) -> int:
        """The number of epochs that are trained already."""
        return self.checkpoint.epoch if self.checkpoint else 0
