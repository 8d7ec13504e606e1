"""Stopwatch: measures how long the epochs of a cohort take while it trains, for later estimates."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import ClassVar

from sweeps.planning.plan import Cohort
from sweeps.planning.throughput import Measured
from sweeps.planning.work import effort_of_measures, names_of_measures, slowdown_of_measures

FEWEST_EPOCHS = 3
"""The fewest epochs, after the first one, from which times are taken."""


class Stopwatch:
    """Measures one training of a cohort. Pass `on_epoch` to the training, and call `read` when it has ended.

    On a CPU, it counts the processor time of the thread that trains, so that other processes which compete for the core
    do not count. The first stack of a process says nothing about fixed times, because it loads libraries.
    """

    _used: ClassVar[bool] = False

    def __init__(self, cohort: Cohort, device: str, on_epoch: Callable[[int], None]) -> None:
        self._cohort = cohort
        self._on_epoch = on_epoch
        self._clock = time.thread_time if device == "cpu" else time.perf_counter
        self._is_first, Stopwatch._used = not Stopwatch._used, True
        self._epochs: list[tuple[int, float]] = []
        """(epoch, seconds) of every epoch after the first."""
        self._listened = 0.0
        self._since: float | None = None
        self._start = self._clock()

    def on_epoch(self, epoch: int) -> None:
        """Note the end of an epoch, and pass it on. The time that the listener takes does not count."""
        now = self._clock()
        if self._since is not None:
            self._epochs.append((epoch, now - self._since))
        self._on_epoch(epoch)
        self._since = self._clock()
        self._listened += self._since - now

    def read(self) -> Measured | None:
        """Return the times, or None if they say nothing, as after few epochs or if measurements differ by member."""
        members = self._cohort.members
        measured = members[0].measured
        if len(self._epochs) < FEWEST_EPOCHS or any(member.measured != measured for member in members):
            return None
        evaluated = {epoch for member in members for epoch in member.evaluated} - measured.keys()
        plain = _median([seconds for epoch, seconds in self._epochs if epoch not in {*evaluated, *measured}])
        full = _median([seconds for epoch, seconds in self._epochs if epoch in evaluated])
        if measured:
            effort = self._effort(full or plain or 0.0)
            if slowdown_of_measures(measured):
                plain = full = None
            times = Measured(members[0].work, len(members), None, plain, full, names_of_measures(measured), effort)
            return times if effort or plain or full else None
        total = self._clock() - self._start - self._listened
        first = (full if self._epochs[0][0] - 1 in evaluated else plain) or full or plain or 0.0
        fixed = total - first - sum(seconds for _, seconds in self._epochs)
        return Measured(members[0].work, len(members), None if self._is_first or fixed <= 0 else fixed, plain, full)

    def _effort(self, epoch: float) -> float | None:
        """Return the seconds that the measurements took, per epoch that they were estimated to take as long as.

        Args:
            epoch: the seconds of an epoch without a measurement.
        """
        first = self._cohort.members[0]
        seconds = sum(seconds - epoch for at, seconds in self._epochs if at in first.measured)
        earlier = {at: names for at, names in first.measured.items() if at < self._epochs[0][0]}
        estimated = effort_of_measures(first.measured, first.work) - effort_of_measures(earlier, first.work)
        return seconds / estimated if seconds > 0 and estimated > 0 and not first.epoch else None


def _median(seconds: list[float]) -> float | None:
    return (statistics.median(seconds) if seconds else None) or None
