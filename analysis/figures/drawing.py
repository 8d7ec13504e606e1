"""Draw a figure from its spec and the tables of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.figures.captions import joined
from analysis.figures.kinds import KINDS, FigureSpec
from analysis.figures.style import Picture
from analysis.tables.cells import select
from analysis.tables.frames import NO_EXAMPLES
from analysis.words import AXES, settings


def draw(
    spec: FigureSpec,
    points: pd.DataFrame,
    curves: pd.DataFrame | None,
    chance: float | None = None,
    examples: pd.DataFrame | None = None,
) -> Picture:
    """Draw a figure. Its caption begins with the settings at which fields are fixed.

    Args:
        spec: The figure.
        points: One row per point of the study.
        curves: One row per training and evaluated epoch; None if `spec.needs` does not require curves.
        chance: The accuracy of guessing, 0..1.
        examples: The per-example table, with at least `spec.measure`.

    Raises:
        AnalysisError: The figure cannot be drawn; for the reasons, see the function of its kind.
    """
    kind = KINDS[spec.kind]
    tables = {
        "points": select(points, spec.where),
        "reference": points,
        "curves": curves,
        "chance": chance,
        "examples": NO_EXAMPLES if examples is None else examples,
    }
    keys = {key: spec.value_of(key) for key in (*kind.required, *kind.optional)}
    picture = kind.function(**keys, **{name: tables[name] for name in kind.takes}, note=fixed_settings(spec.where))
    assert isinstance(picture, Picture)
    return picture


def fixed_settings(where: Mapping[str, Any]) -> str:
    """Format the settings at which fields are fixed, in the given order: "At dropout 0.2, weight decay 0."."""
    parts = [
        settings(name, value if isinstance(value, list | tuple) else [value])
        for name, value in where.items()
        if name in AXES
    ]
    return joined(f"at {', '.join(parts)}") if parts else ""
