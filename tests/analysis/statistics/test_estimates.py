from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics.estimates import FEWEST, Effects, mean_over_seeds, seeds_needed

NUMBERS = st.lists(st.floats(-100, 100), min_size=3, max_size=12)


def test_by_hand():
    """For 1, 2, 3, the mean is 2, sd is 1 and t(0.975, 2) = 4.3027, so the interval is 2 ± 4.3027/√3."""
    estimate = mean_over_seeds(Effects(pd.Series([1.0, 2.0, 3.0], [0, 1, 2])))
    assert (estimate.value, estimate.n, estimate.sd) == (2, 3, 1)
    assert (estimate.low, estimate.high) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)
    assert dict(estimate.per_seed) == {0: 1, 1: 2, 2: 3}


@given(NUMBERS)
def test_is_scipys_interval_of_a_paired_test(numbers):
    estimate = mean_over_seeds(Effects(pd.Series(numbers)))
    theirs = stats.ttest_1samp(numbers, 0) if np.std(numbers) > 1e-9 else None
    assert estimate.value == pytest.approx(np.mean(numbers))
    if theirs is not None:
        interval = theirs.confidence_interval(0.95)
        assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-9)


@given(NUMBERS, st.randoms())
def test_the_order_and_names_of_seeds_change_nothing(numbers, random):
    shuffled = list(numbers)
    random.shuffle(shuffled)
    one = mean_over_seeds(Effects(pd.Series(numbers)))
    other = mean_over_seeds(Effects(pd.Series(shuffled, [f"s{i}" for i in range(len(shuffled))])))
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-9)


@given(st.lists(st.floats(0.01, 100), min_size=3, max_size=9))
def test_ratios_are_averaged_as_logarithms_so_that_the_inverse_is_the_inverse(numbers):
    one = mean_over_seeds(Effects(pd.Series(numbers), ratio=True))
    other = mean_over_seeds(Effects(1 / pd.Series(numbers), ratio=True))
    assert one.value == pytest.approx(stats.gmean(numbers))
    assert (one.value, one.low) == pytest.approx((1 / other.value, 1 / other.high), rel=1e-6)


def test_what_is_missing_is_left_out_and_not_zero():
    estimate = mean_over_seeds(Effects(pd.Series([5.0, np.nan, 7.0, 6.0, np.inf])))
    assert (estimate.value, estimate.n) == (6, 3)
    assert mean_over_seeds(Effects(pd.Series([2.0, 0.0, 8.0, 4.0]), ratio=True)).n == 3


@pytest.mark.parametrize("n", [0, 1, FEWEST - 1])
def test_too_few_seeds_have_no_interval(n):
    estimate = mean_over_seeds(Effects(pd.Series(np.arange(n, dtype=float))))
    assert np.isnan([estimate.low, estimate.high]).all()
    assert estimate.n == n


def test_equal_seeds_have_an_interval_of_no_width():
    estimate = mean_over_seeds(Effects(pd.Series([100.0] * 4)))
    assert (estimate.low, estimate.high) == (100, 100)


@given(st.floats(0.1, 5), st.floats(0.5, 5))
def test_seeds_needed_is_the_first_number_whose_half_width_is_small_enough(sd, distance):
    needed = seeds_needed(sd, distance)

    def half(n: int) -> float:
        return float(stats.t.ppf(0.975, n - 1) * sd / np.sqrt(n))

    if needed is None:
        assert half(200) >= distance
    else:
        assert half(needed) < distance
        assert needed == FEWEST or half(needed - 1) >= distance


@pytest.mark.parametrize(("sd", "distance"), [(1.0, 0.0), (1.0, np.nan), (np.nan, 1.0), (100.0, 0.1)])
def test_no_number_of_seeds_is_promised_at_the_margin(sd, distance):
    assert seeds_needed(sd, distance) is None
