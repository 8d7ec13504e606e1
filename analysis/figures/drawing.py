"""Drawing of a figure from its spec and the tables of a study."""

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
        spec: the figure.
        points: one row per point of the study.
        curves: one row per training and evaluated epoch; None if `spec.needs` asks for none.
        chance: the accuracy of guessing, 0..1.
        examples: the table of single examples, with at least `spec.measure`.

    Raises:
        AnalysisError: as the function of its kind.
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
    drawn = kind.function(**keys, **{name: tables[name] for name in kind.takes}, note=held(spec.where))
    assert isinstance(drawn, Picture)
    return drawn


def held(where: Mapping[str, Any]) -> str:
    """Say at which settings fields are fixed, in the order given: "At dropout 0.2, weight decay 0."."""
    parts = [
        settings(name, value if isinstance(value, list | tuple) else [value])
        for name, value in where.items()
        if name in AXES
    ]
    return joined(f"at {', '.join(parts)}") if parts else ""
