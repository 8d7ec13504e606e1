"""The replay: many schedulers on many orders of arrival, over recorded curves, with what they have to beat beside them.

curves -> event clock + Ray's scheduler -> where each training would have stopped -> budget, regret
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeps.replay.baselines import IEpoch, as_many_as, at_random, hindsight, no_stopping
from sweeps.replay.clock import Stops, referee_for, simulate
from sweeps.replay.curves import Curves
from sweeps.spec.stopping import SCHEDULERS, EarlyStopping

COLUMNS = ("setting", "scheduler", "order", "trajectory_id", "stop_epoch", "finished", "horizon")
ALONE = 1_000_000
"""Below so many epochs of curves over all replays, starting other processes takes longer than they save."""

Listener = Callable[[int, int], None]


@dataclass(frozen=True)
class Replay:
    """What one rule did on one order."""

    setting: str
    """In words."""
    scheduler: str
    """asha, hyperband, median, none, i-epoch, random, oracle."""
    order: int
    stops: Stops


def replays(
    curves: Curves,
    settings: Sequence[EarlyStopping],
    orders: int,
    workers: int,
    processes: int | None = None,
    listen: Listener = lambda done, total: None,
) -> pd.DataFrame:
    """One row a setting, order and training, in this order: `COLUMNS`.

    setting (text), scheduler (asha, hyperband, median, none; i-epoch, random, oracle), order (0: that of the sweep,
    others shuffled), trajectory_id, stop_epoch (the last epoch trained, 0 if it was never begun), finished (whether it
    reached its horizon), horizon (epochs).

    Beside each scheduler: random stopping with its budget, and two i-epoch rules, both with its grace period (HyperBand
    has none: 1 epoch): the best one is kept, and as many as its mean budget pays for. Beside all: no stopping, and the
    oracle of each metric. What does not depend on the order has order 0 alone.

    workers: members that train at once. processes: of this computation, by default one a core where that pays.
    """
    return frame(curves, replay_all(curves, settings, orders, workers, processes, listen))


def replay_all(
    curves: Curves,
    settings: Sequence[EarlyStopping],
    orders: int,
    workers: int,
    processes: int | None = None,
    listen: Listener = lambda done, total: None,
) -> list[Replay]:
    """`replays` without the frame."""
    judged = [each for each in dict.fromkeys(settings) if each != EarlyStopping()]
    jobs = [(each, order, workers) for each in judged for order in range(orders)]
    stops: list[Stops] = []
    for one in _computed(curves, jobs, processes):
        stops.append(one)
        listen(len(stops), len(jobs))
    found = [Replay("none", "none", 0, no_stopping(curves))]
    seen: set[str] = set()

    def add(setting: str, scheduler: str, made: Stops) -> None:
        if setting not in seen:
            seen.add(setting)
            found.append(Replay(setting, scheduler, 0, made))

    for place, each in enumerate(judged):
        own = stops[place * orders : (place + 1) * orders]
        words = each.words()
        scheduler = each.scheduler if each.scheduler != "none" else "rules"
        found += [Replay(words, scheduler, order, one) for order, one in enumerate(own)]
        found += [
            Replay(f"random(as {words})", "random", order, at_random(curves, one, order))
            for order, one in enumerate(own)
        ]
        if each.metric and each.mode:
            first = _first(curves, each)
            budget = float(np.mean([one.epochs.sum() for one in own]))
            as_many = as_many_as(curves, each.metric, each.mode, first, budget)
            for rule in (IEpoch(each.metric, each.mode, first, 1), as_many):
                add(rule.words(), "i-epoch", rule.stops(curves))
            add(f"oracle({each.metric} {each.mode})", "oracle", hindsight(curves, each.metric, each.mode))
    return found


def frame(curves: Curves, found: Sequence[Replay]) -> pd.DataFrame:
    """The rows of `replays`."""
    count = len(curves.ids)

    def repeated(values: Sequence[str]) -> pd.Categorical:
        names = [*dict.fromkeys(values)]
        codes = np.repeat([names.index(value) for value in values], count)
        return pd.Categorical.from_codes(codes, names)

    return pd.DataFrame(
        {
            "setting": repeated([each.setting for each in found]),
            "scheduler": repeated([each.scheduler for each in found]),
            "order": np.repeat([each.order for each in found], count),
            "trajectory_id": np.tile(np.array(curves.ids, object), len(found)),
            "stop_epoch": np.concatenate([each.stops.epochs for each in found]),
            "finished": np.concatenate([each.stops.finished for each in found]),
            "horizon": np.tile(curves.horizons, len(found)),
        }
    )[[*COLUMNS]]


def one_replay(curves: Curves, settings: EarlyStopping, order: int, workers: int) -> Stops:
    return simulate(curves, referee_for(settings, curves, order), order, workers)


def _first(curves: Curves, settings: EarlyStopping) -> int:
    """The first evaluated epoch after the grace period; of a scheduler without one, the first at all."""
    grace = settings.grace_period if "grace_period" in SCHEDULERS[settings.scheduler].settings else 1
    later = curves.epochs[curves.epochs >= grace]
    return int(later[0] if len(later) else curves.epochs[-1])


def _computed(curves: Curves, jobs: Sequence[tuple[EarlyStopping, int, int]], processes: int | None) -> Iterator[Stops]:
    """In the order of the jobs."""
    cores = len(os.sched_getaffinity(0))
    pays = len(jobs) > 1 and curves.lengths.sum() * len(jobs) > ALONE
    count = min(processes or (cores if pays else 1), len(jobs))
    if count <= 1:
        yield from (one_replay(curves, *job) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, _take, (curves,)) as pool:
        yield from pool.map(_one, jobs)


_CURVES: list[Curves] = []
"""Of a process of the pool: sent once, not with each job."""


def _take(curves: Curves) -> None:
    _CURVES[:] = [curves]


def _one(job: tuple[EarlyStopping, int, int]) -> Stops:
    return one_replay(_CURVES[0], *job)
