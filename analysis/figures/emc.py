"""Figure of effective model complexity (EMC) against capacity (arXiv 1912.02292)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from analysis.errors import AnalysisError, unknown
from analysis.figures import style
from analysis.figures.captions import joined, seeds, unreached
from analysis.figures.lines import MOST_TICKS, line_colours
from analysis.figures.names import hues
from analysis.figures.spread import by_hue
from analysis.statistics.emc import EPSILON, SIZE, effective_model_complexity
from analysis.tables.cells import aggregate, check_axis, levels
from analysis.words import AXES, CAPACITY, setting, value_labels

LOG_SPAN = 4
"""The axis of capacity is logarithmic if the largest value is at least this many times the smallest."""
APART = 2.5
"""Horizontal offset between lines, in typographic points, which keeps their bars from overlapping."""
ENDS = {"value": "_", "at least": "^", "below": "v"}
"""The marker at the end of a bar, by status."""


def emc_plot(
    points: pd.DataFrame,
    x: str = "width",
    hue: str | None = None,
    *,
    epsilon: float = EPSILON,
    note: str = "",
    ax: Axes | None = None,
) -> style.Picture | Axes:
    """Draw EMC = max {n : mean training error on n examples <= epsilon} against the capacity `x`.

    The error is on the labels as given, averaged over seeds that finished (Nakkiran et al. 2019, arXiv 1912.02292). A
    dot is at the largest training-set size that was fitted. A bar extends to the next size tried, which was not fitted,
    so EMC lies in between. An arrow up means that the largest size was fitted, so EMC is at least this size. An arrow
    down means that not even the smallest size was fitted. A marker is open if epsilon lies inside the 95 % t interval
    of the error at either end of the bar. Faint lines mark the sizes with data. A cross at the bottom marks a capacity
    without data. Points whose `x` or `dataset_size` is unset are not drawn but are counted in the caption.

    Args:
        points: One row per point.
        x: One of `CAPACITY`.
        hue: One of `names.hues()`; one line is drawn per value.
        epsilon: The training error up to which a training set counts as fitted, in 0..1.
        note: The first sentence of the caption.
        ax: The caller's axes to draw into, in the caller's style; None to draw a new picture.

    Raises:
        AnalysisError: `x` or `hue` is invalid, no point has an `x` and a `dataset_size`, epsilon is outside 0..1, there
            are more than 6 lines, or an error would average over anything but seeds.
    """
    _check(points, x, hue)
    placed = points[points[x].notna() & points[SIZE].notna()]
    if placed.empty:
        raise AnalysisError(x, f"{x}: unset here, or dataset_size is, in every point; valid are points that have both")
    # Drop the requested size and the resulting width, which describe the same network as `parameters`.
    known = placed.drop(columns=["parameter_count", "width"], errors="ignore") if x == "parameters" else placed
    keys = [x, *([hue] if hue else [])]
    errors = aggregate(known, [*keys, SIZE], "train_error")
    complexities = _complexities(known, errors, keys, epsilon)
    groups = by_hue(complexities, hue)
    sizes = sorted(errors.loc[errors["status"] == "value", SIZE].unique()) or levels(known, SIZE)
    with style.panels(ax, 1, 1, (3.2, 2.2), (0.5, 0.3)) as (figure, axes):
        panel = axes[0, 0]
        reach = _scale(panel, levels(known, x), [float(size) for size in sizes], x)
        colours = line_colours([value for value, _ in groups])
        for index, ((_, part), colour) in enumerate(zip(groups, colours, strict=True)):
            aside = APART * (index - (len(groups) - 1) / 2)
            _line(panel, part, x, reach, colour, ScaledTranslation(aside / 72, 0, panel.figure.dpi_scale_trans))
        panel.set_xlabel(AXES[x].label)
        panel.set_ylabel(style.fitted("effective model complexity (training examples)", 2.0))
        handles: list[Any] = [
            Line2D([], [], color=c, marker="o", markersize=3.5, label=setting(hue, value))
            for (value, _), c in zip(groups, colours, strict=True) if hue
        ]  # fmt: skip
        heading = f"effective model complexity against {AXES[x].words}"
        return style.complete(
            ax, figure, heading, joined(note, *_caption(points, errors, complexities, x, epsilon)),
            _alt(groups, x, hue, heading), [*handles, *_handles(panel, single=hue is None)],
        )  # fmt: skip


def _check(points: pd.DataFrame, x: str, hue: str | None) -> None:
    if x not in CAPACITY:
        raise unknown("x", x, CAPACITY)
    if hue is not None and hue not in hues():
        raise unknown("hue", hue, hues())
    for key, name in (("x", x), (SIZE, SIZE), *([("hue", hue)] if hue else [])):
        check_axis(points, key, name)


def _complexities(points: pd.DataFrame, errors: pd.DataFrame, keys: list[str], epsilon: float) -> pd.DataFrame:
    """Compute the EMC per value of x and hue, ascending.

    Args:
        points: One row per point.
        errors: The training error of every cell.
        keys: x, and hue if given.
        epsilon: See `emc_plot`.

    Returns:
        A table with the keys, the columns of `effective_model_complexity`, and `unsure`: whether epsilon lies inside
        the interval of the error at `emc` or at `next`.
    """
    # Other fields that vary, such as a batch size per number of examples, must not split a line in two.
    slim = points[[*keys, SIZE, "seed", "outcome", "train_accuracy"]]
    # The actual number of parameters is not a field, so it is passed under the name of the requested number.
    complexities = effective_model_complexity(slim.rename(columns={"parameters": "parameter_count"}), epsilon)
    complexities = complexities.rename(columns={"parameter_count": keys[0]})
    complexities = complexities.assign(**{key: slim[key].iloc[0] for key in keys if key not in complexities})
    above = errors[[*keys, SIZE, "low"]].rename(columns={SIZE: "next", "low": "low_next"}).astype({"next": float})
    complexities = complexities.merge(above, how="left", on=[*keys, "next"])
    unsure = (complexities["high"] > epsilon) | (complexities.pop("low_next") <= epsilon)
    return complexities.assign(unsure=unsure).sort_values(keys[0], ignore_index=True)


def _scale(ax: Axes, at: list[Any], sizes: list[float], x: str) -> float:
    """Put ticks at the capacities and at the training-set sizes, and faint lines at the training-set sizes.

    Returns:
        The length of an arrow, as a factor on the logarithmic axis of sizes.
    """
    if at[0] > 0 and at[-1] >= LOG_SPAN * at[0]:
        ax.set_xscale("log")
        room = (at[-1] / at[0]) ** 0.05
        ax.set_xlim(at[0] / room, at[-1] * room)
    else:
        room = 0.05 * (at[-1] - at[0]) or 1
        ax.set_xlim(at[0] - room, at[-1] + room)
    ax.set_yscale("log")
    pad = max(1.5, (sizes[-1] / sizes[0]) ** 0.15)
    ax.set_ylim(sizes[0] / pad, sizes[-1] * pad)
    for values, field, axis in ((at, x, ax.xaxis), (sizes, SIZE, ax.yaxis)):
        shown = values[:: -(-len(values) // MOST_TICKS)]
        axis.set_ticks(shown, value_labels(field, shown))
    ax.minorticks_off()
    for size in sizes:
        ax.axhline(size, color="#dddddd", linewidth=0.6, zorder=0.5, label="tried")
    return float(np.sqrt(pad))


def _line(ax: Axes, part: pd.DataFrame, x: str, reach: float, colour: Any, aside: ScaledTranslation) -> None:
    moved: dict[str, Any] = {"color": colour, "transform": ax.transData + aside}
    at, emc, after = (part[name].to_numpy(dtype=float) for name in (x, "emc", "next"))
    unsure = part["unsure"].to_numpy()
    ax.plot(at, emc, linewidth=0.9, label="line", **moved)
    starts = np.where(part["status"] == "below", after, emc)
    ends = {"value": after, "at least": emc * reach, "below": after / reach}
    for status, marker in ENDS.items():
        for one in np.flatnonzero(part["status"] == status):
            bar = [starts[one], ends[status][one]]
            ax.plot([at[one]] * 2, bar, linewidth=1.8, alpha=0.55, solid_capstyle="butt", label="bar", **moved)
            face = "white" if unsure[one] and status == "below" else colour
            ax.plot(at[one], bar[1], marker, markersize=4.5, markerfacecolor=face, label=status, **moved)
    for chosen, face, label in ((~unsure, colour, "EMC"), (unsure, "white", "unsure")):
        shown = chosen & np.isfinite(emc)
        if shown.any():
            ax.plot(at[shown], emc[shown], "o", markersize=4, markerfacecolor=face, label=label, zorder=3, **moved)
    empty = at[(part["status"] == "missing").to_numpy()]
    if len(empty):
        foot = {**moved, "transform": ax.get_xaxis_transform() + aside}
        ax.plot(empty, [0.03] * len(empty), "x", markersize=4, label="no data", **foot)


def _handles(ax: Axes, single: bool) -> list[Line2D]:
    """Return the legend entries of the markers that occur in the picture."""
    words = {
        "EMC": ("o", "largest fitted"),
        "unsure": ("o", "ε inside interval"),
        "value": ("_", "next, not fitted"),
        "at least": ("^", "at least this"),
        "below": ("v", "less than this"),
        "no data": ("x", "no data"),
    }
    there = {line.get_label() for line in ax.lines}
    colour = ax.lines[-1].get_color() if single else style.FAINT
    return [
        Line2D([], [], color=colour, linestyle="", marker=marker, markersize=4.5, label=text,
               markerfacecolor="white" if name == "unsure" else colour)
        for name, (marker, text) in words.items() if name in there
    ]  # fmt: skip


def _caption(points: pd.DataFrame, errors: pd.DataFrame, table: pd.DataFrame, x: str, epsilon: float) -> list[str]:
    status, seeded = set(table["status"]), int(errors["n"].max())
    meanings = {
        "value": "bar: EMC lies between the dot and the next number tried, a step of the grid and no interval",
        "at least": "arrow up: the largest number tried is fitted, EMC is at least that",
        "below": "arrow down: not even the smallest is fitted, EMC is less",
    }
    unsized, unplaced = int(points[SIZE].isna().sum()), int((points[x].isna() & points[SIZE].notna()).sum())
    used = errors[errors[["n", "n_lost", "n_missing"]].sum(axis=1) > 0]
    return [
        "EMC: the largest number of training examples with a mean training error, labels as given, of at most "
        f"ε = {100 * epsilon:g} %; {seeds(errors)}{' a mean' if seeded > 1 else ', so no interval' if seeded else ''}",
        *[text for name, text in meanings.items() if name in status],
        "open: ε is inside the 95 % t interval of that error, at the dot or the next number" if table["unsure"].any()
        else "",
        "faint lines: the numbers tried",
        unreached(used, "train_error"),
        _undrawn(unplaced, f"without {AXES[x].words}"),
        _undrawn(unsized, "of all training examples, however many they are,"),
    ]  # fmt: skip


def _undrawn(count: int, what: str) -> str:
    return f"{count} point{'s' if count > 1 else ''} {what} not drawn" if count else ""


def _alt(groups: list[tuple[Any, pd.DataFrame]], x: str, hue: str | None, heading: str) -> str:
    """Describe where each line starts and ends."""
    sentences = [heading + (f", a line for each {AXES[hue].words}" if hue else "")]
    for value, part in groups:
        ends = part.iloc[[0, -1]] if len(part) > 1 else part
        where = ", ".join(f"{_range(row)} at {setting(x, row[x])}" for _, row in ends.iterrows())
        sentences.append((f"{setting(hue, value)}: " if hue else "") + where)
    return joined(*sentences)


def _range(row: pd.Series) -> str:
    return {
        "value": f"{row['emc']:,.0f} to {row['next']:,.0f}",
        "at least": f"at least {row['emc']:,.0f}",
        "below": f"below {row['next']:,.0f}",
        "missing": "no data",
    }[row["status"]]
