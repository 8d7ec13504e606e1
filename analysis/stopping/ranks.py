"""Rank correlation of early and final results: Kendall's tau-b at each evaluated epoch."""

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


def rank_correlations(
    recorded: Recorded, pairs: Sequence[tuple[str, str]] | None = None, seed: int = 0
) -> pd.DataFrame:
    """Compute Kendall's tau-b over the members of a search, between `early` at an epoch and `late` at the horizon.

    Metrics are signed so that better values rank higher. Members without a value at the epoch or at the horizon are
    left out. With fewer than four members, or if all values are tied, tau is NaN, not 0. The interval is the t interval
    over seeds, or, with fewer than three seeds, a percentile bootstrap over the members of the search (200 resamples).

    Args:
        recorded: The unstopped curves.
        pairs: (early, late) metrics; by default those of `default_pairs`.
        seed: Seed of the bootstrap.

    Returns:
        A table with one row per pair, problem and evaluated epoch, and the columns `mean`, `low`, `high`, `n` (seeds),
        `over` ("seeds" or "members") and `members` (the smallest number of members in a search).
    """
    rows = []
    for early, late in default_pairs(recorded) if pairs is None else pairs:
        table, last = sign(early) * recorded.values(early), sign(late) * recorded.final(late)
        for problem in recorded.problems:
            group = recorded.samples[recorded.samples["problem"] == problem]
            searches = [np.asarray(ids) for ids in group.groupby(["seed", "search"], sort=True).groups.values()]
            for epoch in table.columns[table.columns > 0]:
                pieces = [(table.loc[ids, epoch].to_numpy(), last.loc[ids].to_numpy()) for ids in searches]
                rows.append({"early": early, "late": late, "problem": problem, "epoch": int(epoch),
                             **_over(pieces, seed)})  # fmt: skip
    return pd.DataFrame(rows)


def default_pairs(recorded: Recorded) -> list[tuple[str, str]]:
    """Return the default (early, late) pairs whose metrics were recorded.

    The pairs are validation and validation accuracy, validation and clean test accuracy, and clean test accuracy twice.
    """
    noisy = "validation_accuracy"
    return [*([(noisy, noisy), (noisy, CLEAN)] if recorded.has(noisy) else []), (CLEAN, CLEAN)]


def tau(early: np.ndarray, late: np.ndarray) -> float:
    """Compute Kendall's tau-b (-1 to 1) of the known pairs; NaN for fewer than four, or if one side is all ties."""
    known = ~(np.isnan(early) | np.isnan(late))
    early, late = early[known], late[known]
    if len(early) < FEWEST_MEMBERS or np.ptp(early) == 0 or np.ptp(late) == 0:
        return float("nan")
    return float(stats.kendalltau(early, late).statistic)


def _over(pieces: Sequence[tuple[np.ndarray, np.ndarray]], seed: int) -> dict[str, object]:
    taus = pd.Series([tau(*piece) for piece in pieces])
    fewest = min(int((~np.isnan(a) & ~np.isnan(b)).sum()) for a, b in pieces)
    estimate = mean_over_seeds(Effects(taus))
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
