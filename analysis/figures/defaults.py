"""Default figures of a study, chosen from the axes of its grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.kinds import FigureSpec
from analysis.tables.cells import levels, metric_values, varying

SIZES = ("parameter_count", "width")
NOISE = ("label_noise", "input_noise")
MAPPED = ("memorized_fraction", "test_accuracy", "train_accuracy")
MOST_FACETS = 4


def default_figures(points: pd.DataFrame, curves: pd.DataFrame) -> list[FigureSpec]:
    """Choose the figures of a study whose sweep file requests none.

    The figures are heatmaps of the memorized fraction and of test and training accuracy over the two longest numeric
    axes, with capacity on x; line plots of the errors against capacity; and learning curves by noise. With one numeric
    axis, line plots replace the heatmaps. Further axes become facets (at most two, with four values each). The
    remaining axes are fixed: `epochs` and capacity at their largest value, others at their first value.
    """
    if points.empty:
        return []
    axes = varying(points)
    numeric = sorted(
        (name for name in axes if all(pd.api.types.is_number(v) or pd.isna(v) for v in levels(points, name))),
        key=lambda name: (-points[name].nunique(dropna=False), _rank(name)),
    )
    have = [m for m in MAPPED if m in points and (metric_values(points, m).notna().any() or _unfinished(points))]
    figures: list[FigureSpec] = []
    if len(numeric) >= 2:
        x, y = _oriented(numeric[0], numeric[1])
        facet, where = _others(points, [name for name in axes if name not in (x, y)], 2)
        figures += [FigureSpec("heatmap", x=x, y=y, value=m, facet=facet, where=where) for m in have]
    capacity = next((name for name in SIZES if name in numeric), None)
    along = capacity if capacity and points[capacity].nunique() >= 3 else numeric[0] if len(numeric) == 1 else None
    if along:
        hue = next((name for name in [*NOISE, *numeric] if name in numeric and name != along), None)
        rest = [name for name in axes if name not in (along, hue)]
        facet, where = _others(points, rest, 1)
        where |= _thinned(points, hue, 7)
        shown = ("test_error", "train_error") if capacity == along else tuple(have)
        if shown:
            figures.append(FigureSpec("lines", x=along, y=shown, hue=hue, facet=facet, where=where))
    if not curves.empty:
        hue = next((name for name in [*NOISE, *numeric, *axes] if name in axes and name != "epochs"), None)
        _, where = _others(points, [name for name in axes if name != hue], 0)
        where |= _thinned(points, hue, 8)
        figures.append(FigureSpec("curves", hue=hue, where=where))
    return figures


def _unfinished(points: pd.DataFrame) -> bool:
    return not (points["outcome"] == "finished").any()


def _rank(name: str) -> int:
    order = [*SIZES, *NOISE, "dataset_size"]
    return order.index(name) if name in order else len(order)


def _oriented(one: str, other: str) -> tuple[str, str]:
    """Order two fields as (x, y). Capacity is preferred for x, then training length, then data; noise for y."""
    across = [*SIZES, "epochs", "dataset_size", "", *reversed(NOISE)]
    first, second = sorted((one, other), key=lambda name: across.index(name if name in across else ""))
    return first, second


def _others(points: pd.DataFrame, rest: Sequence[str], most: int) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Choose which axes in `rest` become facets, and the settings at which the remaining axes are fixed."""
    facet = [name for name in rest if name != "epochs"][:most]
    where: dict[str, Any] = {}
    for name in rest:
        values = levels(points, name)
        if name in facet:
            where |= _thinned(points, name, MOST_FACETS)
        else:
            # Ignore the unset value, which sorts last but is not a size.
            known = [value for value in values if not pd.isna(value)] or values
            where[name] = _plain(known[-1] if name in ("epochs", *SIZES) else values[0])
    return tuple(facet), where


def _thinned(points: pd.DataFrame, name: str | None, most: int) -> dict[str, Any]:
    """Choose `most` evenly spread values of a field, or return {} if the field has no more than `most` values."""
    if name is None or len(values := levels(points, name)) <= most:
        return {}
    return {name: [_plain(values[i]) for i in np.linspace(0, len(values) - 1, most).round().astype(int)]}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
