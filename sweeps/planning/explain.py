"""Descriptions of a plan: done and missing points, the savings by folding and packing, and the estimated time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sweeps.planning.packing import end_of
from sweeps.planning.plan import Plan
from sweeps.spec.point import Point

SHOWN = 12


def summary(plan: Plan) -> dict[str, Any]:
    """Return the numbers that `explain` describes, for use by programs."""
    trainings, cohorts = plan.trainings, plan.cohorts
    flops = sum(training.cost.flops for training in trainings)
    point_epochs = sum(cell.epoch for cell in plan.missing)
    return {
        "sweep": plan.name,
        "points": len(plan.cells),
        "done": len(plan.cells) - len(plan.missing),
        "missing": len(plan.missing),
        "trajectories": len(trainings),
        "epochs": sum(training.settings.epochs for training in trainings),
        "epochs_without_folding": point_epochs,
        "cohorts": len(cohorts),
        "largest_cohort": max((len(cohort.members) for cohort in cohorts), default=0),
        "workers": plan.packing.workers,
        "max_cohort": plan.packing.max_cohort,
        "flops": flops,
        "bytes_per_worker": max((cohort.cost.bytes for cohort in cohorts), default=0),
        "seconds": predicted_seconds(plan),
        "seconds_to_start": plan.packing.startup_seconds if cohorts else 0.0,
        "estimate": estimate(plan),
    }


def predicted_seconds(plan: Plan) -> float:
    """Return the seconds from the start of a run until all workers are done."""
    if not plan.cohorts:
        return 0.0
    trained = end_of((plan.seconds(cohort) for cohort in plan.cohorts), plan.packing.workers)
    return plan.packing.startup_seconds + trained


def in_short(plan: Plan) -> str:
    """Return the number of trainings and the estimated time."""
    return f"{_count(len(plan.trainings), 'training')}, about {_duration(predicted_seconds(plan))}"


def estimate(plan: Plan) -> str:
    """Say what the estimated seconds come from."""
    stacks = len(plan.packing.speed.table.stacks)
    return f"from {_count(stacks, 'stack')} measured here" if stacks else "of a typical core; measured as it trains"


def explain(plan: Plan, notes: Sequence[str] = ()) -> str:
    """Return a readable description of a plan, with further sentences below its first line."""
    facts = summary(plan)
    lines = [
        f"{plan.name}: {_count(facts['points'], 'point')}, {facts['done']:,} done, {facts['missing']:,} to train",
        *notes,
    ]
    if not plan.missing:
        return "\n".join([*lines, "nothing to train"])
    to_start = facts["seconds_to_start"]
    start = f", {_duration(to_start)} of it to start" if to_start else ""
    saved = facts["epochs_without_folding"] - facts["epochs"]
    share = saved / facts["epochs_without_folding"] if facts["epochs_without_folding"] else 0.0
    lines += [
        f"folding  {_count(facts['trajectories'], 'training')} for {_count(facts['missing'], 'point')}: "
        f"{facts['epochs']:,} epochs instead of {facts['epochs_without_folding']:,} ({share:.0%} saved)",
        f"packing  {_count(facts['cohorts'], 'cohort')} for {_count(facts['trajectories'], 'training')}, "
        f"at most {_count(facts['largest_cohort'], 'member')}"
        + (f"; --max-cohort {facts['max_cohort']}" if facts["max_cohort"] else ""),
        f"cost     {_quantity(facts['flops'], 'FLOP')}, up to {_quantity(facts['bytes_per_worker'], 'B')} per worker",
        f"time     about {_duration(facts['seconds'])} on {_count(facts['workers'], 'worker')}{start} "
        f"({facts['estimate']})",
    ]
    if plan.early_stopping:
        lines.append(f"stopping {plan.early_stopping.words()}; the estimates are of what would be trained without it")
    if plan.measurement.epochs:
        lines.append(f"measure  {_measures(plan)}; their time is estimated roughly")
    if facts["bytes_per_worker"] > plan.packing.bytes_per_worker:
        lines.append(
            f"memory   a training alone takes up to {_quantity(facts['bytes_per_worker'], 'B')}, but a worker has "
            f"{_quantity(plan.packing.bytes_per_worker, 'B')}: it may be killed; fewer --workers have more each"
        )
    lines += ["", "cohorts, longest first"]
    for (model, members, epochs), times in list(_kinds(plan).items())[:SHOWN]:
        lines.append(f"  {times:>4} × {_count(members, 'member'):<11} {_count(epochs, 'epoch'):<10} {model}")
    hidden = len(_kinds(plan)) - SHOWN
    if hidden > 0:
        lines.append(f"  and {_count(hidden, 'other kind')}")
    return "\n".join(lines)


def _kinds(plan: Plan) -> Counter[tuple[str, int, int]]:
    return Counter((_architecture(c.members[0].settings), len(c.members), c.epochs) for c in plan.cohorts)


def _measures(plan: Plan) -> str:
    return ", ".join(
        name if epochs is None else f"{name} at epoch{'s' * (len(epochs) > 1)} {', '.join(map(str, epochs))}"
        for name, epochs in plan.measurement.epochs.items()
    )


def _architecture(point: Point) -> str:
    size = f" width {point.width}" if point.width else ""
    return f"{point.model}{size} on {point.dataset_size:,} examples of {point.data}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _quantity(value: float, unit: str) -> str:
    prefixes = ("", "k", "M", "G", "T", "P", "E")
    power = sum(value >= 999.5 * 1000**i for i in range(len(prefixes) - 1))  # 999.6 k would be written 1e+03 k
    return f"{value / 1000**power:.3g} {prefixes[power]}{unit}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
