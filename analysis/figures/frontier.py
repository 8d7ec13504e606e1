"""Figure of how a regularizer trades one measure for another (Arpit et al. 2017, figure 10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.errors import AnalysisError
from analysis.figures import style
from analysis.figures.captions import joined, seeds, unreached
from analysis.tables.cells import LOST, aggregate, check_axis, check_metric, levels, select
from analysis.words import AXES, METRICS, Metric, settings, value_labels

MARKERS = ("o", "s", "^", "D", "v", "P")
NEAR = 0.015
"""A marker gets no label if both of its shares differ by less than this from those at the start of the line."""


def frontier_plot(
    points: pd.DataFrame,
    x: str,
    y: str,
    over: Sequence[str],
    *,
    x_where: Mapping[str, object] | None = None,
    y_where: Mapping[str, object] | None = None,
    note: str = "",
    ax: Axes | None = None,
) -> style.Picture | Axes:
    """Draw the metric `y` at `y_where` against the metric `x` at `x_where`, with one line per field of `over`.

    Each value of a field is a marker, with the value written beside it. Along the line of a field, the other fields of
    `over` are fixed at their lowest value. The lines start at a common ring, where all fields have their lowest value.
    Bars are 95 % t intervals of the means over seeds. In figure 10 of Arpit et al. 2017 (arXiv 1706.05394), x is the
    final training accuracy on random labels, y is the best validation accuracy on clean labels, and each regularizer
    has a line.

    Args:
        points: One row per point.
        x: The metric on the x axis.
        y: The metric on the y axis.
        over: The fields; one line is drawn per field.
        x_where: The settings of the points that give `x`.
        y_where: The settings of the points that give `y`.
        note: The first sentence of the caption.
        ax: The caller's axes to draw into, in the caller's style; None to draw a new picture.

    Raises:
        AnalysisError: A field or metric is unknown, `over` has no field or more than 6, or a marker would average over
            anything but seeds.
    """
    if not 1 <= len(over) <= len(MARKERS):
        raise AnalysisError("over", f"over: given {len(over)} fields; valid are 1 to {len(MARKERS)}")
    for key, metric in (("x", x), ("y", y)):
        check_metric(points, key, metric)
    for field in over:
        check_axis(points, "over", field)
    sides = {x: select(points, x_where or {}), y: select(points, y_where or {})}
    if x == y and (x_where or {}) == (y_where or {}):
        raise AnalysisError("y", f"y: given {y}, which is x at the same settings; valid is another metric or y_where")
    tables = {field: _line(sides[x], sides[y], field, over, x, y) for field in over}
    about = METRICS[x], METRICS[y]
    with style.panels(ax, 1, 1, (3.4, 2.6), (0.5, 0.3)) as (figure, axes):
        panel = axes[0, 0]
        colours = sns.color_palette("colorblind", len(over))
        handles: list[Any] = []
        for (field, table), colour, marker in zip(tables.items(), colours, MARKERS, strict=False):
            _draw(panel, table, field, about, (colour, marker))
            handles.append(Line2D([], [], color=colour, marker=marker, markersize=4, label=AXES[field].label))
        start = next(iter(tables.values())).iloc[0]
        panel.plot(
            about[0].scale * start["mean_x"], about[1].scale * start["mean_y"], "o", markersize=8, fillstyle="none",
            color=style.TEXT, zorder=3, label="none",
        )  # fmt: skip
        handles.append(Line2D([], [], color=style.TEXT, marker="o", markersize=7, fillstyle="none", linestyle="",
                              label="without any"))  # fmt: skip
        panel.set_xlabel(style.fitted(_label(about[0], x_where), 3.0))
        panel.set_ylabel(style.fitted(_label(about[1], y_where), 2.4))
        style.grid(panel)
        panel.margins(0.07)
        counts = pd.concat([table[[f"n_{axis}"]].set_axis(["n"], axis=1) for table in tables.values() for axis in "xy"])
        lost = joined(
            *(unreached(_side(table, axis), name) for table in tables.values() for axis, name in (("x", x), ("y", y)))
        )
        caption = joined(
            note,
            f"mean over {seeds(counts)} a point, bars: 95 % t intervals; beside a point: its strength, the others "
            "off; not written in the ring",
            lost,
        )
        heading = f"{about[1].words} against {about[0].words}"
        return style.complete(ax, figure, heading, caption, _alt(tables, about, heading), handles)


def _line(
    of_x: pd.DataFrame, of_y: pd.DataFrame, field: str, over: Sequence[str], x: str, y: str
) -> pd.DataFrame:  # fmt: skip
    """Return one row per value of the field, with the columns of `aggregate` suffixed by _x and _y."""
    pair = []
    for rows, metric in ((of_x, x), (of_y, y)):
        others = {other: levels(rows, other)[0] for other in over if other != field}
        pair.append(aggregate(select(rows, others), [field], metric).set_index(field))
    table = pair[0].add_suffix("_x").join(pair[1].add_suffix("_y"), how="outer")
    for axis in "xy":
        table[f"n_{axis}"] = table[f"n_{axis}"].fillna(0).astype(int)
        table[f"status_{axis}"] = table[f"status_{axis}"].fillna("missing")
    return table.reset_index()


def _side(table: pd.DataFrame, axis: str) -> pd.DataFrame:
    names = (*(f"n_{outcome}" for outcome in LOST), "n_lost", "status")
    return pd.DataFrame({name: table[f"{name}_{axis}"].fillna(0 if name != "status" else "missing") for name in names})


def _draw(ax: Axes, table: pd.DataFrame, field: str, about: tuple[Metric, Metric], look: tuple[Any, str]) -> None:
    colour, marker = look
    scales = {axis: metric.scale for axis, metric in zip("xy", about, strict=True)}
    mean = {axis: scales[axis] * table[f"mean_{axis}"] for axis in "xy"}
    half = {axis: scales[axis] * (table[f"high_{axis}"] - table[f"mean_{axis}"]) for axis in "xy"}
    ax.errorbar(
        mean["x"], mean["y"], yerr=half["y"], xerr=half["x"], color=colour, marker=marker, markersize=3.5,
        elinewidth=0.8, linewidth=1.1, label=field,
    )  # fmt: skip
    labels = value_labels(field, list(table[field]))
    for index, label in enumerate(labels):
        if index and table[["mean_x", "mean_y"]].iloc[index].notna().all() and not _at_start(table, index):
            ax.annotate(
                label, (mean["x"].iloc[index], mean["y"].iloc[index]), xytext=(3, -8), textcoords="offset points",
                fontsize=6, color=colour,
            )  # fmt: skip


def _at_start(table: pd.DataFrame, index: int) -> bool:
    """Return whether a marker lies inside the ring, where there is no room for its value."""
    return all(abs(table[f"mean_{axis}"].iloc[index] - table[f"mean_{axis}"].iloc[0]) < NEAR for axis in "xy")


def _label(metric: Metric, where: Mapping[str, object] | None) -> str:
    at = [(name, value if isinstance(value, list | tuple) else [value]) for name, value in (where or {}).items()]
    fixed = ", ".join(settings(name, values) for name, values in at)
    return metric.label + (f", at {fixed}" if fixed else "")


def _alt(tables: Mapping[str, pd.DataFrame], about: tuple[Metric, Metric], heading: str) -> str:
    parts = []
    for field, table in tables.items():
        have = table.dropna(subset=["mean_x", "mean_y"])
        if len(have) < 2:
            parts.append(f"{AXES[field].words}: no line")
            continue
        first, last = have.iloc[0], have.iloc[-1]
        parts.append(
            f"{settings(field, [last[field]])}: {about[0].words} {about[0].scale * first['mean_x']:.3g} to "
            f"{about[0].scale * last['mean_x']:.3g}, {about[1].words} {about[1].scale * first['mean_y']:.3g} to "
            f"{about[1].scale * last['mean_y']:.3g}"
        )
    return joined(f"{heading}, a line for each of {', '.join(AXES[field].words for field in tables)}", *parts)
