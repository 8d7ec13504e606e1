"""Compare the updates of a cohort with the matrix products that they consist of. `make bench-efficiency` runs it.

    python tests/benchmarks/efficiency.py [--quick] [--json FILE | --save]

Cohorts of MLPs of the reference grid (MNIST-1D, depth 2, batches of 128, four noise levels, with and without weight
decay, eight members per seed) are trained as `train_cohort` does. After every epoch, a bare loop calls `torch.bmm` with
preallocated outputs for the eight products of every update of that epoch, and for the three of every chunk of an
evaluation, so that all are timed in alternation. Every second epoch is evaluated; the difference to the epoch before it
is the time of an evaluation. Its share is that of a cohort that is evaluated as often as the cohorts of the reference
grid. The whole takes about four minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from statistics import median
from typing import Any

import instruments
import torch
from instruments import CONSOLE, cpu_seconds, ratio
from rich.table import Table
from stacks import TimedStack
from torch import Tensor

from lightning_modules.data import sources
from lightning_modules.data.sources import Dataset
from lightning_modules.measures.chunks import CHUNK_EXAMPLES
from lightning_modules.settings import Settings
from lightning_modules.training.entry import Entry
from lightning_modules.training.stack import reproducible
from sweeps.spec.evaluation import Evaluation

WIDTHS, MEMBERS, DROPOUTS = (16, 64, 100, 256), (1, 8, 24, 48), (0.0, 0.2)
BATCH, HORIZON = 128, 10_000
SECONDS = 2.0
"""CPU seconds of updates per cohort."""
GRID_EPOCHS = (5, 10, 20)
MOST_UPDATES, MOST_EVALUATION = 1.7, 0.15
"""The largest allowed ratio to the products alone, and share of evaluation, in cohorts of 24 at widths 64 to 256."""


@dataclass(frozen=True)
class Case:
    width: int
    members: int
    dropout: float

    def __str__(self) -> str:
        return f"width {self.width}, {self.members} members, dropout {self.dropout}"

    def entries(self, size: int) -> list[Entry]:
        """Return one entry per member, evaluated at every second epoch."""
        return [
            Entry(
                str(k),
                Settings(
                    dataset_size=size, width=self.width, depth=2, dropout=self.dropout, batch_size=BATCH,
                    epochs=HORIZON, label_noise=(0.0, 0.15, 0.5, 1.0)[k % 4], weight_decay=(0.0, 1e-3)[k // 4 % 2],
                    seed=k // 8,
                ),
                evaluated=range(0, HORIZON + 1, 2),
            )
            for k in range(self.members)
        ]  # fmt: skip


class Products:
    """Calls the products of one epoch of a stacked MLP, with the layout [K, out, in] of torch's Linear for weights.

    Attributes:
        updates: of every update, the outputs of each layer, the gradient of its weights and, for all layers but the
            first, of its inputs.
        evaluation: the outputs of each layer for all training and test examples.
    """

    def __init__(self, members: int, features: Sequence[int], examples: int, tests: int) -> None:
        layers = [*enumerate(pairwise(features))]

        def tensors(batch: int) -> Iterator[tuple[Tensor, ...]]:
            for _, (inputs, outputs) in layers:
                sides = ((batch, inputs), (batch, outputs), (outputs, inputs))
                yield tuple(torch.randn(members, *shape) for shape in sides)

        def update(batch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
            for layer, (x, gradient, weights) in enumerate(tensors(batch)):
                yield x, weights.mT, torch.empty_like(gradient)
                yield gradient.mT, x, torch.empty_like(weights)
                if layer:
                    yield gradient, weights, torch.empty_like(x)

        def forward(batch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
            return ((x, weights.mT, outputs) for x, outputs, weights in tensors(batch))

        self.updates = _repeated(update, examples, BATCH)
        self.evaluation = [call for size in (examples, tests) for call in _repeated(forward, size, CHUNK_EXAMPLES)]


Calls = list[tuple[Tensor, Tensor, Tensor]]


def _repeated(calls: Callable[[int], Iterable[tuple[Tensor, Tensor, Tensor]]], examples: int, batch: int) -> Calls:
    full, rest = divmod(examples, batch)
    return [*([*calls(batch)] * full if full else []), *(calls(rest) if rest else [])]


def seconds_of(calls: Calls) -> float:
    start = cpu_seconds()
    for a, b, out in calls:
        torch.bmm(a, b, out=out)
    return cpu_seconds() - start


def measure(case: Case, dataset: Dataset, size: int, seconds: float) -> dict[str, Any]:
    """Return the seconds of an update, of an evaluation, and of the products of both, for all members together."""
    features = (dataset.train_inputs[0].size, case.width, case.width, dataset.classes)
    products = Products(case.members, features, size, len(dataset.test_labels))
    alone: list[tuple[float, float]] = []
    stack = TimedStack(
        case.entries(size),
        dataset,
        lambda: alone.append((seconds_of(products.updates), seconds_of(products.evaluation))),
    )
    first = stack.seconds(2)
    alone.clear()
    epochs = stack.seconds(2 * max(2, round(seconds / 2 / min(first))))
    plain, evaluated = epochs[::2], epochs[1::2]
    of_updates, of_evaluation = zip(*alone[-len(epochs) :], strict=True)
    evaluation = [with_it - without for with_it, without in zip(evaluated, plain, strict=True)]
    updates = -(-size // BATCH)
    evaluations = sum(len(Evaluation().epochs(horizon, {horizon})) for horizon in GRID_EPOCHS)
    spent = evaluations * median(evaluation)
    return {
        "width": case.width,
        "members": case.members,
        "dropout": case.dropout,
        "update": median(plain) / updates,
        "products": median(of_updates) / updates,
        "update_to_products": ratio(plain, of_updates[::2]),
        "evaluation": median(evaluation),
        "evaluation_products": median(of_evaluation),
        "evaluation_to_products": ratio(evaluation, of_evaluation[1::2]),
        "evaluation_share": spent / (sum(GRID_EPOCHS) * median(plain) + spent),
    }


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    heads = ("width", "members", "dropout", "update, µs per member", "products", "ratio")
    heads += ("evaluation, ms per member", "products", "ratio", "share")
    return instruments.table(
        heads,
        [
            (
                row["width"],
                row["members"],
                row["dropout"],
                f"{1e6 * row['update'] / row['members']:.1f}",
                f"{1e6 * row['products'] / row['members']:.1f}",
                f"{row['update_to_products']:.2f}",
                f"{1e3 * row['evaluation'] / row['members']:.2f}",
                f"{1e3 * row['evaluation_products'] / row['members']:.2f}",
                f"{row['evaluation_to_products']:.2f}",
                f"{row['evaluation_share']:.0%}",
            )
            for row in rows
        ],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = instruments.Parser(__file__, __doc__, "two small cohorts on 256 examples")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--members", type=int, nargs="+", default=MEMBERS)
    parser.add_argument("--dropouts", type=float, nargs="+", default=DROPOUTS)
    options = parser.parse_args(arguments)
    reproducible()
    described = instruments.machine()
    cases = [Case(*each) for each in product(options.widths, options.members, options.dropouts)]
    size, seconds = 4000, SECONDS
    if options.quick:
        cases, size, seconds = [Case(16, 2, 0.0), Case(16, 2, 0.2)], 256, 0.0
    dataset = sources.load("mnist1d")
    rows = [measure(case, dataset, size, seconds) for case in instruments.progress(cases)]
    CONSOLE.print(table_of(rows))
    instruments.write(options.json, described, {"cohorts": rows})
    over = [
        row
        for row in rows
        if row["members"] == 24 and row["width"] >= 64
        if row["update_to_products"] > MOST_UPDATES or row["evaluation_share"] > MOST_EVALUATION
    ]
    for row in over:
        CONSOLE.print(
            f"width {row['width']}, dropout {row['dropout']}: {row['update_to_products']:.2f} × the products alone "
            f"(at most {MOST_UPDATES}), evaluation {row['evaluation_share']:.0%} (at most {MOST_EVALUATION:.0%})"
        )
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
