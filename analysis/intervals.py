"""The functions for 95 % intervals that all packages of the analysis share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
ENDS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
"""The quantiles at the lower and upper end of an interval."""


def t_half(sd: Any, n: Any) -> Any:
    """Compute the half-width of Student's t interval of a mean, with n - 1 degrees of freedom.

    Args:
        sd: Standard deviation of the averaged numbers (denominator n - 1), as a number, an array or a Series.
        n: The number of averaged numbers. Pass NaN instead of 0 or 1, for which there is no interval.
    """
    return stats.t.ppf(ENDS[1], n - 1) * sd / np.sqrt(n)


def t_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Compute the mean and its t interval, as (mean, low, high). Both ends are NaN for fewer than two values."""
    mean = float(np.mean(values))
    half = float(t_half(np.std(values, ddof=1), len(values))) if len(values) > 1 else np.nan
    return mean, mean - half, mean + half


def wilson(count: int, total: int) -> tuple[float, float]:
    """Compute the Wilson score interval for the proportion `count` / `total`."""
    interval = stats.binomtest(count, total).proportion_ci(CONFIDENCE, "wilson")
    return float(interval.low), float(interval.high)


def percentiles(drawn: np.ndarray) -> tuple[float, float]:
    """Compute the percentile interval of a bootstrap from its resampled estimates."""
    low, high = np.quantile(drawn, ENDS)
    return float(low), float(high)
