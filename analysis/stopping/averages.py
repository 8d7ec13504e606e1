"""Means over seeds and orders of arrival, with their intervals, computed the same way for every figure of a study."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.statistics.estimates import FEWEST, Effects, mean_over_seeds

SHARE = (0.0, 1.0)


def averages(
    rows: pd.DataFrame, keys: Sequence[str], value: str, limits: tuple[float, float] | None = None
) -> pd.DataFrame:
    """Average a value over orders and seeds, for each combination of the keys that occurs.

    The value is first averaged over orders (and problems) within each seed, and the seeds are the sample. With fewer
    than three seeds, the orders of arrival are the sample instead. The interval then does not extend to other seeds,
    and it is NaN if the order makes no difference. An interval of zero width means that all seeds agree.

    Args:
        rows: One row per search and order, with `seed`, `order` and the value. A value of NaN is undefined. Undefined
            values are counted in `undefined` and never taken as 0.
        keys: The columns to group by.
        value: The column to average.
        limits: The range of the value, to which intervals are clipped.

    Returns:
        A table with one row per combination of the keys and the columns `mean`; `low` and `high`, the 95 % t interval;
        `n`, the size of the sample; `over`, "seeds" or "orders"; `orders`, the number of orders; and `undefined`.
    """
    averaged = []
    for key, part in rows.groupby(list(keys), sort=False, observed=True, dropna=False):
        known = part.dropna(subset=[value])
        over = "seeds" if known["seed"].nunique() >= FEWEST else "orders"
        estimate = mean_over_seeds(Effects(known.groupby(over[:-1])[value].mean()))
        low, high = (estimate.low, estimate.high) if limits is None else np.clip([estimate.low, estimate.high], *limits)
        if over == "orders" and np.isclose(estimate.sd, 0, atol=1e-12):
            low = high = np.nan
        averaged.append({
            **dict(zip(keys, key, strict=True)), "mean": estimate.value, "low": low, "high": high, "n": estimate.n,
            "over": over, "orders": known["order"].nunique(), "undefined": len(part) - len(known),
        })  # fmt: skip
    columns = [*keys, "mean", "low", "high", "n", "over", "orders", "undefined"]
    return pd.DataFrame(averaged, columns=columns)


def sampled(table: pd.DataFrame) -> str:
    """Describe the sample behind the means and intervals of a table of averages."""
    have = table[table["n"] > 0]
    if have.empty:
        return "no data"
    n = span(have["n"])
    orders = f"{span(have['orders'])} order{'s' if have['orders'].max() > 1 else ''}"
    if (have["over"] == "seeds").all():
        return f"mean over n = {n} seeds (of each, {orders} of arrival), bars: 95 % t interval over seeds"
    if have["n"].max() < FEWEST:
        return f"mean over n = {n} orders of arrival, too few for an interval"
    return (
        f"fewer than {FEWEST} seeds: mean over n = {n} orders of arrival, bars: 95 % t interval over orders, which "
        "says nothing about other seeds"
    )


def many(count: int, word: str) -> str:
    """Format a count with its noun, such as `1 seed` or `3 seeds`."""
    return f"{count} {word}{'s' if count != 1 else ''}"


def span(values: pd.Series) -> str:
    """Format the range of the values, such as `3` or `2 to 5`."""
    low, high = int(values.min()), int(values.max())
    return f"{low}" if low == high else f"{low} to {high}"
