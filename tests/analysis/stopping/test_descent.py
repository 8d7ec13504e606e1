"""Tests of curves with and without a double descent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.stopping.descent import SIDES, Descent, double_descent, epoch_wise, model_wise
from analysis.stopping.recorded import recorded

ERRORS = st.lists(st.integers(0, 30).map(lambda number: number / 30), min_size=4, max_size=14)


def test_by_hand():
    error = [0.9, 0.5, 0.4, 0.5, 0.6, 0.5, 0.35, 0.3]
    descents = double_descent(range(1, 9), error, window=1, roughness=0)
    assert descents == Descent(first=3, peak=5, reached=8, depth=pytest.approx(0.2), below=True)
    shallow = double_descent(range(1, 9), [*error[:-1], 0.345], window=1, roughness=0)
    assert shallow is not None
    assert shallow.reached == 7  # the error is within half the margin of its lowest value
    above = double_descent(range(1, 6), [0.9, 0.2, 0.6, 0.5, 0.5], window=1, roughness=0)
    assert above is not None
    assert (above.below, above.depth) == (False, pytest.approx(0.1))


@pytest.mark.parametrize(
    "error",
    [
        [0.9, 0.7, 0.5, 0.4, 0.3],  # one descent
        [0.2, 0.4, 0.6, 0.7, 0.9],  # no descent
        [0.9, 0.5, 0.4, 0.6, 0.8],  # overfits, and stays there
        [0.3, 0.5, 0.6, 0.4, 0.2],  # starts at its lowest so far: one descent
        [0.9, 0.5, 0.51, 0.5, 0.49],  # descends again by less than the margin
        [0.9, 0.5, float("nan"), float("nan"), 0.4],  # too few values
    ],
)
def test_what_has_no_second_descent(error):
    assert double_descent(range(len(error)), error, window=1, roughness=0) is None


def test_a_single_bad_evaluation_is_no_peak():
    error = [0.9, 0.7, 0.5, 0.4, 0.4, 0.7, 0.4, 0.4, 0.4, 0.4]
    assert double_descent(range(10), error, window=1, roughness=0) is not None
    assert double_descent(range(10), error, window=5, roughness=0) is None


@given(ERRORS)
def test_the_peak_is_the_one_of_a_search_over_all_triples(error):
    descents = double_descent(range(len(error)), error, margin=0.1, window=1, roughness=0)
    n = len(error)
    deep = [
        min(error[p] - error[a], error[p] - error[b])
        for p in range(n) for a in range(p) for b in range(p + 1, n)
    ]  # fmt: skip
    if descents is None:
        # There is no peak of that depth, or the error never fell to a first minimum before it.
        worst = [p for p in range(1, n - 1) if min(error[p] - min(error[:p]), error[p] - min(error[p + 1 :])) >= 0.1]
        assert (
            not worst
            or max(deep) < 0.1 - 1e-9
            or any(max(error[: int(np.argmin(error[:p])) + 1]) - min(error[:p]) < 0.1 for p in worst)
        )
    else:
        assert descents.depth == pytest.approx(max(deep))
        first, peak, reached = int(descents.first), int(descents.peak), int(descents.reached)
        assert first < peak < reached
        assert error[first] == min(error[: peak + 1])
        assert error[reached] <= min(error[peak:]) + 0.05 + 1e-9
        assert descents.below == (min(error[peak:]) < error[first])


def test_a_curve_that_only_fluctuates_does_not_descend_twice():
    rng = np.random.default_rng(0)
    epoch = np.arange(1, 151)
    falls = 0.4 + 0.4 * np.exp(-epoch / 10)
    dips = 0.1 * np.exp(-(((epoch - 50) / 15) ** 2))
    rough = 0.02 * rng.standard_normal((20, 150))
    assert sum(double_descent(epoch, falls + noise, roughness=0) is not None for noise in rough) > 10
    assert not any(double_descent(epoch, falls + noise) for noise in rough)
    descents = [double_descent(epoch, falls + dips + noise / 2) for noise in rough]
    assert all(one is not None and abs(one.peak - 50) < 12 for one in descents)


@given(ERRORS, st.integers(1, 5), st.integers(-3, 3))
def test_it_does_not_depend_on_the_level_or_on_where_the_axis_starts(error, start, level):
    one = double_descent(range(len(error)), error)
    two = double_descent(range(start, start + len(error)), [value + level for value in error])
    assert (one is None) == (two is None)
    if one and two:
        assert (two.first - start, two.peak - start, two.depth) == pytest.approx((one.first, one.peak, one.depth))


def test_along_the_epochs_of_an_accuracy(curves_of):
    wide = [0.1, 0.3, 0.6, 0.6, 0.5, 0.4, 0.4, 0.4, 0.5, 0.6, 0.7, 0.7, 0.7]
    narrow = np.linspace(0.1, 0.5, 13)
    descents = epoch_wise(
        recorded(curves_of({"wide": wide, "narrow": list(narrow)})), "test_accuracy", window=3, roughness=0
    )
    assert descents.index.tolist() == ["wide"]
    assert descents.loc["wide", "peak"] in (6, 7, 8)
    assert descents.loc["wide", "below"]


def test_along_the_capacity(curves_of):
    errors = {4: 0.6, 8: 0.4, 16: 0.55, 32: 0.5, 64: 0.35}
    runs, fields = {}, {}
    for rate in (0.1, 0.2):
        for seed in (0, 1):
            for width, error in errors.items():
                name = f"{rate} {width} {seed}"
                end = error if rate == 0.1 else 0.6 - width / 1000  # without a peak
                runs[name] = [0.1, 1 - end + 0.01 * (seed - 0.5)]
                fields[name] = {"width": width, "seed": seed, "learning_rate": rate}
    descents = model_wise(recorded(curves_of(runs, fields)), "test_accuracy")
    assert descents
    capacity, sides = descents
    assert capacity == "width"
    expected = {4: SIDES[0], 8: SIDES[0], 16: SIDES[1], 32: SIDES[2], 64: SIDES[2]}
    assert sides.dropna().to_dict() == {f"0.1 {w} {s}": side for w, side in expected.items() for s in (0, 1)}
    flat = {name: [0.1, 0.5] for name in runs}
    assert model_wise(recorded(curves_of(flat, fields)), "test_accuracy") is None
