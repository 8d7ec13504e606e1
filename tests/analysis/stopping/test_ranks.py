"""Tests of the rank correlation against a count of pairs."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.stopping.ranks import default_pairs, rank_correlations, tau
from analysis.stopping.recorded import recorded

NUMBERS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=4, max_size=10)


@given(NUMBERS)
def test_tau_counts_pairs(pairs):
    agree = against = one = other = 0
    for (a, b), (c, d) in combinations(pairs, 2):
        product = (a - c) * (b - d)
        agree, against = agree + (product > 0), against + (product < 0)
        one, other = one + (a == c), other + (b == d)
    n = len(pairs) * (len(pairs) - 1) // 2
    result = tau(*np.array(pairs, dtype=float).T)
    if one == n or other == n:
        assert math.isnan(result)
    else:
        assert result == pytest.approx((agree - against) / math.sqrt((n - one) * (n - other)))


def test_members_without_a_value_are_left_out_and_few_have_none():
    nan = float("nan")
    assert tau(np.array([1, 2, 3, 4, nan]), np.array([1, 2, 3, 4, 0])) == 1
    assert math.isnan(tau(np.array([1, 2, 3, nan, nan]), np.array([1, 2, 3, 4, 0.0])))


def test_the_end_ranks_itself_and_problems_and_seeds_are_apart(study):
    curves, _ = study
    result = recorded(curves)
    table = rank_correlations(result)
    noisy, clean = "validation_accuracy", "test_accuracy"
    assert default_pairs(result) == [(noisy, noisy), (noisy, clean), (clean, clean)]
    assert len(table) == 3 * 2 * 12
    assert set(table["problem"]) == {"label noise 0", "label noise 0.4"}
    ends = table[(table["epoch"] == 12) & (table["early"] == table["late"])]
    assert ends["mean"].to_numpy() == pytest.approx(1)
    assert (table["n"] == 3).all()
    assert (table["members"] == 8).all()
    assert (table["over"] == "seeds").all()
    assert ((table["low"] <= table["mean"]) & (table["mean"] <= table["high"])).all()


def test_with_one_seed_the_interval_is_a_bootstrap_over_members(curves_of):
    rng = np.random.default_rng(1)
    runs = {f"t{i}": [float(rng.random()), i / 20] for i in range(20)}
    result = recorded(curves_of(runs))
    table = rank_correlations(result, [("test_accuracy", "test_accuracy")])
    first = table.iloc[0]
    assert (first["n"], first["over"], first["members"]) == (1, "members", 20)
    assert first["low"] < first["mean"] < first["high"]
    assert rank_correlations(result, [("test_accuracy", "test_accuracy")]).equals(table)


def test_a_loss_ranks_the_other_way(curves_of):
    runs = {f"t{i}": [0.1, i / 5] for i in range(5)}
    losses = {f"t{i}": [5.0 - i, 1.0] for i in range(5)}
    table = rank_correlations(recorded(curves_of(runs, test_loss=losses)), [("test_loss", "test_accuracy")])
    assert table.iloc[0]["mean"] == pytest.approx(1)
