"""Double descent of a single curve: an error that falls, rises, and falls again.

Nakkiran et al. 2019 (arXiv 1912.02292) distinguish epoch-wise double descent, along the training of one network, from
model-wise double descent, along the capacity at the end of training. The same rule detects both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.stopping.recorded import Recorded, sign
from analysis.tables.cells import levels
from lightning_modules.settings import problem_fields

MARGIN = 0.02
"""The smallest fall, rise and second fall of the error: 2 points of accuracy, about 1.3 standard errors of an accuracy
on 1,000 examples. (Two epochs of one training share errors, which makes the standard error of a fall smaller.)"""
ROUGHNESS = 4.0
"""The smallest fall, rise and second fall in standard deviations of a single evaluation. At a constant learning rate,
the curve of a narrow network keeps going up and down, but by less than this."""
WINDOW = 5
"""The number of evaluated epochs in the running median that smooths a training's curve."""
CAPACITY = ("width", "parameter_count", "depth")
SIDES = ("left of the peak", "peak", "right of the peak")


@dataclass(frozen=True)
class Descent:
    """The double descent of one curve, with positions on the curve's axis.

    Attributes:
        first: The position of the minimum before the peak.
        peak: The position of the peak.
        reached: The position at which the second descent is complete, the first after the peak at which the error is
            within half the margin of the lowest error after the peak.
        depth: The rise of the error before the peak or the fall after the peak, whichever is smaller.
        below: Whether the minimum after the peak is below the minimum before the peak.
    """

    first: float
    peak: float
    reached: float
    depth: float
    below: bool


def double_descent(
    positions: Sequence[float],
    error: Sequence[float],
    margin: float = MARGIN,
    window: int = WINDOW,
    roughness: float = ROUGHNESS,
) -> Descent | None:
    """Find the double descent of one curve.

    The error is smoothed by a running median. The peak is the position p that maximises min(rise, fall), where rise =
    e(p) - min e before p and fall = e(p) - min e after p. There is a double descent if rise and fall are at least
    `margin` and at least `roughness` standard deviations of a single evaluation, and if the error falls by as much
    before the first minimum, since a curve that starts at its lowest point has only one descent. The standard deviation
    is that of the differences between neighbouring values (from their median absolute deviation) divided by sqrt(2), so
    that a trend does not count.

    Args:
        positions: Positions on the axis, ascending.
        error: The error at each position. NaN values are left out.
        margin: The smallest rise and fall, in the unit of the error.
        window: The number of values in the running median (odd; fewer are used at the ends).
        roughness: The smallest rise and fall, in standard deviations of a single evaluation.

    Returns:
        The double descent, or None if there is none.
    """
    at, values = np.asarray(positions, dtype=float), np.asarray(error, dtype=float)
    known = ~np.isnan(values)
    at, values = at[known], values[known]
    if len(values) < 4:
        return None
    half = window // 2
    smooth = np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])
    before = np.minimum.accumulate(smooth)
    after = np.minimum.accumulate(smooth[::-1])[::-1]
    depths = np.minimum(smooth - before, smooth - after)
    peak = int(np.argmax(depths))
    first = int(np.argmin(smooth[: peak + 1]))
    # The tolerance absorbs rounding: 0.55 - 0.53 is not 0.02.
    enough = max(margin, roughness * _deviation(values)) - 1e-9
    if depths[peak] < enough or values[: first + 1].max() - smooth[first] < enough:
        return None
    lowest = after[peak]
    reached = peak + int(np.argmax(smooth[peak:] <= lowest + margin / 2))
    return Descent(float(at[first]), float(at[peak]), float(at[reached]), float(depths[peak]),
                   bool(lowest < smooth[first]))  # fmt: skip


def _deviation(values: np.ndarray) -> float:
    return float(stats.median_abs_deviation(np.diff(values), scale="normal") / np.sqrt(2))


def epoch_wise(
    recorded: Recorded, metric: str, margin: float = MARGIN, window: int = WINDOW, roughness: float = ROUGHNESS
) -> pd.DataFrame:
    """Find the members whose metric shows a double descent along the epochs.

    The error is the metric itself if lower is better, and the negative of the metric if higher is better.

    Returns:
        A table with one row per member that has a double descent (index: `trajectory_id`) and with the fields of
        `Descent` as columns: `first`, `peak`, `reached`, `depth`, `below`.
    """
    errors = -sign(metric) * recorded.values(metric)
    rows = {name: double_descent(errors.columns, row, margin, window, roughness) for name, row in errors.iterrows()}
    descents = {name: vars(descent) for name, descent in rows.items() if descent is not None}
    columns = ["first", "peak", "reached", "depth", "below"]
    return pd.DataFrame.from_dict(descents, orient="index", columns=columns).rename_axis("trajectory_id")


def model_wise(recorded: Recorded, metric: str, margin: float = MARGIN) -> tuple[str, pd.Series] | None:
    """Find the side of the model-wise double-descent peak on which each member lies.

    The members of a group agree in every field except the capacity and the seed. A group's curve is its mean final
    error over seeds against the capacity (at least four values), without smoothing.

    Returns:
        The capacity field, and the side of each member: one of `SIDES`, or NaN if the member's group has no double
        descent along the capacity. None if no group has a double descent.
    """
    members = recorded.members
    capacity = next((name for name in CAPACITY if members[name].nunique() >= 4), None)
    if capacity is None:
        return None
    error = -sign(metric) * recorded.final(metric)
    searched = [name for name in members if name not in ("seed", "search", "problem", "regime", "parameters", capacity)]
    others = [name for name in searched if name not in problem_fields() and len(levels(members, name)) > 1]
    sides = pd.Series(np.nan, members.index, dtype=object)
    for _, group in members.groupby(["problem", *others], dropna=False, sort=False):
        curve = error[group.index].groupby(group[capacity]).mean()
        descent = double_descent(curve.index, curve, margin, window=1, roughness=0)
        if descent is not None:
            side = np.sign(group[capacity].astype(float) - descent.peak).astype(int) + 1
            sides[group.index] = np.array(SIDES, dtype=object)[side]
    return (capacity, sides) if sides.notna().any() else None
