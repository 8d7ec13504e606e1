"""The Gini coefficient: how unequally a quantity is spread over examples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def gini(values: ArrayLike) -> float:
    """Return Σ_i Σ_j |g_i − g_j| / (2 n² mean(g)) for n non-negative numbers: from 0 (all equal) to 1 − 1/n.

    Arpit et al. 2017 (arXiv 1706.05394) apply it to loss sensitivities. The double sum is 2 Σ_i (2i − n − 1) g_(i) with
    g_(1) the smallest, so sorting makes it O(n log n). The result is NaN if there are no numbers, if all are 0, or if
    any is NaN or infinite.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64).reshape(-1))
    count, total = len(ordered), float(ordered.sum())
    if not np.isfinite(total) or total == 0:
        return float("nan")
    weights = 2 * np.arange(1, count + 1) - count - 1
    # Scale first: sums of the largest float64 numbers would overflow, and products of the smallest would underflow.
    return float(weights @ (ordered / total)) / count
