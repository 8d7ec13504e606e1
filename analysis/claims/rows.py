"""Selection of the rows that a contrast reads, by conditions on the values of fields."""

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
    """The lowest or highest value of a numeric field among the rows that satisfy the preceding conditions."""

    LOWEST = "lowest"
    HIGHEST = "highest"


LOWEST, HIGHEST = End.LOWEST, End.HIGHEST


@dataclass(frozen=True)
class Between:
    """Every value of a field from `low` to `high`, inclusive."""

    low: float
    high: float = np.inf


ABOVE_ZERO = Between(np.nextafter(0, 1))

Where = Mapping[str, Any]
"""Conditions by field. A condition is a value, a tuple of conditions, a `Between`, or an `End`.

Conditions are applied in order, so an `End` refers to the rows that satisfy the conditions before it.
"""


@dataclass(frozen=True)
class Evidence:
    """The tables of one sweep.

    Attributes:
        points: One row per point, with the derived columns.
        curves: One row per training and evaluated epoch.
        examples: The per-example table.
    """

    points: pd.DataFrame
    curves: pd.DataFrame
    examples: pd.DataFrame


def chosen(frame: pd.DataFrame, where: Where) -> pd.DataFrame:
    """Select the rows that satisfy all conditions; the result is empty if no row does."""
    for name, wanted in where.items():
        if frame.empty:
            return frame
        values = _present(levels(frame, name), wanted)
        frame = select(frame, {name: values}) if values else frame.iloc[:0]
    return frame


def _present(have: list[Any], wanted: object) -> list[Any]:
    numbers = [value for value in have if isinstance(value, int | float | np.number) and not pd.isna(value)]
    if isinstance(wanted, End):
        return [min(numbers) if wanted is LOWEST else max(numbers)] if numbers else []
    if isinstance(wanted, Between):
        return [value for value in numbers if wanted.low <= value <= wanted.high]
    if isinstance(wanted, tuple):
        return [value for condition in wanted for value in _present(have, condition)]
    if wanted is None:
        return [value for value in have if pd.isna(value)]
    if isinstance(wanted, int | float):
        return [value for value in numbers if np.isclose(value, wanted, rtol=1e-9, atol=0)]
    return [value for value in have if not pd.isna(value) and value == wanted]


def drawn(frame: pd.DataFrame, value: str) -> pd.Series:
    """Return a metric in the unit of the figures (% for a share); NaN if a row did not finish or lacks the metric."""
    return metric_values(frame, value) * METRICS[value].scale
