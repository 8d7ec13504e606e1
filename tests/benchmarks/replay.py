"""Measure how long it takes to replay Tune's schedulers on recorded curves. `make bench` runs this benchmark.

    python tests/benchmarks/replay.py [--quick]

The loads are 5,000 trainings in 20 orders under ASHA, 1,000 trainings under the median rule, which is replayed with
array operations, and 500 trainings in 4 orders under HyperBand, all of 100 epochs. Curves are random: exponential
approaches to different limits, with noise. For comparison, Ray's own class is timed in one process with the same event
clock on the first order, as a user would write it (under the median rule with a fifth of the trainings, because its
time grows with the square of their number). The exit code is 1 if a replay exceeds its limit.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from dataclasses import dataclass

import numpy as np

from sweeps.replay.clock import referee_for, simulate
from sweeps.replay.curves import Curves
from sweeps.replay.replay import replays
from sweeps.spec.stopping import EarlyStopping

METRIC = "validation_accuracy"
EPOCHS = 100
WORKERS = 16


@dataclass(frozen=True)
class Load:
    scheduler: str
    trainings: int
    orders: int
    real: int
    """Number of trainings that Ray's own class is timed on."""
    limit: float | None
    """Seconds that the replay may take, or None for no limit."""


LOADS = (
    Load("asha", 5_000, 20, 5_000, 60.0),
    Load("median", 1_000, 1, 200, 60.0),
    Load("median", 1_000, 20, 0, None),
    Load("hyperband", 500, 4, 500, None),
)


def curves(trainings: int) -> Curves:
    rng = np.random.default_rng(0)
    epoch = np.arange(1, EPOCHS + 1)
    ends, rates = rng.beta(4, 2, trainings), rng.gamma(2, 0.05, trainings)
    values = ends[:, None] * (1 - np.exp(-rates[:, None] * epoch)) + rng.normal(0, 0.02, (trainings, EPOCHS))
    return Curves(
        tuple(f"{i:020x}" for i in range(trainings)),
        np.full(trainings, EPOCHS),
        epoch,
        {METRIC: values},
        np.zeros(trainings, np.int64),
        rng.uniform(0.5, 2, trainings),
    )


def processor_seconds() -> float:
    """Return the processor seconds of this process and of the child processes that it has waited for."""
    return sum(sum(resource.getrusage(whose)[:2]) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def seconds_of_replays(load: Load) -> tuple[float, float, float]:
    """Return the wall-clock seconds, the processor seconds, and the share of all epochs that was trained."""
    settings = EarlyStopping(load.scheduler, METRIC, "max")  # type: ignore[arg-type]
    recorded = curves(load.trainings)
    start, busy = time.perf_counter(), processor_seconds()
    rows = replays(recorded, [settings], load.orders, WORKERS)
    spent, busy = time.perf_counter() - start, processor_seconds() - busy
    own = rows[rows["scheduler"] == load.scheduler]
    return spent, busy, float(own["stop_epoch"].sum() / own["horizon"].sum())


def seconds_of_rays_class(load: Load) -> float:
    settings = EarlyStopping(load.scheduler, METRIC, "max")  # type: ignore[arg-type]
    recorded = curves(load.real)
    referee = referee_for(settings, recorded, quick=False)
    start = time.perf_counter()
    simulate(recorded, referee, 0, WORKERS)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="with a tenth of the trainings, two orders, no limits")
    quick = parser.parse_args().quick
    print(f"{len(os.sched_getaffinity(0))} cores, {WORKERS} places, {EPOCHS} epochs")
    head = f"{'scheduler':<11}{'trainings':>10}{'orders':>8}{'trained':>9}{'replay':>10}{'of CPUs':>10}"
    print(f"{head}   Ray's class, one process")
    late = []
    for load in LOADS:
        if quick:
            load = Load(load.scheduler, load.trainings // 10, min(2, load.orders), load.real // 10, None)
        spent, busy, trained = seconds_of_replays(load)
        real = f"{seconds_of_rays_class(load):.2f} s, {load.real:,} trainings, 1 order" if load.real else ""
        line = f"{load.scheduler:<11}{load.trainings:>10,}{load.orders:>8}{trained:>9.1%}{spent:>8.1f} s{busy:>8.1f} s"
        print(f"{line}   {real}")
        if load.limit and spent > load.limit:
            late.append(f"{load.scheduler}: {spent:.0f} s, and may take {load.limit:.0f}")
    if late:
        sys.exit("too slow: " + "; ".join(late))


if __name__ == "__main__":
    main()
