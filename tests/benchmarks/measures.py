"""Measure how much time on-demand measures add to a training. `make bench` runs this benchmark.

    python tests/benchmarks/measures.py [--rounds N]

For each preset that requests on-demand measures, its first cohort is trained without them and with one at a time, at
the epochs that the preset gives, in alternation on one core. The result is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

from lightning_modules.data import sources
from lightning_modules.measures.catalogue import MEASURES_ON_DEMAND
from lightning_modules.training.train import train_cohort
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Cohort, Plan
from sweeps.spec.evaluation import Measurement
from sweeps.spec.sweep_file import load_sweep, preset_names

MEMBERS = 8
MOST = 0.30
"""Largest share of time that a measure may add, unless its description calls it expensive."""


def cohort_of(plan: Plan) -> Cohort:
    """Return the first MEMBERS members of the longest cohort of the plan."""
    return plan.cohorts[0].part(plan.cohorts[0].members[:MEMBERS])


def seconds(cohort: Cohort, measure: str | None) -> float:
    members = [
        replace(member, measured={epoch: (measure,) for epoch, names in member.measured.items() if measure in names})
        for member in cohort.members
    ]
    dataset = sources.load(*sources.reference(members[0].settings))
    start = time.perf_counter()
    train_cohort(members, dataset)
    return time.perf_counter() - start


def overheads(preset: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Return, for each measure, the seconds of the training without it and the median share of time that it adds."""
    sweep = load_sweep(preset)
    cohort = cohort_of(Plan.of(sweep, Packing(max_cohort=MEMBERS)))
    seconds(cohort, None)  # the first training of a process includes imports
    found = {}
    for measure in sweep.measurement.epochs:
        plain, ratios = [], []
        for _ in range(rounds):
            plain.append(seconds(cohort, None))
            ratios.append(seconds(cohort, measure) / plain[-1] - 1)
        found[measure] = statistics.median(plain), statistics.median(ratios)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="alternations (default 5)")
    rounds = parser.parse_args().rounds
    print(f"{'preset':<26}{'measure':<24}{'training':>10}{'on top':>9}")
    over = []
    for preset in preset_names():
        if load_sweep(preset).measurement != Measurement():
            for measure, (plain, share) in overheads(preset, rounds).items():
                expensive = "expensive" in MEASURES_ON_DEMAND[measure].cost
                print(f"{preset:<26}{measure:<24}{plain:>8.2f} s{share:>+9.0%}{'  (expensive)' if expensive else ''}")
                if share > MOST and not expensive:
                    over.append(f"{measure} in {preset}: {share:+.0%}")
    print(
        "more than it may cost: " + "; ".join(over) if over else f"none costs more than {MOST:.0%}, but the expensive"
    )


if __name__ == "__main__":
    main()
