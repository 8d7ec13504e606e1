"""Reports on the progress of a sweep, the trainings that failed, and the damaged files of the store."""

from __future__ import annotations

from collections import Counter
from typing import Any

from memsweep.causes import causes

from analysis.tables.points import failures, outcomes
from sweeps.execution.protocol import Failure
from sweeps.planning.plan import Plan
from sweeps.store.store import Contents

SHOWN = 10
"""The largest number of causes of failures that are described."""


def report(plan: Plan, contents: Contents) -> dict[str, Any]:
    """Count the points by outcome, and list the trainings that failed or diverged, their causes, and damaged files."""
    counts = Counter(outcomes(plan, contents))
    points = {cell.trajectory_id: cell.point for cell in plan.cells}
    failed = failures(plan, contents)
    reasons = [Failure(row["trajectory_id"], row["outcome"], row["reason"] or "") for row in failed]
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
            for row in failed
        ],
        "causes": [cause.plain() for cause in causes(plan, reasons)],
        "damaged": contents.damaged,
    }


def describe(counts: dict[str, Any], command: str, retry: str) -> str:
    """Return a report as text. `command` trains the missing points, and `retry` trains the failed ones as well."""
    total, finished = counts["points"], counts["finished"]
    lines = [f"{counts['sweep']}: {finished:,} of {total:,} points finished ({finished / total:.0%})"]
    lines += [f"  {counts[outcome]:,} {outcome}" for outcome in ("diverged", "stopped", "failed", "missing")
              if counts[outcome]]  # fmt: skip
    fields = {failure["trajectory_id"]: failure["fields"] for failure in counts["failures"]}
    for cause in counts["causes"][:SHOWN]:
        more = f" and {cause['trainings'] - 1:,} more" if cause["trainings"] > 1 else ""
        where = f", all with {cause['settings']}" if more and cause["settings"] else ""
        lines += [
            f"{cause['outcome']} {cause['example']} {fields[cause['example']]}{more}{where}",
            f"  {cause['reason']}",
        ]
    hidden = len(counts["causes"]) - SHOWN
    if hidden > 0:
        lines.append(f"and {hidden:,} more reasons; all with --json")
    lines += [f"damaged file, not counted: {path}: {reason}" for path, reason in counts["damaged"].items()]
    if counts["stopped"]:
        lines.append("the stopped ones go on from where they are in a sweep that does not stop them")
    if counts["failed"]:
        lines.append(f"to try the failed ones again: {retry}")
    if counts["missing"]:
        lines.append(f"to train the missing ones: {command}")
    return "\n".join(lines)
