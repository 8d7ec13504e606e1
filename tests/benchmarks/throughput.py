"""Compare memsweep's points per second on the reference grid with those of code that a user would write instead.

    python tests/benchmarks/throughput.py [--quick] [--points N] [--rounds R] [--json FILE]

The contenders run in alternation on the same machine, each with one single-threaded worker per core:

    memsweep    the whole grid through Plan, the Ray executor and a Store, with one training for every point
    folded      the same grid as memsweep normally runs it: points that differ only in `epochs` share one training
    tune        one Tune function trial per point, with a Lightning Trainer, on a stratified sample of the points
    tune+reuse  the same as tune, with reuse_actors=True
    bare        one PyTorch loop per point, in waiting processes that have imported torch and loaded the data, on a
                larger sample

The time is that of the call that runs the trials while Ray is already running. It includes importing torch in fresh
workers, sending the data sets to them and writing memsweep's store. Planning, starting Ray and starting the bare loop's
processes are reported separately. Rates are compared as medians over rounds, and round by round. The exit code is 1 if
a contender's mean test accuracy on shared points differs from memsweep's by more than AGREEMENT. (It differs a little
because the random draws differ.)
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from baselines import Arrays, BarePool, Setting, Timing, tune_and_lightning
from rich.console import Console
from rich.table import Table

from lightning_modules.data import sources
from sweeps.execution.on_ray.executor import RayTune
from sweeps.planning.cost import available_bytes
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Cell, Plan
from sweeps.spec.point import Point
from sweeps.spec.sweep import Sweep
from sweeps.store.store import Store

AGREEMENT = 0.03
"""Largest allowed difference of mean test accuracy. Chance alone gives about 0.005 for 18 points of 1,000 examples."""

FLOORS = {"tune": 20.0, "tune+reuse": 8.0}
"""Contender -> the factor by which memsweep's rate must exceed the contender's rate."""

BARE_FACTOR = 4
"""Size of the bare loop's sample relative to that of the other contenders, since the bare loop is fast."""

SETTING = (
    "width",
    "epochs",
    "label_noise",
    "dropout",
    "weight_decay",
    "learning_rate",
    "momentum",
    "batch_size",
    "seed",
)


@dataclass(frozen=True)
class Run:
    """The result of one contender in one round."""

    points: int
    seconds: float
    accuracy_difference: float | None
    """Mean test accuracy minus memsweep's on the same points, or None for memsweep itself."""

    @property
    def rate(self) -> float:
        return self.points / self.seconds


def reference_grid(quick: bool) -> Sweep:
    """Return a sweep of 432 points, or of 36 points with --quick."""
    return Sweep(
        name="throughput",
        question="",
        fixed={"data": "mnist1d", "model": "mlp", "depth": 2, "batch_size": 128},
        grids=(
            {
                "width": (16, 64, 100),
                "label_noise": (0.0, 0.5) if quick else (0.0, 0.15, 0.5, 1.0),
                "dropout": (0.0, 0.2),
                "weight_decay": (1e-3,) if quick else (0.0, 1e-3),
                "seed": (0,) if quick else (0, 1, 2),
                "epochs": (1, 2, 3) if quick else (5, 10, 20),
            },
        ),
    )


def unfolded(plan: Plan) -> Plan:
    """Return the plan with a separate training for every point, by adding the point's epochs to the `trajectory_id`."""
    return replace(plan, missing=tuple(replace(cell, trajectory_id=unfolded_id(cell)) for cell in plan.missing))


def unfolded_id(cell: Cell) -> str:
    return f"{cell.trajectory_id}-{cell.epoch}"


