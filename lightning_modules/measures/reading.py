"""Reading: what a measure on demand says of one member at one epoch. Without torch, like all that is only data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PerExample:
    """One measure on one split, for one member."""

    measure: str
    split: str
    """train, left_out, validation or test."""
    example_ids: np.ndarray
    """int64 [n]: rows of the data set's training arrays, or of its test arrays for the split `test`."""
    values: np.ndarray
    """float64 [n]; NaN where it is not defined."""


@dataclass(frozen=True)
class Reading:
    scalars: Mapping[str, float | None]
    """Every column of the measure; None where it is not defined."""
    examples: tuple[PerExample, ...] = ()
