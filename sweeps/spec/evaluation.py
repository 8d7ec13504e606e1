"""When a training is evaluated, and which measures on demand are taken."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Evaluation:
    """At which epochs a trajectory is measured, beside those its points ask for."""

    every: int | None = None
    """None: log-spaced, two an octave: 1, 2, 3, 4, 6, 8, 11, 16, 23, 32, ..."""

    def epochs(self, horizon: int, asked: Iterable[int]) -> tuple[int, ...]:
        if self.every:
            own: Iterable[int] = range(self.every, horizon + 1, self.every)
        else:
            own = itertools.takewhile(lambda epoch: epoch <= horizon, (round(2 ** (i / 2)) for i in itertools.count()))
        return tuple(sorted({*own, *asked}))


@dataclass(frozen=True)
class Measurement:
    """Which measures on demand are taken, and when."""

    epochs: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)
    """By measure: the epochs it is taken at, or None: at every epoch that the grid asks for."""

    def at(self, asked: Iterable[int]) -> dict[int, tuple[str, ...]]:
        """For a training whose points ask for these epochs: what is taken at which, up to the last of them."""
        asked = tuple(asked)
        found: dict[int, list[str]] = {}
        for name, given in self.epochs.items():
            for epoch in asked if given is None else (epoch for epoch in given if epoch <= max(asked)):
                found.setdefault(epoch, []).append(name)
        return {epoch: tuple(sorted(names)) for epoch, names in sorted(found.items())}
