"""The event clock: members train on a few places, results arrive in the order of time, and a referee decides.

Nothing is trained: an epoch takes its recorded seconds and its results are the recorded ones.
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
    """Of a log of a run: a member was added, or failed, or reported these measures at this epoch."""

    kind: Literal["add", "result", "fail"]
    member: str
    epoch: int = 0
    measures: Mapping[str, float | None] | None = None


@dataclass(frozen=True)
class Stops:
    """Where each of n members stopped."""

    epochs: np.ndarray
    """[n]: the last epoch trained, 0 of what was never begun. What diverged trained in the epoch it diverged in."""
    finished: np.ndarray
    """[n]: whether it reached its horizon."""


def arrival(order: int, count: int) -> np.ndarray:
    """[count]: the members in the order in which they come: their own for order 0, a shuffle of its own for others."""
    if order == 0:
        return np.arange(count)
    return np.random.default_rng([order, 0x5EED]).permutation(count)


def referee_for(settings: EarlyStopping, curves: Curves, order: int = 0, quick: bool = True) -> Referee:
    """quick: with the median rule in arrays instead of Ray's own class, whose time rises with n² e²; else the same."""
    scheduler = (
        QuickMedian(settings, curves.epochs, len(curves.ids)) if quick and settings.scheduler == "median" else None
    )
    return Referee(settings, curves.of_horizon(), seed=order, scheduler=scheduler)


def simulate(curves: Curves, referee: Referee, order: int, workers: int) -> Stops:
    """All members on so many places, added at the start in this order of arrival.

    A free place takes whom the scheduler chooses. What is paused frees its place and goes on later where it was. Of
    results at the same moment that of the earlier arrival is heard first.
    """
    count = len(curves.ids)
    coming = arrival(order, count)
    rank = np.empty(count, np.int64)
    rank[coming] = np.arange(count)
    referee.add_all(curves.ids[index] for index in coming)
    rows = _Rows(curves, referee.settings)
    number = {member: index for index, member in enumerate(curves.ids)}
    ranks, seconds, horizons = rank.tolist(), curves.seconds.tolist(), curves.horizons.tolist()
    heard = [0] * count  # how many of its rows
    stopped = [0] * count
    finished = [False] * count
    waiting: list[tuple[float, int, int]] = []  # (when it is next heard of, its rank, its number)
    free, now = workers, 0.0
    idle = False  # whether there was nobody to start, and nothing has happened since that changes it
    while True:
        while free and not idle:
            chosen = referee.choose()
            if chosen is None:
                idle = True
                break
            index = number[chosen]
            referee.start(chosen)
            free -= 1
            heapq.heappush(waiting, (now + rows.gap(index, heard[index]) * seconds[index], ranks[index], index))
        if not waiting:
            if not referee.ended():  # those that nobody would wake are stopped: that may wake others
                break
            idle = False
            continue
        now, _, index = heapq.heappop(waiting)
        member = curves.ids[index]
        row = rows.at(index, heard[index])
        stopped[index] = row.epoch
        if row.broke:
            referee.fail(member)
            verdict = Verdict.STOP
        else:
            verdict = referee.report(member, row.epoch, row.measures)
            finished[index] = row.epoch >= horizons[index]
        heard[index] += 1
        if verdict is Verdict.CONTINUE:
            again = now + rows.gap(index, heard[index]) * seconds[index]
            heapq.heappush(waiting, (again, ranks[index], index))
        else:
            free += 1
        idle = idle and not referee.settings.pauses  # a scheduler that never pauses has nobody to start again
    return Stops(np.array(stopped, np.int64), np.array(finished, bool))


@dataclass(frozen=True)
class _Row:
    epoch: int
    broke: bool
    measures: Mapping[str, float]


class _Rows:
    """What each member will report, one row after another, as plain numbers: arrays are slow one element at a time."""

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

    def gap(self, index: int, place: int) -> int:
        """Epochs from the row before to this one."""
        epochs = self._epochs[index]
        return epochs[place] - (epochs[place - 1] if place else 0)

    def at(self, index: int, place: int) -> _Row:
        epoch = self._epochs[index][place]
        if place >= len(self._columns[index]):
            return _Row(epoch, self._broke[index] > 0, {})
        column = self._columns[index][place]
        read = {name: values[index][column] for name, values in zip(self._names, self._values, strict=True)}
        return _Row(epoch, False, {name: value for name, value in read.items() if value == value})


def follow(log: Iterable[Event], referee: Referee) -> list[tuple[str, int, Verdict]]:
    """The verdicts (member, epoch, verdict) on the results of a log, heard in its order.

    A member that reports runs: it is started before its first result, and before the first after each pause.
    """
    verdicts = []
    pausing: set[str] = set()
    for event in log:
        if event.kind == "add":
            referee.add(event.member)
            pausing.add(event.member)
        elif event.kind == "fail":
            referee.fail(event.member)
        else:
            if event.member in pausing:
                referee.start(event.member)
                pausing.discard(event.member)
            verdict = referee.report(event.member, event.epoch, event.measures or {})
            if verdict is Verdict.PAUSE:
                pausing.add(event.member)
            verdicts.append((event.member, event.epoch, verdict))
    return verdicts
