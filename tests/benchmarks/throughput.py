"""Compare memsweep's points per second on the reference grid with those of code that a user would write instead.

    python tests/benchmarks/throughput.py [--quick] [--points N] [--rounds R] [--json FILE | --save]

The contenders run in alternation on the same machine, each with one single-threaded worker per core:

    memsweep    the whole grid through Plan, the Ray executor and a Store, with one training for every point
    folded      the same grid as memsweep normally runs it: points that differ only in `epochs` share one training
    tune        one Tune function trial per point, with a Lightning Trainer, on a stratified sample of the points
    tune+reuse  the same as tune, with reuse_actors=True
    bare        one PyTorch loop per point, in waiting processes that have imported torch and loaded the data, on a
                larger sample

The time is that of the call that runs the trials while Ray is already running. It includes importing torch in fresh
workers, sending the data sets to them and writing memsweep's store. Planning, starting Ray and starting the bare loop's
processes are reported separately. Rates are compared as medians over rounds, and round by round.

By width, memsweep is compared with the bare loop in the same runs: a rate is the number of points of that width per
second of the workers' time in these trainings, as the store and the processes of the bare loop recorded it. It contains
no start-up, no store and no idle worker.

The exit code is 1 if a contender's mean test accuracy on shared points differs from memsweep's by more than AGREEMENT.
(It differs a little because the random draws differ.) Three rounds take about eight minutes.
"""

from __future__ import annotations

import logging
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import instruments
from baselines import SETTING, Arrays, BarePool, Setting, Timing, tune_and_lightning
from instruments import CONSOLE
from rich.table import Table

from lightning_modules.data import sources
from sweeps.execution.on_ray.executor import RayTune
from sweeps.planning.plan import Cell, Plan
from sweeps.spec.point import Point
from sweeps.spec.sweep import Sweep
from sweeps.store.store import Store

AGREEMENT = 0.03
"""Largest allowed difference of mean test accuracy. Chance alone gives about 0.005 for 18 points of 1,000 examples."""

FLOORS = {"tune": 65.0, "tune+reuse": 16.0, "bare": 2.2}
"""Contender -> the factor by which memsweep's rate should exceed the contender's rate."""

WIDTH_FLOORS = {16: 4.5, 100: 1.7}
"""Width -> the factor by which memsweep's rate of training should exceed the bare loop's."""

BARE_FACTOR = 4
"""Size of the bare loop's sample relative to that of the other contenders, since the bare loop is fast."""


@dataclass(frozen=True)
class Run:
    """The result of one contender in one round."""

    points: int
    seconds: float
    accuracy_difference: float | None
    """Mean test accuracy minus memsweep's on the same points, or None for memsweep itself."""
    by_width: dict[int, float]
    """Points per second of the workers' training alone, by width; empty if it is not known."""

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


@dataclass(frozen=True)
class Trained:
    """The seconds of memsweep's run, and by id of a point its test accuracy and the seconds of its training."""

    seconds: float
    accuracies: dict[str, float]
    training_seconds: dict[str, float]


def run_memsweep(plan: Plan) -> Trained:
    """Run a plan. Raises RuntimeError if a training is missing afterwards."""
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        store = Store(folder)
        store.prepare()
        cohorts = plan.cohorts  # planning is not timed
        start = time.perf_counter()
        RayTune().execute(plan, store, lambda event: None)
        seconds = time.perf_counter() - start
        table = store.read(["test_accuracy", "wall_seconds"]).table
    columns = (table[name].to_pylist() for name in ("trajectory_id", "epoch", "test_accuracy", "wall_seconds"))
    found = {(training, epoch): values for training, epoch, *values in zip(*columns, strict=True)}
    of_point = {cell.point.id: found.get((cell.trajectory_id, cell.epoch), (None, 0.0)) for cell in plan.missing}
    missing = sum(accuracy is None for accuracy, _ in of_point.values())
    if missing:
        raise RuntimeError(f"{missing} of {len(plan.missing)} points have no result ({len(cohorts)} cohorts)")
    return Trained(
        seconds,
        {point: accuracy for point, (accuracy, _) in of_point.items()},
        {point: spent for point, (_, spent) in of_point.items()},
    )


def by_width(points: Sequence[Point], seconds: Sequence[float], workers: int) -> dict[int, float]:
    """Return the points per second of each width, from the seconds that a worker spent on each point."""
    spent: dict[int, list[float]] = {}
    for point, each in zip(points, seconds, strict=True):
        spent.setdefault(point.width or 0, []).append(each)
    return {width: workers * len(each) / sum(each) for width, each in spent.items()}


