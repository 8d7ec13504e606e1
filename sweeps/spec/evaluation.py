"""The epochs at which a training is evaluated and at which its on-demand measures are computed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Evaluation:
    """The epochs at which a training is evaluated, in addition to those of its points."""

    every: int | None = None
    """The interval in epochs, or None for log-spaced epochs, two per octave: 1, 2, 3, 4, 6, 8, 11, 16, 23, ..."""

    def epochs(self, horizon: int, requested: Iterable[int]) -> tuple[int, ...]:
        if self.every:
            own: Iterable[int] = range(self.every, horizon + 1, self.every)
        else:
            own = itertools.takewhile(lambda epoch: epoch <= horizon, (round(2 ** (i / 2)) for i in itertools.count()))
        return tuple(sorted({*own, *requested}))


@dataclass(frozen=True)
class Measurement:
    """The on-demand measures of a sweep, and the epochs at which they are computed."""

    epochs: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)
    """measure -> the epochs at which it is computed, or None for every epoch in the grid."""

    def up_to(self, horizon: int) -> Measurement:
        """Leave out the epochs beyond a horizon, except where a measure would have none left."""
        kept = {name: epochs and tuple(e for e in epochs if e <= horizon) for name, epochs in self.epochs.items()}
        return Measurement({name: kept[name] or epochs for name, epochs in self.epochs.items()})

    def at(self, requested: Iterable[int]) -> dict[int, tuple[str, ...]]:
        """Return a mapping from each epoch, up to the last requested one, to the measures to compute at that epoch."""
        requested = tuple(requested)
        last = max(requested, default=0)
        names_at: dict[int, list[str]] = {}
        for name, own in self.epochs.items():
            for epoch in requested if own is None else (epoch for epoch in own if epoch <= last):
                names_at.setdefault(epoch, []).append(name)
        return {epoch: tuple(sorted(names)) for epoch, names in sorted(names_at.items())}
