"""An event simulation: members train on a few workers, results arrive in order of time, and a referee judges them.

Nothing is actually trained. Every epoch takes the recorded number of seconds and returns the recorded results.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sweeps.replay.curves import Curves
from sweeps.replay.medians import QuickMedian
from sweeps.spec.stopping import EarlyStopping
from sweeps.stopping.referee import Referee, Verdict


@dataclass(frozen=True)
class Event:
    """An entry in the log of a run: a member was added, has failed, or has reported `measures` at `epoch`."""

    kind: Literal["add", "result", "fail"]
    member: str
    epoch: int = 0
    measures: Mapping[str, float | None] | None = None


@dataclass(frozen=True)
class Stops:
    """The epochs at which n members stopped."""

    epochs: np.ndarray
    """[n]: the last epoch that was trained, even if the member diverged in this epoch; 0 if it never began."""
    finished: np.ndarray
    """[n]: whether the member reached its horizon."""


def arrival(order: int, count: int) -> np.ndarray:
    """Return the indices of members in order of arrival: ascending for order 0, otherwise shuffled. Shape [count]."""
    if order == 0:
        return np.arange(count)
    return np.random.default_rng([order, 0x5EED]).permutation(count)


def referee_for(settings: EarlyStopping, curves: Curves, order: int = 0, quick: bool = True) -> Referee:
    """Return a referee for the trainings of the curves.

    Args:
        quick: whether to use `QuickMedian`, which decides as Ray's class does but does not take n² e² time.
    """
    scheduler = (
        QuickMedian(settings, curves.epochs, len(curves.ids)) if quick and settings.scheduler == "median" else None
    )
    return Referee(settings, curves.of_horizon(), seed=order, scheduler=scheduler)


def simulate(curves: Curves, referee: Referee, order: int, workers: int) -> Stops:
    """Simulate the training of all members on `workers` workers. All are added first, in the order of arrival `order`.

    A free worker takes the member that the scheduler chooses. A paused member frees its worker and later resumes from
    the same epoch. If several results arrive at the same moment, the member that was added first reports first.
    """
    count = len(curves.ids)
    arrivals = arrival(order, count)
    rank = np.empty(count, np.int64)
    rank[arrivals] = np.arange(count)
    referee.add_all(curves.ids[index] for index in arrivals)
    rows = _Rows(curves, referee.settings)
    number = {member: index for index, member in enumerate(curves.ids)}
    ranks, seconds, horizons = rank.tolist(), curves.seconds.tolist(), curves.horizons.tolist()
    reported = [0] * count  # the number of rows that a member has reported
    stopped = [0] * count
    finished = [False] * count
    waiting: list[tuple[float, int, int]] = []  # (time of the next report, rank, index) per running member
    free, now = workers, 0.0
    idle = False  # True if there was no member to start, and nothing has happened since that could change this
    while True:
        while free and not idle:
            chosen = referee.choose()
            if chosen is None:
                idle = True
                break
            index = number[chosen]
            referee.start(chosen)
            free -= 1
            heapq.heappush(waiting, (now + rows.gap(index, reported[index]) * seconds[index], ranks[index], index))
        if not waiting:
            if not referee.ended():  # ended() stops members that would never resume; others may now resume
                break
            idle = False
            continue
        now, _, index = heapq.heappop(waiting)
        member = curves.ids[index]
        row = rows.at(index, reported[index])
        stopped[index] = row.epoch
        if row.broke:
            referee.fail(member)
            verdict = Verdict.STOP
        else:
            verdict = referee.report(member, row.epoch, row.measures)
            finished[index] = row.epoch >= horizons[index]
        reported[index] += 1
        if verdict is Verdict.CONTINUE:
            next_report = now + rows.gap(index, reported[index]) * seconds[index]
            heapq.heappush(waiting, (next_report, ranks[index], index))
        else:
            free += 1
        idle = idle and not referee.settings.pauses  # a scheduler that never pauses has no member to resume
    return Stops(np.array(stopped, np.int64), np.array(finished, bool))


@dataclass(frozen=True)
class _Row:
    epoch: int
    broke: bool
    measures: Mapping[str, float]


class _Rows:
    """The rows that each member will report, as Python numbers, since reading single elements of arrays is slow."""

    def __init__(self, curves: Curves, settings: EarlyStopping) -> None:
        self._names = settings.metrics
        self._values = [curves.measures[name].tolist() for name in self._names]
        epochs = curves.epochs.tolist()
        self._broke = curves.broke.tolist()
        self._columns: list[list[int]] = []
        self._epochs: list[list[int]] = []
        for index, (horizon, broke) in enumerate(zip(curves.horizons, curves.broke, strict=True)):
            last = broke - 1 if broke else horizon
            columns = np.flatnonzero(curves.evaluated[index] & (curves.epochs <= last)).tolist()
            self._columns.append(columns)
            own = [epochs[column] for column in columns]
            self._epochs.append([*own, int(broke)] if broke else own or [int(horizon)])

    def gap(self, index: int, row: int) -> int:
        """Return the number of epochs from the previous row to this one."""
        epochs = self._epochs[index]
        return epochs[row] - (epochs[row - 1] if row else 0)

    def at(self, index: int, row: int) -> _Row:
        epoch = self._epochs[index][row]
        if row >= len(self._columns[index]):
            return _Row(epoch, self._broke[index] > 0, {})
        column = self._columns[index][row]
        measures = {name: values[index][column] for name, values in zip(self._names, self._values, strict=True)}
        return _Row(epoch, False, {name: value for name, value in measures.items() if value == value})


def follow(log: Iterable[Event], referee: Referee) -> list[tuple[str, int, Verdict]]:
    """Return the verdict on each result in a log, as (member, epoch, verdict), in the order of the log.

    A log contains no starts, so a member is started before its first result and before the first result after a pause.
    """
    verdicts = []
    paused: set[str] = set()
    for event in log:
        if event.kind == "add":
            referee.add(event.member)
            paused.add(event.member)
        elif event.kind == "fail":
            referee.fail(event.member)
        else:
            if event.member in paused:
                referee.start(event.member)
                paused.discard(event.member)
            verdict = referee.report(event.member, event.epoch, event.measures or {})
            if verdict is Verdict.PAUSE:
                paused.add(event.member)
            verdicts.append((event.member, event.epoch, verdict))
    return verdicts
