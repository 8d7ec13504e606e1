"""Creation of a cohort's entries without a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lightning_modules.training.entry import Entry
from sweeps.spec.point import Point


def make_entries(
    points: Iterable[Point], evaluated: Sequence[int], measured: Mapping[int, Sequence[str]] | None = None
) -> list[Entry]:
    """Return one entry per point, all evaluated and measured at the same epochs."""
    return [Entry(point.id, point, evaluated, measured or {}) for point in points]
