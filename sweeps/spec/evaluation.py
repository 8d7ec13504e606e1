"""The epochs at which a training is evaluated, and the measures on demand that are taken."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Evaluation:
    """The epochs at which a training is evaluated, in addition to those of its points."""

    every: int | None = None
    """The interval in epochs. None: log-spaced, two per octave: 1, 2, 3, 4, 6, 8, 11, 16, 23, 32, ..."""

    def epochs(self, horizon: int, requested: Iterable[int]) -> tuple[int, ...]:
        if self.every:
            own: Iterable[int] = range(self.every, horizon + 1, self.every)
        else:
            own = itertools.takewhile(lambda epoch: epoch <= horizon, (round(2 ** (i / 2)) for i in itertools.count()))
        return tuple(sorted({*own, *requested}))


@dataclass(frozen=True)
class Measurement:
    """The measures on demand of a sweep, and the epochs at which they are taken."""

    epochs: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)
    """measure -> the epochs at which it is taken; None stands for every epoch in the grid."""

    def at(self, requested: Iterable[int]) -> dict[int, tuple[str, ...]]:
        """Return epoch -> names of measures, up to the last epoch, for a training that has points at these epochs."""
        requested = tuple(requested)
        names_at: dict[int, list[str]] = {}
        for name, own in self.epochs.items():
            for epoch in requested if own is None else (epoch for epoch in own if epoch <= max(requested)):
                names_at.setdefault(epoch, []).append(name)
        return {epoch: tuple(sorted(names)) for epoch, names in sorted(names_at.items())}
