"""Every 95 % interval, once: functions of numbers, which all rooms of the analysis share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
ENDS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
"""The quantiles at the ends of an interval."""


def t_half(sd: Any, n: Any) -> Any:
    """Half the width of Student's interval of a mean, with n - 1 degrees of freedom.

    Args:
        sd: standard deviation of the numbers averaged, with n - 1 in its denominator; a number, an array or a Series.
        n: how many they are; NaN below two, for which there is no interval.
    """
    return stats.t.ppf(ENDS[1], n - 1) * sd / np.sqrt(n)


def t_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """The mean of these numbers and the ends of its interval, which are NaN for fewer than two."""
    mean = float(np.mean(values))
    half = float(t_half(np.std(values, ddof=1), len(values))) if len(values) > 1 else np.nan
    return mean, mean - half, mean + half


def wilson(count: int, total: int) -> tuple[float, float]:
    """Wilson's score interval of a share, such as that of `count` examples of `total`."""
    interval = stats.binomtest(count, total).proportion_ci(CONFIDENCE, "wilson")
    return float(interval.low), float(interval.high)


def percentiles(drawn: np.ndarray) -> tuple[float, float]:
    """The percentile interval of a bootstrap from its resampled estimates."""
    low, high = np.quantile(drawn, ENDS)
    return float(low), float(high)
