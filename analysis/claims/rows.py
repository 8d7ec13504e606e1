"""Which rows a contrast reads: fields held at values, or at the ends of their axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd

from analysis.tables.cells import levels, metric_values, select
from analysis.words import METRICS


class End(Enum):
    """An end of a field's axis, among the rows that the conditions before it leave; of numbers only."""

    LOWEST = "lowest"
    HIGHEST = "highest"


LOWEST, HIGHEST = End.LOWEST, End.HIGHEST


@dataclass(frozen=True)
class Between:
    """Every value of a field from low to high."""

    low: float
    high: float = np.inf


ABOVE_ZERO = Between(np.nextafter(0, 1))

Where = Mapping[str, Any]
"""Field -> a value, a tuple of values, `Between`, or an `End`. Applied in this order: an end sees what is left."""


@dataclass(frozen=True)
class Evidence:
    """The tables of one sweep. points: a row a point, with the derived columns. curves: a row an evaluated epoch.
    examples: the per-example table."""

    points: pd.DataFrame
    curves: pd.DataFrame
    examples: pd.DataFrame


def chosen(frame: pd.DataFrame, where: Where) -> pd.DataFrame:
    """The rows at these settings; none where the frame has no such setting."""
    for name, wanted in where.items():
        if frame.empty:
            return frame
        found = _present(levels(frame, name), wanted)
        frame = select(frame, {name: found}) if found else frame.iloc[:0]
    return frame


def _present(have: list[Any], wanted: object) -> list[Any]:
    numbers = [value for value in have if isinstance(value, int | float | np.number) and not pd.isna(value)]
    if isinstance(wanted, End):
        return [min(numbers) if wanted is LOWEST else max(numbers)] if numbers else []
    if isinstance(wanted, Between):
        return [value for value in numbers if wanted.low <= value <= wanted.high]
    if isinstance(wanted, tuple):
        return [value for one in wanted for value in _present(have, one)]
    if wanted is None:
        return [value for value in have if pd.isna(value)]
    if isinstance(wanted, int | float):
        return [value for value in numbers if np.isclose(value, wanted, rtol=1e-9, atol=0)]
    return [value for value in have if not pd.isna(value) and value == wanted]


def drawn(frame: pd.DataFrame, value: str) -> pd.Series:
    """The metric in the unit it is drawn in (% for a share); NaN where the row did not finish or has none."""
    return metric_values(frame, value) * METRICS[value].scale
