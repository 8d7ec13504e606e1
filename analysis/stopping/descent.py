"""Double descent of a single curve: an error that falls, rises, and falls again.

After Nakkiran et al. 2019 (arXiv 1912.02292): epoch-wise, along the training of one network, and model-wise, along the
capacity at the end of training. One rule for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.stopping.recorded import GIVEN, Recorded, sign
from analysis.tables.cells import levels

MARGIN = 0.02
"""How far the error must fall, rise and fall again: 2 points of accuracy, about 1.3 standard errors of an accuracy that
is measured on 1,000 examples (less between two epochs of one training, whose errors are shared)."""
ROUGHNESS = 4.0
"""How far in standard deviations of its own evaluations: at a constant rate a narrow network's curve goes up and down
for ever, and no deeper than this."""
WINDOW = 5
"""Evaluated epochs of the running median that is taken of a training's curve first."""
CAPACITY = ("width", "parameter_count", "depth")
SIDES = ("left of the peak", "peak", "right of the peak")


@dataclass(frozen=True)
class Descent:
    """Places on the axis of the curve. first: of the minimum before the peak. reached: where the second descent is
    done, the first place after the peak with an error within half the margin of the lowest there. depth: what the
    error rises to the peak, or falls after it, whichever is less. below: whether the last minimum is below the first.
    """

    first: float
    peak: float
    reached: float
    depth: float
    below: bool


def double_descent(
    places: Sequence[float],
    error: Sequence[float],
    margin: float = MARGIN,
    window: int = WINDOW,
    roughness: float = ROUGHNESS,
) -> Descent | None:
    """The double descent of one curve, or None.

    places ascending; error of at least as many, NaN where unknown (left out). The error is smoothed by a running median
    of `window` values (odd; shorter at the ends). The peak is the place p that maximises min(rise, fall): rise =
    e(p) - min e before p, fall = e(p) - min e after p. There is a double descent if both are at least `margin` and at
    least `roughness` standard deviations of a single evaluation, and if the error had also fallen by as much before its
    first minimum: what starts at its lowest has one descent only. The deviation is that of the differences between
    neighbouring values divided by sqrt(2), from their median absolute deviation, so that a trend does not count.
    """
    at, values = np.asarray(places, dtype=float), np.asarray(error, dtype=float)
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
    # Rounding apart: 0.55 - 0.53 is not 0.02.
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
    found: Recorded, metric: str, margin: float = MARGIN, window: int = WINDOW, roughness: float = ROUGHNESS
) -> pd.DataFrame:
    """The members whose metric shows a double descent along the epochs: `first`, `peak`, `reached`, `depth`, `below`.

    The error is the metric where less of it is better, and its negative where more is. Index: trajectory_id.
    """
    errors = -sign(metric) * found.values(metric)
    rows = {name: double_descent(errors.columns, row, margin, window, roughness) for name, row in errors.iterrows()}
    made = {name: vars(descent) for name, descent in rows.items() if descent is not None}
    columns = ["first", "peak", "reached", "depth", "below"]
    return pd.DataFrame.from_dict(made, orient="index", columns=columns).rename_axis("trajectory_id")


def model_wise(found: Recorded, metric: str, margin: float = MARGIN) -> tuple[str, pd.Series] | None:
    """The capacity field, and for each member of a group with a peak the side it is on, one of `SIDES`; None: no peak.

    A group is what agrees in every field but the capacity and the seed; its curve is the mean final error over seeds
    against the capacity (at least four of them), without smoothing. Members of a group
    without a double descent along the capacity have no side (NaN).
    """
    members = found.members
    capacity = next((name for name in CAPACITY if members[name].nunique() >= 4), None)
    if capacity is None:
        return None
    error = -sign(metric) * found.final(metric)
    searched = [name for name in members if name not in ("seed", "search", "problem", "regime", "parameters", capacity)]
    others = [name for name in searched if name not in GIVEN and len(levels(members, name)) > 1]
    sides = pd.Series(np.nan, members.index, dtype=object)
    for _, group in members.groupby(["problem", *others], dropna=False, sort=False):
        curve = error[group.index].groupby(group[capacity]).mean()
        descent = double_descent(curve.index, curve, margin, window=1, roughness=0)
        if descent is not None:
            place = np.sign(group[capacity].astype(float) - descent.peak).astype(int) + 1
            sides[group.index] = np.array(SIDES, dtype=object)[place]
    return (capacity, sides) if sides.notna().any() else None
