"""Measure what an update costs per member in cohorts of 1 to 96. `make bench-cohort_sizes` runs it.

    python tests/benchmarks/cohort_sizes.py [--quick] [--json FILE | --save]

Cohorts of each family and width (MNIST-1D, or 8 x 8 digits for images, batches of 128, a seed per member) are trained
without evaluation, in alternation, two epochs at a time. The result is the median of CPU seconds per member and update.
The whole takes about five minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

import instruments
from instruments import CONSOLE
from rich.table import Table
from stacks import TimedStack

from lightning_modules.data import sources
from lightning_modules.settings import Settings
from lightning_modules.training.entry import Entry
from lightning_modules.training.stack import reproducible

SHAPES = [
    ("mnist1d", "mlp", 16, 4000), ("mnist1d", "mlp", 64, 4000), ("mnist1d", "mlp", 100, 4000),
    ("mnist1d", "mlp", 256, 4000), ("mnist1d", "residual_mlp", 64, 4000), ("mnist1d", "convnet", 10, 1024),
    ("mnist1d", "convnet", 25, 1024), ("mnist1d", "convnet", 50, 512), ("mnist1d", "transformer", 16, 256),
    ("digits", "resnet", 8, 256),
]  # fmt: skip
"""Data, model, width and examples. An epoch of small networks has more updates, so that its own cost does not show."""
MEMBERS = (1, 2, 4, 8, 12, 24, 48, 96)
BATCH, ROUNDS = 128, 3
HORIZON = 10_000


def measure(data: str, model: str, width: int, examples: int, members: Sequence[int], rounds: int) -> dict[str, Any]:
    dataset = sources.load(data)

    def entry(seed: int) -> Entry:
        settings = Settings(
            data=data, dataset_size=examples, model=model, width=width, batch_size=BATCH, epochs=HORIZON, seed=seed
        )
        return Entry(str(seed), settings, ())

    stacks = {count: TimedStack([entry(seed) for seed in range(count)], dataset) for count in members}
    seconds: dict[int, list[float]] = {count: [] for count in members}
    for _ in range(rounds):
        for count, stack in stacks.items():
            seconds[count] += stack.seconds(2)
    updates = -(-examples // BATCH)
    each = {count: median(spent) / (count * updates) for count, spent in seconds.items()}
    best = min(each, key=lambda count: each[count])
    return {"data": data, "model": model, "width": width, "seconds_per_member_and_update": each, "best": best}


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    counts = [*rows[0]["seconds_per_member_and_update"]]
    return instruments.table(
        ("model", "width", *(f"K = {count}" for count in counts)),
        [
            (
                row["model"],
                row["width"],
                *(f"{1e6 * value:.0f}" for value in row["seconds_per_member_and_update"].values()),
            )
            for row in rows
        ],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = instruments.Parser(__file__, __doc__, "two members of one shape")
    options = parser.parse_args(arguments)
    reproducible()
    described = instruments.machine()
    shapes, members, rounds = SHAPES, MEMBERS, ROUNDS
    if options.quick:
        shapes, members, rounds = [("mnist1d", "mlp", 8, 128)], (1, 2), 1
    rows = [
        measure(*shape, members, rounds)
        for shape in instruments.progress(shapes, lambda shape: f"{shape[1]} of {shape[2]}")
    ]
    CONSOLE.print("µs per member and update")
    CONSOLE.print(table_of(rows))
    instruments.write(options.json, described, {"shapes": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
