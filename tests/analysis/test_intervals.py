"""Tests of intervals against published formulas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.intervals import percentiles, t_half, t_interval, wilson


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0], [0.2, 0.4], [5.0, -1.0, 4.0, 100.0]])
def test_the_interval_of_a_mean_is_students(values):
    mean, low, high = t_interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((np.mean(values), expected.low, expected.high))


def test_one_number_has_no_interval():
    mean, low, high = t_interval([0.3])
    assert mean == 0.3
    assert np.isnan([low, high]).all()


def test_half_widths_of_a_table_are_those_of_its_rows():
    """A table of the distribution lists t(0.975, 2) = 4.302653 and t(0.975, 4) = 2.776445."""
    half = t_half(pd.Series([1.0, 2.0, 3.0]), pd.Series([3, 5, np.nan]))
    assert half[:2].tolist() == pytest.approx([4.302653 / 3**0.5, 2 * 2.776445 / 5**0.5])
    assert np.isnan(half[2])


@pytest.mark.parametrize(("count", "total"), [(0, 5), (3, 7), (40, 40), (250, 1000)])
def test_the_interval_of_a_share_is_wilsons(count, total):
    """Wilson 1927 gives (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n)."""
    p, z = count / total, stats.norm.ppf(0.975)
    centre = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z * np.sqrt(p * (1 - p) / total + z**2 / (4 * total**2)) / (1 + z**2 / total)
    assert wilson(count, total) == pytest.approx((max(0, centre - half), min(1, centre + half)), abs=1e-12)


def test_a_bootstrap_leaves_a_fortieth_on_either_side():
    assert percentiles(np.arange(1001)) == pytest.approx((25, 975))
