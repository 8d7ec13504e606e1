"""How much of a sweep is there, what failed and why, and which files of the store are damaged."""

from __future__ import annotations

from collections import Counter
from typing import Any

from analysis.tables.points import failures, outcomes
from sweeps.planning.plan import Plan
from sweeps.store.store import Contents

SHOWN = 10


def report(plan: Plan, contents: Contents) -> dict[str, Any]:
    """For machines: counts by outcome, the trainings that failed or diverged, the damaged files."""
    counts = Counter(outcomes(plan, contents))
    points = {cell.trajectory_id: cell.point for cell in plan.cells}
    return {
        "sweep": plan.name,
        "points": len(plan.cells),
        **{outcome: counts[outcome] for outcome in ("finished", "diverged", "stopped", "failed", "missing")},
        "failures": [
            {
                "trajectory_id": row["trajectory_id"],
                "outcome": row["outcome"],
                "epoch": row["epoch"],
                "fields": points[row["trajectory_id"]].canonical(),
                "reason": row["reason"],
            }
            for row in failures(plan, contents)
        ],
        "damaged": contents.damaged,
    }


def describe(found: dict[str, Any], command: str, retry: str) -> str:
    """For a reader; `command` trains what is missing of this sweep in this store, `retry` what failed too."""
    total = found["points"]
    lines = [f"{found['sweep']}: {found['finished']:,} of {total:,} points finished ({found['finished'] / total:.0%})"]
    lines += [f"  {found[outcome]:,} {outcome}" for outcome in ("diverged", "stopped", "failed", "missing")
              if found[outcome]]  # fmt: skip
    for failure in found["failures"][:SHOWN]:
        reason = (failure["reason"] or "").splitlines()
        lines += [
            f"{failure['outcome']} {failure['trajectory_id']} {failure['fields']}",
            f"  {reason[0] if reason else ''}",
        ]
    hidden = len(found["failures"]) - SHOWN
    if hidden > 0:
        lines.append(f"and {hidden:,} more; all with --json")
    lines += [f"damaged file, not counted: {path}: {why}" for path, why in found["damaged"].items()]
    if found["stopped"]:
        lines.append("the stopped ones go on from where they are in a sweep that does not stop them")
    if found["failed"]:
        lines.append(f"to try the failed ones again: {retry}")
    if found["missing"]:
        lines.append(f"to train the missing ones: {command}")
    return "\n".join(lines)
