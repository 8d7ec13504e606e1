"""Compare cohorts of one to twelve seeds with a plain loop of single networks. `make bench-packing` runs it.

    python tests/benchmarks/packing.py [--quick] [--json FILE | --save]

Convnets and MLPs of several widths (MNIST-1D, 4,000 examples, batches of 100) are planned as a sweep of one, two, four
and twelve seeds, and each cohort of the plan is trained by `train_cohort` in this process. Beside it, a plain PyTorch
loop trains the first of these networks. Both use one thread and evaluate the training and the test set once, at the
end. The ratio is that of CPU seconds per network, as a median over rounds. Before the rounds, a training of one epoch
shows what the first cohort of a shape costs in addition. The whole takes about five minutes.

The exit code is 1 if a ratio exceeds MOST.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any

import instruments
from baselines import SETTING, Arrays, bare_loop
from instruments import CONSOLE, interleaved, ratio
from rich.table import Table

from lightning_modules.data import sources
from lightning_modules.data.sources import Dataset
from lightning_modules.training.stack import reproducible
from lightning_modules.training.train import train_cohort
from sweeps.execution.inline import Inline
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.evaluation import Evaluation
from sweeps.spec.sweep import Sweep

SIZES = [("convnet", 10), ("convnet", 18), ("convnet", 50), ("mlp", 47), ("mlp", 256), ("mlp", 512)]
SEEDS = (1, 2, 4, 12)
EPOCHS, ROUNDS = 6, 3
MOST = 1.1


@dataclass(frozen=True)
class Case:
    model: str
    width: int
    seeds: int

    def __str__(self) -> str:
        return f"{self.model} of {self.width}, {self.seeds} seeds"

    def plan(self, packing: Packing, size: int, epochs: int) -> Plan:
        fixed = {"model": self.model, "width": self.width, "dataset_size": size, "batch_size": 100, "epochs": epochs}
        grid = {"seed": tuple(range(self.seeds))}
        return Plan.of(Sweep("packing", "", fixed, (grid,), evaluation=Evaluation(every=epochs)), packing)


def measure(case: Case, packing: Packing, dataset: Dataset, size: int, epochs: int, rounds: int) -> dict[str, Any]:
    plan = case.plan(packing, size, epochs)
    arrays: Arrays = (
        dataset.train_inputs[:size], dataset.train_labels[:size], dataset.test_inputs, dataset.test_labels
    )  # fmt: skip
    setting = {name: getattr(plan.trainings[0].settings, name) for name in SETTING}

    def train(planned: Plan) -> None:
        for cohort in planned.cohorts:
            train_cohort(cohort.members, dataset)

    first = interleaved({"cohorts": lambda: train(case.plan(packing, size, 1))}, 1)["cohorts"]
    bare_loop(arrays, {**setting, "epochs": 1})
    seconds = interleaved(
        {"loop": lambda: bare_loop(arrays, setting, on_training_too=True), "cohorts": lambda: train(plan)}, rounds
    )
    each = [spent / case.seeds for spent in seconds["cohorts"]]
    return {
        "model": case.model,
        "width": case.width,
        "seeds": case.seeds,
        "cohorts": [len(cohort.members) for cohort in plan.cohorts],
        "epochs": epochs,
        "loop": median(seconds["loop"]),
        "cohort": median(each),
        "ratio": ratio(each, seconds["loop"]),
        "first_epoch": first[0] / case.seeds,
    }


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    return instruments.table(
        ("model", "width", "seeds", "cohorts", "ms per network and epoch", "plain loop", "ratio", "first epoch"),
        [
            (
                row["model"],
                row["width"],
                row["seeds"],
                " + ".join(map(str, row["cohorts"])),
                f"{1000 * row['cohort'] / row['epochs']:.1f}",
                f"{1000 * row['loop'] / row['epochs']:.1f}",
                f"{row['ratio']:.2f}",
                f"{1000 * row['first_epoch']:.0f}",
            )
            for row in rows
        ],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = instruments.Parser(__file__, __doc__, "two small cases on 200 examples")
    options = parser.parse_args(arguments)
    reproducible()
    described = instruments.machine()
    cases = [Case(model, width, seeds) for (model, width), seeds in product(SIZES, SEEDS)]
    size, epochs, rounds = 4000, EPOCHS, ROUNDS
    if options.quick:
        cases, size, epochs, rounds = [Case("convnet", 4, 1), Case("mlp", 8, 3)], 200, 1, 1
    dataset = sources.load("mnist1d")
    with Inline().resources(1, lambda line: None) as resources:
        packing = resources.packing(1, None)
    rows = [measure(case, packing, dataset, size, epochs, rounds) for case in instruments.progress(cases)]
    CONSOLE.print(table_of(rows))
    instruments.write(options.json, described, {"cases": rows})
    over = [row for row in rows if row["ratio"] > MOST and not options.quick]
    for row in over:
        case = Case(row["model"], row["width"], row["seeds"])
        CONSOLE.print(f"{case}: {row['ratio']:.2f} × a plain loop (at most {MOST})")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
