"""Measure how much time on-demand measures add to a training. `make bench-measures` runs it.

    python tests/benchmarks/measures.py [--quick] [--rounds N] [--json FILE | --save]

For each preset that requests on-demand measures, its first cohort is trained without them and with one at a time, at
the epochs that the preset gives, in alternation on one core. The result is the median of the rounds' ratios of CPU
seconds. The exit code is 1 if a measure that is not called expensive adds more than MOST.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import instruments
from instruments import CONSOLE, interleaved, ratio

from lightning_modules.data import sources
from lightning_modules.measures.catalogue import MEASURES_ON_DEMAND
from lightning_modules.training.train import train_cohort
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Cohort, Plan
from sweeps.spec.sweep_file import load_sweep
from sweeps.spec.sweep_source import preset_names

MEMBERS = 8
MOST = 0.30
"""Largest share of time that a measure may add, unless its description calls it expensive."""


def cohort_of(plan: Plan) -> Cohort:
    """Return the first MEMBERS members of the longest cohort of the plan."""
    return plan.cohorts[0].part(plan.cohorts[0].members[:MEMBERS])


def train(cohort: Cohort, measure: str | None) -> None:
    members = [
        replace(member, measured={epoch: (measure,) for epoch, names in member.measured.items() if measure in names})
        for member in cohort.members
    ]
    train_cohort(members, sources.load(*sources.reference(members[0].settings)))


def overhead(preset: str, measure: str, rounds: int) -> dict[str, Any]:
    """Return the seconds of the training without the measure, and the median share of time that it adds."""
    cohort = cohort_of(Plan.of(load_sweep(preset), Packing(max_cohort=MEMBERS)))
    train(cohort, None)  # the first training of a process includes imports
    seconds = interleaved({"plain": lambda: train(cohort, None), "measured": lambda: train(cohort, measure)}, rounds)
    return {
        "preset": preset,
        "measure": measure,
        "seconds": median(seconds["plain"]),
        "added": ratio(seconds["measured"], seconds["plain"]) - 1,
        "expensive": "expensive" in MEASURES_ON_DEMAND[measure].cost,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = instruments.Parser(__file__, __doc__, "the first measure of the first preset, once")
    parser.add_argument("--rounds", type=int, default=5, help="alternations (default 5)")
    options = parser.parse_args(arguments)
    described = instruments.machine()
    cases = [(preset, measure) for preset in preset_names() for measure in load_sweep(preset).measurement.epochs]
    rounds = options.rounds
    if options.quick:
        cases, rounds = cases[:1], 1
    rows = [overhead(*case, rounds) for case in instruments.progress(cases, ": ".join)]
    CONSOLE.print(
        instruments.table(
            ("preset", "measure", "training", "on top", ""),
            [
                (
                    row["preset"],
                    row["measure"],
                    f"{row['seconds']:.2f} s",
                    f"{row['added']:+.0%}",
                    "expensive" if row["expensive"] else "",
                )
                for row in rows
            ],
            left=2,
        )
    )
    instruments.write(options.json, described, {"measures": rows})
    over = [row for row in rows if row["added"] > MOST and not (row["expensive"] or options.quick)]
    for row in over:
        CONSOLE.print(f"{row['measure']} in {row['preset']} costs more than {MOST:.0%}: {row['added']:+.0%}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
