"""Tests that seeds are the sample and orders are repetitions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.stopping.averages import SHARE, averages, many, sampled, span


def rows(values: dict[int, list[float]]) -> pd.DataFrame:
    """Build rows from seed -> one value per order."""
    return pd.DataFrame(
        [{"kind": "a", "seed": s, "order": o, "v": v} for s, each in values.items() for o, v in enumerate(each)]
    )


def test_the_interval_is_over_seeds_of_means_over_orders():
    table = rows({0: [0.2, 0.4], 1: [0.5, 0.5], 2: [0.6, 0.8]})
    row = averages(table, ["kind"], "v").iloc[0]
    each = np.array([0.3, 0.5, 0.7])
    low, high = stats.t.interval(0.95, 2, each.mean(), stats.sem(each))
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((0.5, low, high))
    assert (row["n"], row["over"], row["orders"], row["undefined"]) == (3, "seeds", 2, 0)
    cut = averages(table, ["kind"], "v", SHARE).iloc[0]
    assert (cut["low"], cut["high"]) == pytest.approx((low, high))
    wider = averages(rows({0: [0.0], 1: [0.5], 2: [1.0]}), ["kind"], "v", SHARE).iloc[0]
    assert (wider["low"], wider["high"]) == (0, 1)


def test_below_three_seeds_it_is_over_orders_and_says_so():
    row = averages(rows({0: [0.1, 0.2, 0.3], 1: [0.3, 0.4, 0.5]}), ["kind"], "v").iloc[0]
    each = np.array([0.2, 0.3, 0.4])
    assert (row["low"], row["high"]) == pytest.approx(stats.t.interval(0.95, 2, 0.3, stats.sem(each)))
    assert (row["n"], row["over"]) == (3, "orders")
    assert "says nothing about other seeds" in sampled(pd.DataFrame([row]))
    same = averages(rows({0: [0.25, 0.25, 0.25]}), ["kind"], "v").iloc[0]
    assert same["mean"] == 0.25
    assert np.isnan(same["low"])


def test_what_does_not_exist_is_counted_and_is_no_zero():
    row = averages(rows({0: [0.5, np.nan], 1: [np.nan, np.nan], 2: [0.5, 0.7], 3: [0.9, 0.9]}), ["kind"], "v").iloc[0]
    assert row["mean"] == pytest.approx((0.5 + 0.6 + 0.9) / 3)
    assert (row["n"], row["undefined"]) == (3, 3)
    nothing = averages(rows({0: [np.nan]}), ["kind"], "v").iloc[0]
    assert np.isnan(nothing["mean"])
    assert sampled(pd.DataFrame([nothing])) == "no data"


def test_words():
    assert (many(1, "seed"), many(3, "seed")) == ("1 seed", "3 seeds")
    assert (span(pd.Series([2, 2])), span(pd.Series([5, 2]))) == ("2", "2 to 5")
