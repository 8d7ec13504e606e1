"""Fit the coefficients of `sweeps/planning/speed.py` to measured times of stacks on one core.

    python tests/benchmarks/cost_model.py measure FILE [--members 1,4,12,32] [--seconds S]
    python tests/benchmarks/cost_model.py fit FILE ...

`measure` trains short stacks of all families and sizes in random order, for S seconds, and appends a line of JSON per
stack to FILE. Times are processor time of one thread. The rates of a matrix product and of tiny calls are measured
beside every stack, because other processes slow down the thread even so. `fit` prints the non-negative coefficients
that come closest to all times, in ratios, and the errors that are left.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from lightning_modules.data import sources
from lightning_modules.training.program import replayed
from lightning_modules.training.stack import Stack
from sweeps.planning import speed
from sweeps.planning.cost import call_seconds, core_rate
from sweeps.planning.plan import Plan, Training
from sweeps.planning.work import Work
from sweeps.spec.sweep import Sweep

load = cache(sources.load)

EPOCHS = 7
"""The epochs of a stack, of which every other one is evaluated. The first two make the recordings of a stack."""

LONGEST = 2.5
"""The longest stack that is measured, in estimated seconds."""

BASE = {"data": "mnist1d", "dataset_size": 1000, "batch_size": 100, "model": "mlp"}
SHAPES: list[dict[str, Any]] = [
    *({"width": width} for width in (8, 16, 32, 64, 100, 128, 256, 512)),
    *({"width": width, "optimizer": "adamw"} for width in (16, 64, 128, 256)),
    *({"width": width, "dropout": 0.2} for width in (16, 100)),
    {"width": 100, "augment_noise": 0.1},
    {"width": 100, "shift": 3, "scale": 0.1},
    *({"width": width, "data": "digits", "optimizer": "adamw", "batch_size": 50} for width in (8, 64, 128)),
    {"width": 128, "data": "digits", "optimizer": "adamw", "batch_size": 50, "rotation": 10.0},
    {"width": 100, "batch_size": 25},
    {"width": 64, "batch_size": 500},
    {"width": 64, "depth": 4},
    {"width": 64, "depth": 1},
    {"width": 100, "dataset_size": None, "batch_size": 128},
    {"width": 64, "precision": "float64"},
    {"model": "linear"},
    *({"model": "residual_mlp", "width": width} for width in (32, 100)),
    *({"model": "convnet", "width": width} for width in (10, 25, 50)),
    {"model": "convnet", "width": 25, "optimizer": "adamw", "dropout": 0.2, "batch_size": 50},
    *({"model": "convnet", "width": width, "data": "digits", "dataset_size": 300} for width in (5, 10)),
    {"model": "resnet", "width": 5, "data": "digits", "dataset_size": 300, "batch_size": 50},
    *({"model": "transformer", "width": width, "dataset_size": 300, "batch_size": 50} for width in (16, 32)),
]


def trainings(shape: Mapping[str, Any], members: int) -> list[Training]:
    """Return the members of a stack."""
    fixed = {**BASE, **shape, "epochs": EPOCHS}
    plan = Plan.of(Sweep("cost", "", fixed, ({"seed": tuple(range(members))},)))
    return [replace(training, evaluated=range(2, EPOCHS + 1, 2)) for training in plan.trainings]


def measure(entries: Sequence[Training]) -> dict[str, Any]:
    """Train one stack, and return its work and its times, with the two rates of the core at that time."""
    dataset = load(*sources.reference(entries[0].settings))
    replayed.forget()  # so that a stack whose shape was measured before makes its recordings again
    ends: list[float] = []
    calls = call_seconds()
    start = time.thread_time()
    stack = Stack(dataset, "cpu", lambda: ends.append(time.thread_time()))
    stack.change(joining=entries)
    built = time.thread_time()
    stack.advance(EPOCHS)
    first, evaluated, *later = (end - begin for begin, end in pairwise([built, *ends]))
    plain = statistics.median(later[::2])
    evaluated_later = statistics.median(later[1::2])
    recordings = first - plain + evaluated - evaluated_later
    return {
        "work": asdict(entries[0].work),
        "members": len(entries),
        "fixed": built - start + max(0.0, recordings),
        "epoch": plain,
        "evaluated_epoch": evaluated_later,
        "call_seconds": (calls + call_seconds()) / 2,
        "core_rate": core_rate(),
    }


def run(file: Path, members: Sequence[int], seconds: float) -> None:
    stop = time.monotonic() + seconds
    jobs = [trainings(shape, count) for shape in SHAPES for count in members]
    typical = speed.Speed()
    jobs = [job for job in jobs if typical.cohort(job[0].work, len(job), EPOCHS, EPOCHS // 2) < LONGEST]
    measure(jobs[0])  # which loads libraries
    with file.open("a") as out:
        while True:
            random.shuffle(jobs)
            for job in jobs:
                if time.monotonic() > stop:
                    return
                print(json.dumps(measure(job)), file=out, flush=True)


@dataclass(frozen=True)
class Row:
    """A stack, its times, and the two rates of the core in units of the reference."""

    work: Work
    members: int
    epoch: float
    evaluation: float
    fixed: float
    calls: float
    bulk: float

    @classmethod
    def of(cls, line: str) -> Row:
        content = json.loads(line)
        work = Work(**{**content["work"], "on": tuple(content["work"]["on"])})
        return cls(
            work,
            content["members"],
            content["epoch"],
            content["evaluated_epoch"] - content["epoch"],
            content["fixed"],
            content["call_seconds"] / speed.REFERENCE_CALL,
            speed.REFERENCE_RATE / content["core_rate"],
        )


def fit_one(rows: Sequence[Row], name: str, features: Callable[[Work, int], Mapping[str, float]]) -> None:
    """Print non-negative coefficients that minimize the errors of the times' logarithms, and these errors."""
    table = np.array([
        [
            quantity * (row.bulk if feature in speed.BULK else row.calls)
            for feature, quantity in features(row.work, row.members).items()
        ]
        for row in rows
    ])  # fmt: skip
    wanted = np.array([getattr(row, name) for row in rows])
    estimated = wanted
    for _ in range(30):  # squares weighted in this way approach squares of logarithms
        weights = 1 / np.sqrt(wanted * estimated)
        coefficients, _ = nnls(table * weights[:, None], wanted * weights)
        estimated = table @ coefficients
    errors = np.log(estimated / wanted)
    print(f"# {name}: {len(rows)} stacks, median error {np.median(abs(errors)):.0%}, "
          f"90 % within {np.quantile(abs(errors), 0.9):.0%}")  # fmt: skip
    names = features(rows[0].work, 1)
    print("    " + ", ".join(f'"{name}": {value:.3g}' for name, value in zip(names, coefficients, strict=True)) + ",")
    for error, row in sorted(zip(errors, rows, strict=True), key=lambda pair: pair[0]):
        if abs(error) > 0.4:
            work = row.work
            kind = f"{work.model} {work.parameters} {work.optimizer} {work.on} {work.batch}"
            print(f"#   {np.exp(error):.2f} {row.members:>3} x {kind}")


def fit(files: Sequence[Path]) -> None:
    rows = [Row.of(line) for file in files for line in file.read_text().splitlines()]
    calls, bulk = (statistics.median(getattr(row, name) for row in rows) for name in ("calls", "bulk"))
    print(f"# median call {calls * speed.REFERENCE_CALL:.3g} s, median rate {speed.REFERENCE_RATE / bulk:.3g} FLOP/s")
    fit_one(rows, "epoch", speed.epoch_features)
    # A difference of two times is known only where it is large enough.
    fit_one([row for row in rows if row.evaluation > 0.15 * row.epoch], "evaluation", speed.evaluation_features)
    fit_one(rows, "fixed", speed.fixed_features)


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "fit"))
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--members", default="1,4,12,32")
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args(words)
    if options.what == "measure":
        run(options.files[0], [int(count) for count in options.members.split(",")], options.seconds)
    else:
        fit(options.files)


if __name__ == "__main__":
    main(sys.argv[1:])
