"""Tests of the baselines on curves whose results are obvious."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sweeps.replay.baselines import IEpoch, at_random, hindsight, last_value, no_stopping, ranking, within_budget
from sweeps.replay.clock import Stops

NAN = float("nan")


def test_i_epoch_keeps_the_best_after_so_many(make_curves):
    curves = make_curves([[1, 5, 0], [2, 4, 0], [3, 3, 9], [0, 0, 0]])
    assert IEpoch("score", "max", 1, 2).stops(curves).epochs.tolist() == [1, 3, 3, 1]
    assert IEpoch("score", "max", 2, 1).stops(curves).epochs.tolist() == [3, 2, 2, 2]
    assert IEpoch("score", "min", 1, 1).stops(curves).finished.tolist() == [False, False, False, True]
    assert IEpoch("score", "max", 1, 9).stops(curves).finished.all()


def test_i_epoch_takes_the_last_evaluation_and_the_first_of_equals(make_curves):
    curves = make_curves([[1, 2, 0], [1, NAN, 0], [2, NAN, 0]], epochs=[2, 5, 9])
    assert last_value(curves, "score", 6).tolist() == [2, 1, 2]
    assert np.isnan(last_value(curves, "score", 1)).all()
    assert IEpoch("score", "max", 6, 1).stops(curves).epochs.tolist() == [9, 6, 6]


def test_i_epoch_leaves_out_what_broke_and_what_is_over(make_curves):
    curves = make_curves(
        [[9, NAN, NAN], [5, NAN, NAN], [1, 1, 1], [2, 2, NAN]], horizons=[3, 1, 3, 3], broke={0: 1, 3: 3}
    )
    assert ranking(curves, "score", "max", 1).tolist() == [3, 2]
    stops = IEpoch("score", "max", 1, 1).stops(curves)
    assert stops.epochs.tolist() == [1, 1, 1, 3]
    assert stops.finished.tolist() == [False, True, False, False]


def test_as_many_as_a_budget_pays_for(make_curves):
    """One epoch of each of the five trainings costs 5 epochs, and each training that continues costs 9 more."""
    curves = make_curves(np.arange(5)[:, None] * np.ones(10))
    kept = [within_budget(curves, "score", "max", 1, budget).keep for budget in (1, 14, 22, 23, 50, 99)]
    assert kept == [1, 1, 1, 2, 5, 5]


def test_hindsight_trains_the_best_alone(make_curves):
    curves = make_curves([[9, 9, 1], [0, 0, 5], [0, 0, 5], [0, 7, NAN]], horizons=[3, 3, 3, 2])
    assert hindsight(curves, "score", "max").epochs.tolist() == [0, 0, 0, 2]
    assert hindsight(curves, "score", "min").epochs.tolist() == [3, 0, 0, 0]
    shorter = make_curves([[5, 5, 5], [5, 5, NAN]], horizons=[3, 2])
    assert hindsight(shorter, "score", "max").epochs.tolist() == [0, 2]
    broken = make_curves([[5, NAN, NAN]], broke={0: 2})
    assert hindsight(broken, "score", "max").epochs.tolist() == [0]


def test_no_stopping_trains_all_there_is(make_curves):
    curves = make_curves([[5, NAN, NAN], [5, 5, 5], [5, 5, NAN]], broke={0: 2}, horizons=[3, 3, 2])
    assert no_stopping(curves).epochs.tolist() == [2, 3, 2]
    assert no_stopping(curves).finished.tolist() == [False, True, True]


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=12), st.integers(0, 9))
def test_chance_deals_out_the_same_stops_among_equal_horizons(make_curves, dealt, order):
    horizons = [4 if long else 2 for _, long in dealt]
    epochs = np.array([min(epoch, horizon) for (epoch, _), horizon in zip(dealt, horizons, strict=True)])
    curves = make_curves(np.ones((len(dealt), 4)), horizons=horizons)
    stops = at_random(curves, Stops(epochs, epochs >= curves.horizons), order)
    for horizon in (2, 4):
        same = curves.horizons == horizon
        assert sorted(stops.epochs[same]) == sorted(epochs[same])
    assert (stops.finished == (stops.epochs == curves.horizons)).all()
    assert at_random(curves, Stops(epochs, stops.finished), order).epochs.tolist() == stops.epochs.tolist()


def test_chance_differs_from_order_to_order_and_stops_at_a_divergence(make_curves):
    curves = make_curves(np.ones((30, 30)), broke={0: 2})
    stops = Stops(np.arange(1, 31), np.arange(1, 31) == 30)
    shuffles = [at_random(curves, stops, order).epochs for order in range(30)]
    assert len({tuple(epochs) for epochs in shuffles}) == 30
    assert {epochs[0] for epochs in shuffles} <= {1, 2}
