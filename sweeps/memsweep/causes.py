"""Causes: the failures of a sweep, counted by reason, with the values of the axes that they have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sweeps.execution.halving import kind_of
from sweeps.execution.protocol import Failure
from sweeps.planning.plan import Plan
from sweeps.spec.point import Point
from sweeps.spec.sweep_file import settable

MOST_VALUES = 4
"""The largest number of values of an axis that a cause lists."""

REASON_LENGTH = 300


@dataclass(frozen=True)
class Cause:
    """The trainings that ended for one reason."""

    outcome: str
    reason: str
    """The first line of one of the reasons. The others may differ from it in numbers."""
    trainings: tuple[str, ...]
    settings: str
    """The values of each axis on which the trainings differ from the rest of the sweep, such as "depth 3, 4"."""

    def plain(self) -> dict[str, Any]:
        """Return the cause for JSON, with the id of one training as an example."""
        return {"outcome": self.outcome, "reason": self.reason, "trainings": len(self.trainings),
                "settings": self.settings, "example": self.trainings[0]}  # fmt: skip

    def __str__(self) -> str:
        where = f", all with {self.settings}" if self.settings else ""
        return f"{len(self.trainings):,} {self.outcome}: {self.reason}{where}"


def causes(plan: Plan, failures: Iterable[Failure]) -> list[Cause]:
    """Group failures by outcome and reason, in descending order of their number."""
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        groups.setdefault((failure.outcome, kind_of(failure.reason)), []).append(failure)
    points = {cell.trajectory_id: cell.point for cell in plan.cells}
    values = _values_by_axis(points.values())
    found = []
    for (outcome, _), group in groups.items():
        ids = tuple(dict.fromkeys(failure.trajectory_id for failure in group))
        own = _values_by_axis([points[i] for i in ids if i in points])
        axes = [
            f"{axis} {', '.join(map(str, own[axis]))}"
            for axis in values
            if 0 < len(own[axis]) < len(values[axis]) and len(own[axis]) <= MOST_VALUES
        ]
        reason = group[0].reason.partition("\n")[0][:REASON_LENGTH]
        found.append(Cause(outcome, reason, ids, "; ".join(axes)))
    return sorted(found, key=lambda cause: -len(cause.trainings))


def _values_by_axis(points: Iterable[Point]) -> dict[str, list[object]]:
    """Return the different values of each field that can be an axis, except the epochs, in order of occurrence."""
    values: dict[str, dict[object, None]] = {name: {} for name in settable() if name != "epochs"}
    for point in points:
        for name, seen in values.items():
            seen[getattr(point, name)] = None
    return {name: [*seen] for name, seen in values.items()}
