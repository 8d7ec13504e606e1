from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.measures.gini import gini

amounts = st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=40)


@given(amounts.filter(any))
def test_it_is_the_double_sum(values):
    pairs = sum(abs(a - b) for a in values for b in values)
    assert gini(values) == pytest.approx(pairs / (2 * len(values) ** 2 * np.mean(values)), rel=1e-9, abs=1e-12)


@given(amounts.filter(any), st.randoms(), st.floats(1e-3, 1e3))
def test_neither_order_nor_unit_matters(values, random, factor):
    shuffled = random.sample(values, len(values))
    assert gini(shuffled) == gini(values)
    assert gini([factor * value for value in values]) == pytest.approx(gini(values), abs=1e-9)
    assert -1e-12 <= gini(values) <= 1 - 1 / len(values) + 1e-12


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3.0], 0.0), ([2, 2, 2], 0.0), ([0, 0, 0, 1], 0.75), ([1, 3], 0.25), (np.array([[0.0, 1e300], [0, 0]]), 0.75)],
)
def test_by_hand(values, expected):
    assert gini(values) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [1.0, math.nan], [1.0, math.inf]])
def test_undefined_is_not_a_number(values):
    assert math.isnan(gini(values))
