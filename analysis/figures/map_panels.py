"""The panels of a map: one cell per combination of the values of two fields, and one panel per value of a facet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from analysis.figures import style
from analysis.tables.cells import levels
from analysis.words import AXES, setting, value_labels

SMALLEST_TEXT = 5.0
MOST_TICKS = 16

Places = tuple[np.ndarray, np.ndarray]
"""The columns and the rows of the cells of a panel, as two arrays."""


def facet_panels(table: pd.DataFrame, facets: Sequence[str]) -> tuple[int, int, list[tuple[str, pd.DataFrame]]]:
    """Arrange the panels of a figure. The first facet varies across the columns, the second down the rows.

    Returns:
        The number of columns, the number of rows, and the title and cells of each panel.
    """
    if not facets:
        return 1, 1, [("", table)]
    codes = [pd.factorize(table[name], sort=True, use_na_sentinel=False)[0] for name in reversed(facets)]
    parts = [part for _, part in table.groupby(codes)]
    across = [setting(facets[0], part[facets[0]].iloc[0]) for part in parts]
    if len(facets) == 1:
        return *style.wrapped(len(parts)), list(zip(across, parts, strict=True))
    columns = len(levels(table, facets[0]))
    # The second facet is named once per row, beside the axis.
    titles = [title if index < columns else "" for index, title in enumerate(across)]
    return columns, len(parts) // columns, list(zip(titles, parts, strict=True))


def panel_size(shape: tuple[int, int], columns: int) -> tuple[float, float]:
    """Return the width and height of a panel in inches, so that it fits the page and its cells have a legible size."""
    height, width = shape
    room = (style.PAGE - 1.15) / columns
    across = float(np.clip(0.42 * width, min(2.4, room) if columns == 1 else min(1.2, room), room))
    return across, float(np.clip(min(0.34, 0.85 * across / width) * height, 0.9 if columns > 1 else 1.3, 4.5)) + (
        0.25 if columns > 1 else 0.0
    )


def letter_size(panel: float, shape: tuple[int, int], letters: float) -> float:
    """Return the font size at which `letters` letters fill a cell's width, if the panel is `panel` inches wide."""
    return (panel - 0.5) * 72 / shape[1] / letters / 0.62


def draw_panels(
    axes: np.ndarray,
    table: pd.DataFrame,
    keys: Sequence[str],
    panels: Sequence[tuple[str, pd.DataFrame]],
    draw: Callable[[Axes, pd.DataFrame, Places], None],
) -> None:
    """Draw and label all panels of a map.

    Args:
        axes: The axes of the figure, [rows, columns].
        table: The cells of all panels, with every combination of the keys' values.
        keys: x, y and the facets.
        panels: The title and the cells of each panel, from `facet_panels`.
        draw: A function that draws the cells of one panel at the given places.
    """
    for panel in axes.flat[len(panels) :]:
        style.blank(panel)
    for panel, (title, part) in zip(axes.flat, panels, strict=False):
        x, y = (pd.factorize(part[name], sort=True, use_na_sentinel=False)[0] for name in keys[:2])
        draw(panel, part, (x, y))
        if title:
            panel.set_title(title, pad=4)
    label_axes(axes, table, keys[0], keys[1], len(panels))
    if len(keys) == 4:
        for panel, (_, part) in zip(axes[:, 0], panels[:: axes.shape[1]], strict=True):
            panel.set_ylabel(f"{setting(keys[3], part[keys[3]].iloc[0])}\n\n{panel.get_ylabel()}")


def label_axes(axes: np.ndarray, table: pd.DataFrame, x: str, y: str, panels: int) -> None:
    """Label the outer panels with the fields x and y, and put at most 16 ticks on each axis."""
    columns = axes.shape[1]
    width, height = style.inches(axes[0, 0]) / (columns, axes.shape[0])
    for name, along in ((x, "x"), (y, "y")):
        labels = value_labels(name, levels(table, name))
        step = -(-len(labels) // MOST_TICKS)
        places = np.arange(0, len(labels), step)
        for index, ax in enumerate(axes.flat[:panels]):
            axis = ax.xaxis if along == "x" else ax.yaxis
            axis.set_ticks(places + 0.5, [labels[i] for i in places])
            axis.set_tick_params(length=0)
            outer = index + columns >= panels if along == "x" else index % columns == 0
            ax.tick_params(**{"labelbottom" if along == "x" else "labelleft": outer})
            axis.set_label_text(
                style.fitted(AXES[name].label, (width if along == "x" else height) - 0.5) if outer else ""
            )
            if along == "x" and max(map(len, labels)) * len(places) > 11 * width:
                ax.tick_params(axis="x", labelrotation=45)


def mark_hole(ax: Axes, column: int, row: int, status: str) -> None:
    """Mark a cell without data by the hatch of its status instead of a colour."""
    cell = Rectangle((column + 0.015, row + 0.015), 0.97, 0.97)
    cell.update_from(style.hole(status))
    cell.set_transform(ax.transData)
    cell.set_label(status)
    ax.add_patch(cell)
