"""Means over seeds and orders, with their intervals: one way for every figure of a study."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.statistics.estimates import FEWEST, Effects, mean_over_seeds

SHARE = (0.0, 1.0)


def averages(
    rows: pd.DataFrame, keys: Sequence[str], value: str, limits: tuple[float, float] | None = None
) -> pd.DataFrame:
    """A row for each combination of the keys that occurs: `mean`, `low`, `high`, `n`, `over`, `orders`, `undefined`.

    rows: a row a search and order, with `seed`, `order` and the value; NaN is a value that does not exist there, is
    counted in `undefined` and never taken as 0. The value is averaged over orders (and problems) inside each seed, and
    the seeds are the sample: `low` and `high` are the 95 % t interval of their mean, `n` their number, `over` "seeds".
    An interval without width says that all seeds agree. Below three seeds, those of the orders of arrival instead
    (`over`: "orders"), which say nothing about other seeds; none where the order makes no difference. limits: of the
    value, at which intervals are cut.
    """
    made = []
    for key, part in rows.groupby(list(keys), sort=False, observed=True, dropna=False):
        known = part.dropna(subset=[value])
        over = "seeds" if known["seed"].nunique() >= FEWEST else "orders"
        found = mean_over_seeds(Effects(known.groupby(over[:-1])[value].mean()))
        low, high = (found.low, found.high) if limits is None else np.clip([found.low, found.high], *limits)
        if over == "orders" and np.isclose(found.sd, 0, atol=1e-12):
            low = high = np.nan
        made.append({
            **dict(zip(keys, key, strict=True)), "mean": found.value, "low": low, "high": high, "n": found.n,
            "over": over, "orders": known["order"].nunique(), "undefined": len(part) - len(known),
        })  # fmt: skip
    columns = [*keys, "mean", "low", "high", "n", "over", "orders", "undefined"]
    return pd.DataFrame(made, columns=columns)


def sampled(table: pd.DataFrame) -> str:
    """What the intervals of a table of averages are over, in words."""
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
    """`1 seed`, `3 seeds`."""
    return f"{count} {word}{'s' if count != 1 else ''}"


def span(values: pd.Series) -> str:
    """`3`, or `2 to 5`."""
    low, high = int(values.min()), int(values.max())
    return f"{low}" if low == high else f"{low} to {high}"
