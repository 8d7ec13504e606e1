"""The values of an on-demand measure for one member at one epoch. No torch is imported, because the store uses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PerExample:
    """One value per example of a split, for one member."""

    measure: str
    split: str
    """One of train, left_out, validation and test."""
    example_ids: np.ndarray
    """int64 [n]: indices into the training arrays of the data set, or into its test arrays for the split `test`."""
    values: np.ndarray
    """float64 [n]; NaN if the value is not defined."""


@dataclass(frozen=True)
class MeasuredValues:
    """The values of one measure for one member at one epoch."""

    scalars: Mapping[str, float | None]
    """A value for every column of the measure; None if it is not defined."""
    examples: tuple[PerExample, ...] = ()
