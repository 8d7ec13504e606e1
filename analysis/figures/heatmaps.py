"""Heatmaps of a metric over any two fields. A cell without data is hatched and never shows a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon

from analysis.errors import unknown
from analysis.figures import style
from analysis.figures.captions import alt_map, averaged, joined, unreached
from analysis.figures.map_panels import (
    SMALLEST_TEXT,
    Places,
    draw_panels,
    facet_panels,
    letter_size,
    mark_hole,
    panel_size,
)
from analysis.figures.names import ANNOTATIONS, Annotation
from analysis.tables.cells import cells, check_metric, facet_names, levels
from analysis.words import AXES, METRICS, Metric, short, short_half

Annotate = Annotation | None


def heatmap(
    points: pd.DataFrame,
    x: str,
    y: str,
    value: str,
    *,
    facet: Sequence[str] | str | None = None,
    epoch: int | None = None,
    curves: pd.DataFrame | None = None,
    annotate: Annotate = "auto",
    chance: float | None = None,
    limits: tuple[float, float] | None = None,
    note: str = "",
    ax: Axes | None = None,
) -> style.Picture | Axes:
    """Draw the mean over seeds of `value` in every cell of x and y, with y increasing upwards.

    The colour scale of shares is fixed to 0..100 %, so that pictures can be compared. Losses and bits have one scale
    for all panels, which is logarithmic if the values span more than a factor of 100. A cell in which some seeds
    diverged, stopped early or failed has a marked corner, and a cell without any data is hatched.

    Args:
        points: One row per point.
        x: The field on the x axis, or `epoch`.
        y: The field on the y axis, or `epoch`.
        value: The metric.
        facet: At most two fields; one panel is drawn per value.
        epoch: The epoch to draw, read from `curves`; by default, the last epoch of each point.
        curves: One row per training and evaluated epoch.
        annotate: The number to write in each cell; `auto` writes the mean if it is legible.
        chance: The accuracy of guessing (0..1), marked on the colour bar if the metric has a chance level.
        limits: Other ends of the colour scale, in the drawn unit, for metrics that use little of the default scale.
            Values beyond an end have the colour of that end.
        note: The first sentence of the caption.
        ax: The caller's axes to draw into, in the caller's style, without facets; None to draw a new picture.

    Raises:
        AnalysisError: A field or metric is unknown, or a cell would average over anything but seeds.
    """
    if annotate is not None and annotate not in ANNOTATIONS:
        raise unknown("annotate", annotate, ANNOTATIONS)
    check_metric(points, "value", value)
    facets = facet_names(facet)
    table = cells(points, x, y, value, facets, epoch=epoch, curves=curves)
    metric, shape = METRICS[value], (len(levels(table, y)), len(levels(table, x)))
    columns, rows, panels = facet_panels(table, facets)
    with style.panels(ax, columns, rows, panel_size(shape, columns), (1.15, 0.5)) as (figure, axes):
        width, height = style.inches(axes[0, 0])
        norm = Normalize(*limits) if limits else _norm(table, metric)
        size = _text_size(width / columns, shape, metric, annotate)
        draw_panels(axes, table, [x, y, *facets], panels, lambda panel, part, places: _draw(
            panel, part, places, shape, (metric, norm), (annotate, size)
        ))  # fmt: skip
        beyond = _beyond(table, metric, limits)
        bar = figure.colorbar(ScalarMappable(norm, metric.colormap), ax=axes, pad=0.02, aspect=22, extend=beyond)
        bar.set_label(style.fitted(metric.label, height - 0.6))
        bar.outline.set_visible(False)
        if chance is not None and metric.chance and (limits is None or limits[0] <= 100 * chance <= limits[1]):
            level = chance * metric.scale
            bar.ax.plot([0, 1.35], [level, level], color=style.TEXT, linewidth=0.9, clip_on=False)
            bar.ax.text(1.5, level, "chance", fontsize=5.5, va="center", transform=bar.ax.get_yaxis_transform())
        when = f"after {epoch} epochs" if epoch is not None else ""
        marked = _is_partial(table).sum()
        caption = joined(note, averaged(table, metric, when), unreached(table, value))
        handles: list[Artist] = [style.hole(status) for status in style.HOLES if (table["status"] == status).any()]
        if marked:
            handles.append(Line2D([], [], marker="^", linestyle="", color=style.LOST, label="some seeds lost"))
        heading = f"{metric.words}: {AXES[y].words} against {AXES[x].words}"
        return style.complete(ax, figure, heading, caption, alt_map(table, metric, x, y, facets), handles)


def _norm(table: pd.DataFrame, metric: Metric) -> Normalize:
    if metric.limits is not None:
        return Normalize(*metric.limits)
    means = table["mean"].dropna() * metric.scale
    low, high = (means.min(), means.max()) if len(means) else (0.0, 1.0)
    if low > 0 and high / low > 100:
        return LogNorm(low, high)
    return Normalize(min(low, 0.0), high if high > 0 else 1.0)


def _beyond(
    table: pd.DataFrame, metric: Metric, limits: tuple[float, float] | None
) -> Literal["neither", "min", "max", "both"]:
    """Return the ends of the colour bar beyond which there are values."""
    if limits is None:
        return "neither"
    drawn = table["mean"] * metric.scale
    below, above = bool((drawn < limits[0]).any()), bool((drawn > limits[1]).any())
    return "both" if below and above else "min" if below else "max" if above else "neither"


def _text_size(panel: float, shape: tuple[int, int], metric: Metric, annotate: Annotate) -> float:
    """Return the font size of the numbers in the cells; 0 if `annotate` is `auto` and no legible size fits."""
    if annotate is None:
        return 0.0
    fits = letter_size(panel, shape, 3.4 if metric.unit == "%" or annotate == "n" else 4.6)
    return min(7.0, fits) if fits >= SMALLEST_TEXT else 0.0 if annotate == "auto" else max(fits, 3.0)


def _draw(
    ax: Axes,
    part: pd.DataFrame,
    places: Places,
    shape: tuple[int, int],
    scale: tuple[Metric, Normalize],
    text: tuple[Annotate, float],
) -> None:
    metric, norm = scale
    annotate, size = text
    x, y = places

    def grid(values: np.ndarray, empty: object) -> np.ndarray:
        placed = np.full(shape, empty, dtype=object if empty == "" else float)
        placed[y, x] = values
        return placed

    means = grid(part["mean"].to_numpy() * metric.scale, np.nan)
    sns.heatmap(
        means, mask=np.isnan(means), norm=norm, vmin=norm.vmin, vmax=norm.vmax, cmap=metric.colormap, cbar=False, ax=ax,
        annot=grid(_numbers(part, metric, annotate), "") if annotate and size else None, fmt="",
        annot_kws={"fontsize": size, "linespacing": 0.95}, xticklabels=False, yticklabels=False,
        linewidths=0.4, linecolor="white",
    )  # fmt: skip
    ax.set_ylim(0, shape[0])
    for column, row, status, partial in zip(x, y, part["status"], _is_partial(part), strict=True):
        if status != "value":
            mark_hole(ax, column, row, status)
        elif partial:
            corner = [(column + 0.98, row + 0.98), (column + 0.74, row + 0.98), (column + 0.98, row + 0.74)]
            ax.add_patch(Polygon(corner, facecolor=style.LOST, edgecolor="white", linewidth=0.4, label="partial"))


def _is_partial(table: pd.DataFrame) -> pd.Series:
    return (table["status"] == "value") & (table["n_lost"] > 0)


def _numbers(part: pd.DataFrame, metric: Metric, annotate: Annotate) -> np.ndarray:
    if annotate == "n":
        return np.asarray(part["n"].astype(str), dtype=object)
    means = (part["mean"] * metric.scale).map(lambda v: "" if np.isnan(v) else short(v, metric))
    if annotate != "interval":
        return np.asarray(means, dtype=object)
    half = (part["high"] - part["mean"]) * metric.scale
    written = half.map(lambda v: short_half(v, metric))
    return np.asarray(means + ("\n±" + written).where(half.notna(), ""), dtype=object)
