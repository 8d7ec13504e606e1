"""A stack whose epochs are timed, for the benchmarks that compare cohorts of different sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from instruments import cpu_seconds

from lightning_modules.data.sources import Dataset
from lightning_modules.training.entry import Entry
from lightning_modules.training.stack import Stack

FIRST = 2
"""The number of epochs after the start of a fit that are not timed. The first ones trace, allocate and start a fit."""


class TimedStack:
    """Trains entries as `train_cohort` does, and times every epoch in CPU seconds.

    Args:
        between: called after every epoch. Its time is not counted.
    """

    def __init__(
        self, entries: Sequence[Entry], dataset: Dataset, between: Callable[[], object] = lambda: None
    ) -> None:
        self._between = between
        self._seconds: list[float] = []
        self._since = 0.0
        self._stack = Stack(dataset, on_epoch=self._on_epoch)
        self._stack.change(joining=entries)

    def _on_epoch(self) -> None:
        self._seconds.append(cpu_seconds() - self._since)
        self._between()
        self._since = cpu_seconds()

    def seconds(self, epochs: int) -> list[float]:
        """Train FIRST epochs and then `epochs` more, and return the seconds of the latter."""
        self._seconds.clear()
        self._stack.advance(FIRST + epochs)
        return self._seconds[FIRST:]
