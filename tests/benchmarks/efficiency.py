"""Compare the updates of a cohort with the matrix products that they consist of. `make bench-efficiency` runs it.

    python tests/benchmarks/efficiency.py [--quick] [--json FILE | --save]

Cohorts of MLPs of the reference grid (MNIST-1D, depth 2, batches of 128, four noise levels, with and without weight
decay, eight members per seed) are trained as `train_cohort` does. After every epoch, a bare loop calls `torch.bmm` with
preallocated outputs for the eight products of every update of that epoch, so that both are timed in alternation. Every
second epoch is evaluated; the difference to the epochs without is the time of an evaluation. It is given as a share of
a cohort that is evaluated as often as the cohorts of the reference grid.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import instruments
import torch
from instruments import CONSOLE, cpu_seconds, ratio
from torch import Tensor

from lightning_modules.data import sources
from lightning_modules.data.sources import Dataset
from lightning_modules.settings import Settings
from lightning_modules.training.entry import Entry
from lightning_modules.training.stack import Stack, reproducible
from sweeps.spec.evaluation import Evaluation

WIDTHS, MEMBERS, DROPOUTS = (16, 64, 100, 256), (1, 8, 24, 48), (0.0, 0.2)
BATCH, HORIZON = 128, 10_000
WARM_UP = 4
SECONDS = 3.0
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
    """The products of one epoch of a stacked MLP: of each layer the outputs, the gradient of its weights and, but for
    the first layer, of its inputs. Weights [K, out, in] are laid out as torch's Linear does."""

    def __init__(self, members: int, features: Sequence[int], examples: int) -> None:
        full, rest = divmod(examples, BATCH)
        self._updates = [*self._calls(members, features, BATCH)] * full
        self._updates += [*self._calls(members, features, rest)] if rest else []

    @staticmethod
    def _calls(members: int, features: Sequence[int], batch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for layer, (inputs, outputs) in enumerate(pairwise(features)):
            x, gradient = torch.randn(members, batch, inputs), torch.randn(members, batch, outputs)
            weights = torch.randn(members, outputs, inputs)
            yield x, weights.mT, torch.empty_like(gradient)
            yield gradient.mT, x, torch.empty_like(weights)
            if layer:
                yield gradient, weights, torch.empty_like(x)

    def run(self) -> None:
        for a, b, out in self._updates:
            torch.bmm(a, b, out=out)


def measure(case: Case, dataset: Dataset, size: int, seconds: float) -> dict[str, Any]:
    """Return the seconds of an update, an evaluation and the products of an update, of all members together."""
    products = Products(case.members, (dataset.train_inputs[0].size, case.width, case.width, dataset.classes), size)
    epochs: list[float] = []
    alone: list[float] = []
    since = 0.0

    def on_epoch() -> None:
        nonlocal since
        end = cpu_seconds()
        epochs.append(end - since)
        products.run()
        since = cpu_seconds()
        alone.append(since - end)

    stack = Stack(dataset, on_epoch=on_epoch)
    stack.change(joining=case.entries(size))
    stack.advance(WARM_UP)
    stack.advance(2 + 2 * max(2, round(seconds / 2 / min(epochs))))
    plain, evaluated = epochs[WARM_UP + 2 :: 2], epochs[WARM_UP + 3 :: 2]  # the first two contain the start of a fit
    updates = -(-size // BATCH)
    evaluation = statistics.median(with_it - without for with_it, without in zip(evaluated, plain, strict=True))
    trained = sum(GRID_EPOCHS) * statistics.median(plain)
    evaluations = sum(len(Evaluation().epochs(horizon, {horizon})) for horizon in GRID_EPOCHS) * evaluation
    return {
        "width": case.width,
        "members": case.members,
        "dropout": case.dropout,
        "update": statistics.median(plain) / updates,
        "products": statistics.median(alone[WARM_UP + 2 :]) / updates,
        "evaluation": evaluation,
        "to_products": ratio(plain, alone[WARM_UP + 2 :: 2]),
        "evaluation_share": evaluations / (trained + evaluations),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = instruments.parser(__file__, __doc__, "two small cohorts on 256 examples")
    options = parser.parse_args(arguments)
    reproducible()
    described = instruments.machine()
    cases = [Case(width, members, rate) for rate in DROPOUTS for width in WIDTHS for members in MEMBERS]
    size, seconds = 4000, SECONDS
    if options.quick:
        cases, size, seconds = [Case(16, 2, 0.0), Case(16, 2, 0.2)], 256, 0.0
    dataset = sources.load("mnist1d")
    rows = [measure(case, dataset, size, seconds) for case in instruments.progress(cases)]
    CONSOLE.print(
        instruments.table(
            ("width", "members", "dropout", "µs per member and update", "products alone", "ratio", "evaluation"),
            [
                (
                    row["width"],
                    row["members"],
                    row["dropout"],
                    f"{1e6 * row['update'] / row['members']:.1f}",
                    f"{1e6 * row['products'] / row['members']:.1f}",
                    f"{row['to_products']:.2f}",
                    f"{row['evaluation_share']:.0%}",
                )
                for row in rows
            ],
        )
    )
    instruments.write(options.json, described, {"cohorts": rows})
    over = [
        row
        for row in rows
        if row["members"] == 24 and row["width"] >= 64
        if row["to_products"] > MOST_UPDATES or row["evaluation_share"] > MOST_EVALUATION
    ]
    for row in over:
        CONSOLE.print(
            f"width {row['width']}, dropout {row['dropout']}: {row['to_products']:.2f} × the products alone "
            f"(at most {MOST_UPDATES}), evaluation {row['evaluation_share']:.0%} (at most {MOST_EVALUATION:.0%})"
        )
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