def sample(points: Iterable[Point], count: int, rng: random.Random) -> list[Point]:
    """Draw at least `count` points, equally many per width and epochs, longest first to keep all workers busy."""
    strata: dict[tuple[int | None, int], list[Point]] = {}
    for point in points:
        strata.setdefault((point.width, point.epochs), []).append(point)
    each = -(-count // len(strata))
    chosen = [point for stratum in strata.values() for point in rng.sample(stratum, min(each, len(stratum)))]
    return sorted(chosen, key=lambda point: (-point.epochs, -(point.width or 0)))


def setting(point: Point) -> Setting:
    return {name: getattr(point, name) for name in SETTING}


def run_memsweep(plan: Plan) -> tuple[float, dict[str, float]]:
    """Return the seconds and the test accuracy by point id. Raises RuntimeError if a training is missing afterwards."""
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        store = Store(folder)
        store.prepare()
        cohorts = plan.cohorts  # planning is not timed
        start = time.perf_counter()
        RayTune().execute(plan, store, lambda event: None)
        seconds = time.perf_counter() - start
        table = store.read(["test_accuracy"]).table
    columns = (table[name].to_pylist() for name in ("trajectory_id", "epoch", "test_accuracy"))
    found = {(trajectory, epoch): accuracy for trajectory, epoch, accuracy in zip(*columns, strict=True)}
    missing = [cell for cell in plan.missing if found.get((cell.trajectory_id, cell.epoch)) is None]
    if missing:
        raise RuntimeError(f"{len(missing)} of {len(plan.missing)} points have no result ({len(cohorts)} cohorts)")
    return seconds, {cell.point.id: found[cell.trajectory_id, cell.epoch] for cell in plan.missing}


def measure_round(
    plan: Plan, arrays: Arrays, count: int, workers: int, pool: BarePool, rng: random.Random
) -> dict[str, Run]:
    """Run every contender once."""
    points = [cell.point for cell in plan.missing]
    seconds, accuracies = run_memsweep(unfolded(plan))
    runs = {"memsweep": Run(len(points), seconds, None)}
    runs["folded"] = Run(len(points), run_memsweep(plan)[0], None)

    def against(chosen: Sequence[Point], timing: Timing) -> Run:
        difference = statistics.fmean(timing.accuracies) - statistics.fmean(accuracies[p.id] for p in chosen)
        return Run(len(chosen), timing.seconds, difference)

    few, many = sample(points, count, rng), sample(points, BARE_FACTOR * count, rng)
    for name, reuse in (("tune", False), ("tune+reuse", True)):
        runs[name] = against(few, tune_and_lightning(arrays, [setting(p) for p in few], workers, reuse))
    runs["bare"] = against(many, pool.train([setting(p) for p in many]))
    return runs


def summarise(rounds: Sequence[dict[str, Run]]) -> dict[str, dict[str, Any]]:
    """Return, for each contender, its median rate, how many times slower than memsweep it is, and its accuracy gap."""
    result: dict[str, dict[str, Any]] = {}
    ours = statistics.median(runs["memsweep"].rate for runs in rounds)
    for name in rounds[0]:
        rate = statistics.median(runs[name].rate for runs in rounds)
        differences = [d for runs in rounds if (d := runs[name].accuracy_difference) is not None]
        result[name] = {
            "points": rounds[0][name].points,
            "seconds": statistics.median(runs[name].seconds for runs in rounds),
            "points_per_second": rate,
            "memsweep_is_times_faster": ours / rate,
            "by_round": [runs["memsweep"].rate / runs[name].rate for runs in rounds],
            "floor": FLOORS.get(name),
            "accuracy_difference": statistics.fmean(differences) if differences else None,
        }
    return result


def table_of(summary: dict[str, dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("contender", "points", "seconds", "points/s", "memsweep is", "by round", "floor", "test accuracy"):
        table.add_column(heading, justify="left" if heading == "contender" else "right")
    for name, row in summary.items():
        difference = row["accuracy_difference"]
        table.add_row(
            name,
            str(row["points"]),
            f"{row['seconds']:.1f}",
            f"{row['points_per_second']:.2f}",
            f"{row['memsweep_is_times_faster']:.2f}×",
            " ".join(f"{ratio:.2f}" for ratio in row["by_round"]),
            f"{row['floor']:.0f}×" if row["floor"] else "",
            "" if difference is None else f"{100 * difference:+.1f} points",
        )
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Points per second: memsweep beside what a user would write instead.")
    parser.add_argument("--quick", action="store_true", help="a tiny grid, once: shows that it runs, measures nothing")
    parser.add_argument("--points", type=int, help="points in the sample that plain Tune trains (default 18; 9 quick)")
    parser.add_argument("--rounds", type=int, help="times that every contender runs (default 3; 1 quick)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    options = parser.parse_args(arguments)
    count = options.points or (9 if options.quick else 18)
    workers = len(os.sched_getaffinity(0))
    console = Console(highlight=False, soft_wrap=True, width=130)

    start = time.perf_counter()
    plan = Plan.of(
        reference_grid(options.quick), Packing(workers, bytes_per_worker=int(0.6 * available_bytes() / workers))
    )
    cohorts, folded_cohorts = len(unfolded(plan).cohorts), len(plan.cohorts)
    startup = {"planning": time.perf_counter() - start}
    dataset = sources.load("mnist1d")
    arrays = (dataset.train_inputs, dataset.train_labels, dataset.test_inputs, dataset.test_labels)

    import ray

    start = time.perf_counter()
    ray.init(
        address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    startup["ray"] = time.perf_counter() - start
    rng, rounds = random.Random(options.seed), []
    try:
        with BarePool(arrays, workers) as pool:
            startup["bare_processes"] = pool.startup_seconds
            for number in range(options.rounds or (1 if options.quick else 3)):
                rounds.append(measure_round(plan, arrays, count, workers, pool, rng))
                rates = ", ".join(f"{name} {run.rate:.2f}" for name, run in rounds[-1].items())
                console.print(f"round {number + 1}, points/s: {rates}")
    finally:
        ray.shutdown()

    summary = summarise(rounds)
    console.print(
        f"\n{len(plan.missing)} points on {workers} workers: {cohorts} cohorts without folding, {folded_cohorts} with; "
        + "not counted: "
        + ", ".join(f"{name.replace('_', ' ')} {seconds:.1f} s" for name, seconds in startup.items())
        + "\n"
    )
    console.print(table_of(summary))
    if options.json:
        content = {
            "workers": workers,
            "startup_seconds": startup,
            "rounds": [{name: asdict(run) for name, run in runs.items()} for runs in rounds],
            "summary": summary,
        }
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    apart = [name for name, row in summary.items() if abs(row["accuracy_difference"] or 0.0) > AGREEMENT]
    for name in apart:
        console.print(f"{name} does not train what memsweep trains: test accuracy differs by more than {AGREEMENT:.0%}")
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())
