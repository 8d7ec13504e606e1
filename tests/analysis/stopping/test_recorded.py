"""Tests of searches, horizons, and the last evaluation of a training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.stopping.recorded import check_stops, recorded, sign

NAN = float("nan")


def test_a_search_is_a_problem_and_a_seed(curves_of):
    fields = {
        "a": {"seed": 0, "label_noise": 0.4}, "b": {"seed": 0, "label_noise": 0.0, "width": 99},
        "c": {"seed": 0, "label_noise": 0.4, "learning_rate": 5.0}, "d": {"seed": 1, "label_noise": 0.4},
    }  # fmt: skip
    curves = curves_of({name: [0.1, 0.2] for name in "abcd"}, fields)
    unstopped = recorded(curves)
    assert unstopped.by == ("label_noise", "seed")
    search = unstopped.members["search"]
    assert search["a"] == search["c"]
    assert len({search["a"], search["b"], search["d"]}) == 3
    assert unstopped.problems == ["label noise 0", "label noise 0.4"]
    assert unstopped.samples["seed"].to_dict() == {"a": 0, "b": 0, "c": 0, "d": 1}
    together = recorded(curves, by=())
    assert together.members["search"].nunique() == 1
    assert together.problems == [""]
    assert (together.samples["seed"] == 0).all()
    assert recorded(curves, by=("learning_rate",)).problems == ["learning rate 0.1", "learning rate 5"]


def test_values_are_those_of_the_curves_and_missing_is_not_zero(curves_of):
    unstopped = recorded(curves_of({"a": [0.1, 0.2, 0.3], "b": [0.5, 0.4, NAN]}, horizon=3))
    assert unstopped.values("test_accuracy").loc["a"].tolist() == [0.1, 0.2, 0.3]
    assert unstopped.values("test_error").loc["a"].tolist() == pytest.approx([0.9, 0.8, 0.7])
    final = unstopped.final("test_accuracy")
    assert final["a"] == 0.3
    assert np.isnan(final["b"])
    assert unstopped.members["regime"].isna().to_dict() == {"a": False, "b": True}
    with pytest.raises(AnalysisError, match=r"metric: given 'validation_accuracy'.* valid: train_accuracy, test_acc"):
        unstopped.values("validation_accuracy")


def test_the_last_look_by_an_epoch(curves_of):
    unstopped = recorded(curves_of({"a": [0.1, 0.2], "b": [0.5, 0.4]}, epochs=[2, 4], horizon=4))
    asked = pd.Series([0, 1, 2, 3, 4], index=["a", "b", "a", "b", "a"])
    assert unstopped.until("test_accuracy", asked).tolist() == pytest.approx([NAN, NAN, 0.1, 0.5, 0.2], nan_ok=True)


def test_bad_input_is_named(curves_of, stops_of):
    curves = curves_of({"a": [0.1, 0.2], "b": [0.1, 0.3]})
    unstopped = recorded(curves)
    with pytest.raises(AnalysisError, match="no training has been evaluated"):
        recorded(curves.iloc[:0])
    with pytest.raises(AnalysisError, match="by: given 'colour'; valid: "):
        recorded(curves, by=("colour",))
    with pytest.raises(AnalysisError, match="order: the stops have no such column"):
        check_stops(stops_of({"a": 1}, 2).drop(columns="order"), unstopped)
    with pytest.raises(AnalysisError, match="trajectory_id: given 1 that have no curve, such as z"):
        check_stops(stops_of({"z": 1}, 2), unstopped)
    with pytest.raises(AnalysisError, match="stop_epoch: given 3 of a; valid: 0 to 2"):
        check_stops(stops_of({"a": 3}, 2), unstopped)
    with pytest.raises(AnalysisError, match="one row a replayed training"):
        check_stops(stops_of({"a": 1}, 2).iloc[:0], unstopped)


def test_which_end_is_better():
    assert (sign("test_accuracy"), sign("validation_loss")) == (1.0, -1.0)
    with pytest.raises(AnalysisError, match="metric: given 'weight_norm'"):
        sign("weight_norm")
