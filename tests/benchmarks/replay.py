"""Measure how long it takes to replay Tune's schedulers on recorded curves. `make bench-replay` runs it.

    python tests/benchmarks/replay.py [--quick] [--json FILE | --save]

The loads are 5,000 trainings in 20 orders under ASHA, 1,000 trainings under the median rule, which is replayed with
array operations, and 500 trainings in 4 orders under HyperBand, all of 100 epochs. Curves are random: exponential
approaches to different limits, with noise. For comparison, Ray's own class is timed in one process with the same event
clock on the first order, as a user would write it (under the median rule with a fifth of the trainings, because its
time grows with the square of their number). The exit code is 1 if a replay exceeds its limit.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import instruments
import numpy as np
from instruments import CONSOLE

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


def main(arguments: Sequence[str] | None = None) -> int:
    parser = instruments.Parser(__file__, __doc__, "a tenth of the trainings, two orders, no limits")
    options = parser.parse_args(arguments)
    described, rows = instruments.machine(), []
    for load in instruments.progress(LOADS, lambda load: f"{load.scheduler}, {load.orders} orders"):
        if options.quick:
            load = Load(load.scheduler, load.trainings // 10, min(2, load.orders), load.real // 10, None)
        spent, busy, trained = seconds_of_replays(load)
        real = seconds_of_rays_class(load) if load.real else None
        rows.append({**asdict(load), "seconds": spent, "cpu_seconds": busy, "trained": trained, "real_seconds": real})
    CONSOLE.print(f"{instruments.cores()} cores, {WORKERS} places, {EPOCHS} epochs")
    CONSOLE.print(
        instruments.table(
            ("scheduler", "trainings", "orders", "trained", "replay", "of CPUs", "Ray's class, one process, 1 order"),
            [
                (
                    row["scheduler"],
                    f"{row['trainings']:,}",
                    row["orders"],
                    f"{row['trained']:.1%}",
                    f"{row['seconds']:.1f} s",
                    f"{row['cpu_seconds']:.1f} s",
                    f"{row['real_seconds']:.2f} s, {row['real']:,} trainings" if row["real"] else "",
                )
                for row in rows
            ],
        )
    )
    instruments.write(options.json, described, {"loads": rows})
    late = [row for row in rows if row["limit"] and row["seconds"] > row["limit"]]
    for row in late:
        CONSOLE.print(f"too slow: {row['scheduler']}: {row['seconds']:.0f} s, and may take {row['limit']:.0f}")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
