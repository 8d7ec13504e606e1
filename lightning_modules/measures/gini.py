"""The Gini coefficient: how unequally a quantity is spread over examples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def gini(values: ArrayLike) -> float:
    """Σ_i Σ_j |g_i − g_j| / (2 n² mean(g)) of n numbers that are not negative, in 0 (all equal) .. 1 − 1/n.

    As Arpit et al. 2017 (arXiv 1706.05394) use it on loss sensitivities. By sorting, in O(n log n): the double sum is
    2 Σ_i (2i − n − 1) g_(i), with g_(1) the smallest. NaN of no numbers, of numbers that are all 0, and where any is
    NaN or infinite.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64).reshape(-1))
    count, total = len(ordered), float(ordered.sum())
    if not np.isfinite(total) or total == 0:
        return float("nan")
    weights = 2 * np.arange(1, count + 1) - count - 1
    # Scaled first: sums of the largest float64 numbers would overflow, and products of the smallest underflow.
    return float(weights @ (ordered / total)) / count
