"""Line plots of metrics against a numeric field, with one line per value of another field (e.g. double descent)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.errors import AnalysisError
from analysis.figures import style
from analysis.figures.captions import averaged, joined, names, number, unreached
from analysis.tables.cells import aggregate, check_axis, check_metric, levels, metric_values, one_facet, over_epochs
from analysis.words import AXES, METRICS, setting, value_labels

DASHES: tuple[Literal["-", "--", "-.", ":"], ...] = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D")
MOST_LINES = 10
MOST_TICKS = 9
SMALL = 20
"""Shares that span fewer percentage points than this get a fitted axis. All others have an axis from 0 to 100, so that
figures can be compared."""
MOST_MARKERS = 25
LOG_SPAN = 20
"""The x axis is logarithmic if its largest positive value is more than this many times the smallest."""


def line_plot(
    points: pd.DataFrame,
    x: str,
    y: Sequence[str] | str,
    hue: str | None = None,
    facet: Sequence[str] | str | None = None,
    *,
    epoch: int | None = None,
    curves: pd.DataFrame | None = None,
    chance: float | None = None,
    note: str = "",
    ax: Axes | None = None,
) -> style.Picture | Axes:
    """Draw the mean over seeds of the metrics `y` against `x`, with bands for the 95 % t interval.

    Each metric has its own dash and marker. Metrics with another unit are drawn in separate panels below. A cell
    without data breaks the line and is marked by a cross at the bottom. Points whose `x` is unset are not drawn but are
    counted in the caption.

    Args:
        points: One row per point.
        x: A numeric field.
        y: One or more metrics.
        hue: A field; one colour is used per value.
        facet: A field; one column of panels is drawn per value.
        epoch: See `heatmap`.
        curves: See `heatmap`.
        chance: The accuracy of guessing (0..1), drawn as a dotted line.
        note: The first sentence of the caption.
        ax: The caller's axes to draw into, in the caller's style, without facets and for metrics of one unit; None to
            draw a new picture.

    Raises:
        AnalysisError: A field or metric is unknown, `x` is not numeric, there are more than 10 values of `hue` or 4
            metrics, or a cell would average over anything but seeds.
    """
    metrics, facet = [y] if isinstance(y, str) else list(y), one_facet(facet, "lines")
    if not 1 <= len(metrics) <= len(DASHES):
        raise AnalysisError("y", f"y: given {len(metrics)} metrics; valid are 1 to {len(DASHES)}")
    for metric in metrics:
        check_metric(points, "y", metric)
    named = (("x", x), ("hue", hue), ("facet", facet))
    keys = [check_axis(points, key, name) for key, name in named if name]
    if len(set(keys)) < len(keys):
        raise AnalysisError("hue", f"hue: given {', '.join(keys)} for x, hue and facet; all must differ")
    if epoch is not None or "epoch" in keys:
        points = over_epochs(points, curves, epoch)
    unplaced = int(points[x].isna().sum())
    points = points[points[x].notna()]
    if points.empty or not pd.api.types.is_number(levels(points, x)[0]):
        problem = f"{AXES[x].words} without a number in this table"
        raise AnalysisError("x", f"x: given {x}, {problem}; valid is a field that varies and holds numbers")
    if "epoch" in keys:
        # On-demand measures are computed at few of the evaluated epochs, so the other epochs are not gaps.
        taken = pd.concat([metric_values(points, metric) for metric in metrics], axis=1).notna().any(axis=1)
        points = points[points["epoch"].isin(points.loc[taken, "epoch"])] if taken.any() else points
    tables = {metric: aggregate(points, keys, metric) for metric in metrics}
    hues = levels(points, hue) if hue else [None]
    if len(hues) > MOST_LINES:
        raise AnalysisError("hue", f"hue: given {len(hues)} values of {hue}; valid are at most {MOST_LINES}")
    facets = levels(points, facet) if facet else [None]
    units = list(dict.fromkeys(METRICS[metric].unit for metric in metrics))
    margin = 1.3 if hue else 0.6
    size = (min(2.9, (style.PAGE - margin) / len(facets)), 2.0)
    with style.panels(ax, len(facets), len(units), size, (margin, 0.3), by_row=True) as (figure, axes):
        colours = line_colours(hues)
        for column, level in enumerate(facets):
            for row, unit in enumerate(units):
                panel = axes[row, column]
                of_unit = [metric for metric in metrics if METRICS[metric].unit == unit]
                for metric in of_unit:
                    part = _at(tables[metric], facet, level)
                    dash, marker = DASHES[metrics.index(metric)], MARKERS[metrics.index(metric)]
                    for value, colour, thick in zip(hues, colours, _widths(hues), strict=True):
                        _line(panel, _at(part, hue, value), x, metric, (colour, dash, marker, thick))
                _scale(panel, levels(points, x), of_unit, chance)
                if column == 0:
                    label = METRICS[of_unit[0]].label if len(of_unit) == 1 else _shared_label(unit)
                    panel.set_ylabel(style.fitted(label, 1.7))
            if facet:
                axes[0, column].set_title(setting(facet, level), pad=4)
            axes[-1, column].set_xlabel(AXES[x].label)
        table, first = tables[metrics[0]], METRICS[metrics[0]]
        caption = joined(
            note,
            averaged(table, first, f"after {epoch} epochs" if epoch is not None else ""),
            unreached(table, metrics[0]),
            f"{unplaced} point{'s' if unplaced > 1 else ''} without {AXES[x].words} not drawn" if unplaced else "",
        )
        holes = any((part["status"] != "value").any() for part in tables.values())
        handles = _handles(metrics, holes, _is_marked(axes))
        if hue:
            labels = value_labels(hue, hues) if ax is None else [setting(hue, value) for value in hues]
            swatches = [Line2D([], [], color=c, label=text) for c, text in zip(colours, labels, strict=True)]
            if ax is None:
                title = AXES[hue].label.replace(" (", "\n(")
                figure.legend(handles=swatches, title=title, title_fontsize=7, loc="outside right upper")
            else:
                handles = [*swatches, *handles]
        heading = f"{names(metrics)} against {AXES[x].words}"
        return style.complete(ax, figure, heading, caption, _alt(tables, x, heading, hue), handles)


def _shared_label(unit: str) -> str:
    return {"%": "examples (%)", "nats": "loss (nats)"}.get(unit, f"({unit})")


def _at(table: pd.DataFrame, field: str | None, value: object) -> pd.DataFrame:
    if field is None:
        return table
    return table[table[field].isna() if pd.isna(value) else table[field] == value]


def line_colours(hues: Sequence[object]) -> list[tuple[float, float, float]]:
    """Return one colour per value: from dark to bright for numbers, distinct and colour-blind safe for names."""
    if len(hues) == 1:
        return [(0.0, 0.447, 0.698)]
    if all(pd.api.types.is_number(value) and value == value for value in hues):
        # Leave out the brightest end of the colormap, which would be invisible on white.
        return list(sns.color_palette("viridis", as_cmap=True)(np.linspace(0, 0.85, len(hues)))[:, :3])
    return list(sns.color_palette("colorblind", len(hues)))


def _widths(hues: Sequence[object]) -> list[float]:
    """Return line widths. Lines for names may coincide, so earlier lines are thicker and visible behind later ones."""
    if len(hues) == 1 or all(pd.api.types.is_number(value) for value in hues):
        return [1.4] * len(hues)
    return [1.4 + 0.5 * (len(hues) - 1 - index) for index in range(len(hues))]


def _line(ax: Axes, part: pd.DataFrame, x: str, metric: str, look: tuple[Any, Any, str, float]) -> None:
    colour, dash, marker, thick = look
    scale = METRICS[metric].scale
    at, mean = part[x].astype(float), scale * part["mean"]
    size = 3 + (thick - 1.4) / 2 if len(at) <= MOST_MARKERS else 0
    ax.plot(at, mean, color=colour, linestyle=dash, marker=marker, markersize=size, linewidth=thick, label=metric)
    ax.fill_between(at, scale * part["low"], scale * part["high"], color=colour, alpha=0.18, linewidth=0)
    empty = at[part["status"] != "value"]
    if len(empty):
        foot = ax.get_xaxis_transform()
        ax.plot(empty, [0.03] * len(empty), "x", markersize=4, color=colour, transform=foot, label="no data")


def _scale(ax: Axes, at: Sequence[float], metrics: Sequence[str], chance: float | None) -> None:
    if at[0] > 0 and at[-1] / at[0] > LOG_SPAN:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(lambda value, _: value_labels("parameters", [value])[0])
        if len(at) <= MOST_TICKS:
            ax.set_xticks(list(at))
            ax.minorticks_off()
    if METRICS[metrics[0]].unit == "%":
        low, high = ax.get_ylim()
        if high - low >= SMALL or not any(np.isfinite(line.get_ydata()).any() for line in ax.lines):
            low, high = -2, 102
            ax.set_yticks(range(0, 101, 20))
        ax.set_ylim(max(low, -2), min(high, 102))
        guessing = chance is not None and any(METRICS[metric].chance for metric in metrics)
        if chance is not None and guessing and low <= 100 * chance <= high:
            ax.axhline(100 * chance, color=style.FAINT, linestyle=":", linewidth=0.8, label="chance")
    style.grid(ax, "y")


def _is_marked(axes: np.ndarray) -> bool:
    return any(line.get_label() == "chance" for ax in axes.flat for line in ax.lines)


def _handles(metrics: Sequence[str], holes: bool, chance: bool) -> list[Artist]:
    handles: list[Artist] = []
    if len(metrics) > 1:
        looks = zip(metrics, DASHES, MARKERS, strict=False)
        handles += [
            Line2D([], [], color=style.TEXT, linestyle=dash, marker=mark, markersize=3, label=METRICS[metric].words)
            for metric, dash, mark in looks
        ]
    if holes:
        handles.append(Line2D([], [], color=style.FAINT, marker="x", markersize=4, linestyle="", label="no data"))
    if chance:
        handles.append(Line2D([], [], color=style.FAINT, linestyle=":", linewidth=0.8, label="chance"))
    return handles


def _alt(tables: Mapping[str, pd.DataFrame], x: str, heading: str, hue: str | None) -> str:
    parts = [f"line plot of {heading}" + (f", a line for each {AXES[hue].words}" if hue else "")]
    for metric, table in tables.items():
        have = table[table["status"] == "value"]
        about = METRICS[metric]
        if have.empty:
            parts.append(f"{about.words}: no data")
            continue
        top = have.loc[have["mean"].idxmax()]
        where = setting(x, top[x]) + (f", {setting(hue, top[hue])}" if hue else "")
        parts.append(f"{about.words} is highest at {where}: {number(top['mean'], about)}")
    return joined(*parts)