def measure_round(
    plan: Plan, arrays: Arrays, count: int, workers: int, pool: BarePool, rng: random.Random
) -> dict[str, Run]:
    """Run every contender once."""
    points = [cell.point for cell in plan.missing]
    whole = run_memsweep(unfolded(plan))
    rates = by_width(points, [whole.training_seconds[point.id] for point in points], workers)
    runs = {"memsweep": Run(len(points), whole.seconds, None, rates)}
    runs["folded"] = Run(len(points), run_memsweep(plan).seconds, None, {})

    def against(chosen: Sequence[Point], timing: Timing, rates: dict[int, float]) -> Run:
        difference = statistics.fmean(timing.accuracies) - statistics.fmean(whole.accuracies[p.id] for p in chosen)
        return Run(len(chosen), timing.seconds, difference, rates)

    few, many = sample(points, count, rng), sample(points, BARE_FACTOR * count, rng)
    for name, reuse in (("tune", False), ("tune+reuse", True)):
        runs[name] = against(few, tune_and_lightning(arrays, [setting(p) for p in few], workers, reuse), {})
    bare = pool.train([setting(p) for p in many])
    runs["bare"] = against(many, bare, by_width(many, bare.each, workers))
    return runs


def widths_of(rounds: Sequence[dict[str, Run]]) -> dict[int, dict[str, Any]]:
    """Return the rates of training of memsweep and of the bare loop by width, and their ratio, as medians."""
    pairs = [(runs["memsweep"].by_width, runs["bare"].by_width) for runs in rounds]
    return {
        width: {
            "memsweep": statistics.median(ours[width] for ours, _ in pairs),
            "bare": statistics.median(theirs[width] for _, theirs in pairs),
            "memsweep_is_times_faster": statistics.median(ours[width] / theirs[width] for ours, theirs in pairs),
            "floor": WIDTH_FLOORS.get(width),
        }
        for width in sorted(pairs[0][0])
    }


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
    heads = ("contender", "points", "seconds", "points/s", "memsweep is", "by round", "floor", "test accuracy")
    return instruments.table(
        heads,
        [
            (
                name,
                row["points"],
                f"{row['seconds']:.1f}",
                f"{row['points_per_second']:.2f}",
                f"{row['memsweep_is_times_faster']:.2f}×",
                " ".join(f"{ratio:.2f}" for ratio in row["by_round"]),
                _floor(row),
                "" if row["accuracy_difference"] is None else f"{100 * row['accuracy_difference']:+.1f} points",
            )
            for name, row in summary.items()
        ],
    )


def table_of_widths(widths: dict[int, dict[str, Any]]) -> Table:
    return instruments.table(
        ("width", "training alone, points/s", "bare loop", "memsweep is", "floor"),
        [
            (
                width,
                f"{row['memsweep']:.2f}",
                f"{row['bare']:.2f}",
                f"{row['memsweep_is_times_faster']:.2f}×",
                _floor(row),
            )
            for width, row in widths.items()
        ],
    )


def _floor(row: dict[str, Any]) -> str:
    return f"{row['floor']:g}×" if row["floor"] else ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = instruments.Parser(__file__, __doc__, "a tiny grid, once")
    parser.add_argument("--points", type=int, help="points in the sample that plain Tune trains (default 18; 9 quick)")
    parser.add_argument("--rounds", type=int, help="times that every contender runs (default 3; 1 quick)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default 0)")
    options = parser.parse_args(arguments)
    described = instruments.machine()
    count = options.points or (9 if options.quick else 18)
    workers = instruments.cores()

    start = time.perf_counter()
    with RayTune().resources(workers, lambda line: None) as resources:
        plan = Plan.of(reference_grid(options.quick), resources.packing(workers, None))
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
            numbers = range(1, 1 + (options.rounds or (1 if options.quick else 3)))
            for number in instruments.progress(numbers, lambda number: f"round {number}"):
                rounds.append(measure_round(plan, arrays, count, workers, pool, rng))
                rates = ", ".join(f"{name} {run.rate:.2f}" for name, run in rounds[-1].items())
                CONSOLE.print(f"round {number}, points/s: {rates}")
    finally:
        ray.shutdown()

    summary, widths = summarise(rounds), widths_of(rounds)
    CONSOLE.print(
        f"\n{len(plan.missing)} points on {workers} workers: {cohorts} cohorts without folding, {folded_cohorts} with; "
        + "not counted: "
        + ", ".join(f"{name.replace('_', ' ')} {seconds:.1f} s" for name, seconds in startup.items())
        + "\n"
    )
    CONSOLE.print(table_of(summary))
    CONSOLE.print(table_of_widths(widths))
    results = {
        "workers": workers,
        "startup_seconds": startup,
        "rounds": [{name: asdict(run) for name, run in runs.items()} for runs in rounds],
        "summary": summary,
        "by_width": widths,
    }
    instruments.write(options.json, described, results)
    apart = [name for name, row in summary.items() if abs(row["accuracy_difference"] or 0.0) > AGREEMENT]
    for name in apart:
        CONSOLE.print(f"{name} does not train what memsweep trains: test accuracy differs by more than {AGREEMENT:.0%}")
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())
