"""How well early results rank the final ones: Kendall's tau-b, an evaluated epoch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from analysis.intervals import percentiles
from analysis.statistics.estimates import FEWEST, Effects, mean_over_seeds
from analysis.stopping.outcomes import CLEAN
from analysis.stopping.recorded import Recorded, sign

FEWEST_MEMBERS = 4
RESAMPLES = 200


def rank_correlations(found: Recorded, pairs: Sequence[tuple[str, str]] | None = None, seed: int = 0) -> pd.DataFrame:
    """Kendall's tau-b over the members of a search, between `early` at an epoch and `late` at the horizon.

    A row a pair, problem and evaluated epoch: `mean`, `low`, `high`, `n` (seeds) and `members` (fewest in a search).
    pairs: (early, late); default: both accuracies against themselves, noisy validation against clean test accuracy.
    The interval is the t interval over seeds; below three seeds a percentile bootstrap over the members of the search
    (200 resamples, drawn from `seed`). Metrics are signed so that better ranks higher.
    Members without a value at the epoch or at the horizon are left out; below four, or with all values tied, there is
    no tau, and it is NaN, not 0.
    """
    made = []
    for early, late in default_pairs(found) if pairs is None else pairs:
        table, last = sign(early) * found.values(early), sign(late) * found.final(late)
        for problem in found.problems:
            group = found.samples[found.samples["problem"] == problem]
            searches = [np.asarray(ids) for ids in group.groupby(["seed", "search"], sort=True).groups.values()]
            for epoch in table.columns[table.columns > 0]:
                pieces = [(table.loc[ids, epoch].to_numpy(), last.loc[ids].to_numpy()) for ids in searches]
                made.append({"early": early, "late": late, "problem": problem, "epoch": int(epoch),
                             **_over(pieces, seed)})  # fmt: skip
    return pd.DataFrame(made)


def default_pairs(found: Recorded) -> list[tuple[str, str]]:
    """What was recorded of: validation against itself and against the clean test, the clean test against itself."""
    noisy = "validation_accuracy"
    have = noisy in found.curves and found.curves[noisy].notna().any()
    return [*([(noisy, noisy), (noisy, CLEAN)] if have else []), (CLEAN, CLEAN)]


def tau(early: np.ndarray, late: np.ndarray) -> float:
    """Kendall's tau-b where both are known, -1 to 1; NaN for fewer than four members or where one side is all ties."""
    known = ~(np.isnan(early) | np.isnan(late))
    early, late = early[known], late[known]
    if len(early) < FEWEST_MEMBERS or np.ptp(early) == 0 or np.ptp(late) == 0:
        return float("nan")
    return float(stats.kendalltau(early, late).statistic)


def _over(pieces: Sequence[tuple[np.ndarray, np.ndarray]], seed: int) -> dict[str, object]:
    each = pd.Series([tau(*piece) for piece in pieces])
    fewest = min(int((~np.isnan(a) & ~np.isnan(b)).sum()) for a, b in pieces)
    estimate = mean_over_seeds(Effects(each))
    low, high, over = estimate.low, estimate.high, "seeds"
    if estimate.n < FEWEST:
        low, high, over = *_bootstrap(pieces, seed), "members"
    low, high = np.clip([low, high], -1, 1)
    return {"mean": estimate.value, "low": low, "high": high, "n": estimate.n, "over": over, "members": fewest}


def _bootstrap(pieces: Sequence[tuple[np.ndarray, np.ndarray]], seed: int) -> tuple[float, float]:
    generator = np.random.default_rng(seed)
    drawn = np.full((RESAMPLES, len(pieces)), np.nan)
    for column, (early, late) in enumerate(pieces):
        for row in range(RESAMPLES):
            again = generator.integers(0, len(early), len(early))
            drawn[row, column] = tau(early[again], late[again])
    known = drawn[~np.isnan(drawn).any(axis=1)].mean(axis=1)
    if len(known) < RESAMPLES / 2:
        return float("nan"), float("nan")
    return percentiles(known)
