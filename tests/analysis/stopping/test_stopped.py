"""Tests of the shares of trainings that are stopped, and of the events that they are stopped before."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.stopping.descent import epoch_wise
from analysis.stopping.recorded import recorded
from analysis.stopping.stopped import memorized_at_stop, stopped_before_descent, stopped_by

NAN = float("nan")


def by(table, **keys):
    for name, value in keys.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_the_share_stopped_of_each_group(curves_of, stops_of):
    runs = {f"{group}{seed}{k}": [0.1, 0.5] for group in "gm" for seed in range(3) for k in range(2)}
    unstopped = recorded(curves_of(runs, {name: {"seed": int(name[1]), "width": int(name[2])} for name in runs}))
    # For seeds 0, 1 and 2, the number of stopped trainings of "g" is 0, 1 and 2 of 2. All of "m" are stopped.
    stop = {name: 1 if name[0] == "m" or int(name[2]) < int(name[1]) else 2 for name in runs}
    group = pd.Series({name: {"g": "generalizing", "m": "memorizing"}[name[0]] for name in runs})
    group["m00"] = None
    table = stopped_by(unstopped, stops_of(stop, 2), group)
    g = by(table, group="generalizing")
    assert g["mean"] == pytest.approx((0 + 0.5 + 1) / 3)
    assert (g["n"], g["members"], g["over"]) == (3, 6, "seeds")
    m = by(table, group="memorizing")
    assert (m["mean"], m["low"], m["high"], m["members"]) == (1, 1, 1, 5)


def test_runs_that_never_saw_their_final_minimum(curves_of, stops_of):
    twice = [0.1, 0.6, 0.4, 0.5, 0.7, 0.7]
    once = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    unstopped = recorded(curves_of({"a": twice, "b": twice, "c": twice, "d": twice, "e": once}))
    descents = epoch_wise(unstopped, "test_accuracy", window=1, roughness=0)
    assert [*descents.index] == ["a", "b", "c", "d"]
    table = stopped_before_descent(unstopped, stops_of({"a": 3, "b": 4, "c": 5, "d": 6, "e": 1}, 6), descents)
    # The dip is at epoch 3, and the second descent is complete at 5.
    assert by(table, measure="second descent")["mean"] == 1 / 4
    assert by(table, measure="final minimum")["mean"] == 2 / 4
    assert (table["members"] == 4).all()
    none = stopped_before_descent(unstopped, stops_of({"e": 1}, 6), descents.iloc[:0])
    assert none.empty


def test_what_was_memorized_at_the_stop_and_by_the_end(curves_of, stops_of):
    runs = {name: [0.1, 0.2, 0.3] for name in "abcd"}
    memorized = {"a": [0.1, 0.2, 0.9], "b": [0.0, 0.4, 0.5], "c": [0.0, 0.0, 1.0], "d": [NAN, NAN, NAN]}
    unstopped = recorded(curves_of(runs, memorized_fraction=memorized))
    table = memorized_at_stop(unstopped, stops_of({"a": 2, "b": 1, "c": 3, "d": 1}, 3))
    assert by(table, when="at stop")["mean"] == pytest.approx((0.2 + 0.0) / 2)
    assert by(table, when="at the end")["mean"] == pytest.approx((0.9 + 0.5) / 2)
    assert (table["members"] == 2).all()
    unborn = memorized_at_stop(unstopped, stops_of({"a": 0, "b": 3, "c": 3, "d": 3}, 3))
    assert unborn.empty or np.isnan(unborn["mean"]).all()
