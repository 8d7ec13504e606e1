"""The sweep of some points of another sweep, such as those of one row of a table."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_modules.settings import DEFAULTS
from sweeps.spec.evaluation import Measurement
from sweeps.spec.point import Point
from sweeps.spec.sweep import Sweep
from sweeps.spec.sweep_file import settable


def excerpt(sweep: Sweep, points: Sequence[Point], name: str) -> Sweep:
    """Return a sweep that consists of these points, with the evaluations and measures of the sweep that they are from.

    Args:
        sweep: The sweep that the points are from. Its figures and its early stopping, which may compare trainings, are
            left out.
        points: Points that differ in one field at most.
        name: The name of the new sweep.
    """
    fixed, grid = {}, {}
    for field in settable():
        values = tuple(dict.fromkeys(getattr(point, field) for point in points))
        if len(values) > 1:
            grid[field] = values
        elif values[0] != DEFAULTS[field]:
            fixed[field] = values[0]
    horizon = max(point.epochs for point in points)
    measurement = sweep.measurement.up_to(horizon)
    taken = {measure: at for measure, at in measurement.epochs.items() if at is None or at[0] <= horizon}
    return Sweep(name, sweep.question, fixed, (grid,), (), sweep.evaluation, Measurement(taken), source=name)
