"""Replays of schedulers on recorded curves, in many orders of arrival, together with the baselines.

curves -> event simulation + Ray's scheduler -> epoch at which each training would have stopped -> budget, regret
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lightning_modules.machine_limits import usable_cores
from sweeps.replay.baselines import IEpoch, at_random, hindsight, no_stopping, within_budget
from sweeps.replay.clock import Stops, referee_for, simulate
from sweeps.replay.curves import Curves
from sweeps.spec.stopping import SCHEDULERS, EarlyStopping

COLUMNS = ("setting", "scheduler", "order", "trajectory_id", "stop_epoch", "finished", "horizon")
PARALLEL_FROM = 1_000_000
"""Total epochs of all replays above which worker processes save more time than their start takes."""

Listener = Callable[[int, int], None]


@dataclass(frozen=True)
class Replay:
    """The result of one rule for one order of arrival."""

    setting: str
    """The rule and its settings, in words."""
    scheduler: str
    """One of asha, hyperband, median, none, rules, i-epoch, random and oracle."""
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
    """Replay settings and baselines on recorded curves.

    Each scheduler is compared with random stopping at the same budget, and with two i-epoch rules with its grace
    period (1 epoch for HyperBand, which has none). One keeps only the best training, and the other as many as the mean
    budget allows. No stopping and each metric's oracle are added once. Rules that ignore the order have only order 0.

    Args:
        workers: the number of members that train at once.
        processes: the number of processes to use; by default one per core if this saves time, and otherwise one.

    Returns:
        A frame with one row per setting, order and training. Its columns are setting (text), scheduler (see `Replay`),
        order (0 for the sweep's order, others are shuffled), trajectory_id, stop_epoch (the last trained epoch, 0 if
        the training never began), finished (whether it reached its horizon) and horizon (in epochs).
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
    """Replay settings as `replays` does, without building the frame."""
    judging = [setting for setting in dict.fromkeys(settings) if setting != EarlyStopping()]
    jobs = [(setting, order, workers) for setting in judging for order in range(orders)]
    results: list[Stops] = []
    for stops in _compute(curves, jobs, processes):
        results.append(stops)
        listen(len(results), len(jobs))
    replayed = [Replay("none", "none", 0, no_stopping(curves))]
    seen: set[str] = set()

    def add(words: str, scheduler: str, stops: Stops) -> None:
        if words not in seen:
            seen.add(words)
            replayed.append(Replay(words, scheduler, 0, stops))

    for index, setting in enumerate(judging):
        own = results[index * orders : (index + 1) * orders]
        words, metric, mode = setting.words(), setting.metric, setting.mode
        scheduler = setting.scheduler if setting.scheduler != "none" else "rules"
        replayed += [Replay(words, scheduler, order, stops) for order, stops in enumerate(own)]
        replayed += [
            Replay(f"random(as {words})", "random", order, at_random(curves, stops, order))
            for order, stops in enumerate(own)
        ]
        if metric and mode:
            first = _first_epoch(curves, setting)
            budget = float(np.mean([stops.epochs.sum() for stops in own]))
            for rule in (IEpoch(metric, mode, first, 1), within_budget(curves, metric, mode, first, budget)):
                add(rule.words(), "i-epoch", rule.stops(curves))
            add(f"oracle({metric} {mode})", "oracle", hindsight(curves, metric, mode))
    return replayed


def frame(curves: Curves, replayed: Sequence[Replay]) -> pd.DataFrame:
    """Convert replays to the frame that `replays` returns."""
    count = len(curves.ids)

    def repeated(values: Sequence[str]) -> pd.Categorical:
        names = [*dict.fromkeys(values)]
        codes = np.repeat([names.index(value) for value in values], count)
        return pd.Categorical.from_codes(codes, names)

    return pd.DataFrame(
        {
            "setting": repeated([replay.setting for replay in replayed]),
            "scheduler": repeated([replay.scheduler for replay in replayed]),
            "order": np.repeat([replay.order for replay in replayed], count),
            "trajectory_id": np.tile(np.array(curves.ids, object), len(replayed)),
            "stop_epoch": np.concatenate([replay.stops.epochs for replay in replayed]),
            "finished": np.concatenate([replay.stops.finished for replay in replayed]),
            "horizon": np.tile(curves.horizons, len(replayed)),
        }
    )[[*COLUMNS]]


def one_replay(curves: Curves, settings: EarlyStopping, order: int, workers: int) -> Stops:
    return simulate(curves, referee_for(settings, curves, order), order, workers)


def _first_epoch(curves: Curves, settings: EarlyStopping) -> int:
    """Return the first evaluated epoch at or after the grace period, which counts as 1 if there is none."""
    grace = settings.grace_period if "grace_period" in SCHEDULERS[settings.scheduler].settings else 1
    later = curves.epochs[curves.epochs >= grace]
    return int(later[0] if len(later) else curves.epochs[-1])


def _compute(curves: Curves, jobs: Sequence[tuple[EarlyStopping, int, int]], processes: int | None) -> Iterator[Stops]:
    """Yield the stops of each job, in the order of the jobs."""
    cores = usable_cores()
    pays = len(jobs) > 1 and curves.lengths.sum() * len(jobs) > PARALLEL_FROM
    count = min(processes or (cores if pays else 1), len(jobs))
    if count <= 1:
        yield from (one_replay(curves, *job) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, _set_curves, (curves,)) as pool:
        yield from pool.map(_run_job, jobs)


_CURVES: list[Curves] = []
"""The curves in a worker process, which are sent to it once instead of with every job."""


def _set_curves(curves: Curves) -> None:
    _CURVES[:] = [curves]


def _run_job(job: tuple[EarlyStopping, int, int]) -> Stops:
    return one_replay(_CURVES[0], *job)
