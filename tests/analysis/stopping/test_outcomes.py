"""Tests of budget and regret: cases by hand, and properties for any stops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.stopping.outcomes import outcomes, summary, wide
from analysis.stopping.recorded import recorded

NAN = float("nan")


def one(curves_recorded, stops, scheduler="asha"):
    table = outcomes(curves_recorded, stops)
    return table[table["scheduler"] == scheduler].iloc[0]


def test_by_hand(curves_of, stops_of):
    # d is best in validation accuracy, and b in clean test accuracy.
    clean = {"a": [0.1, 0.5], "b": [0.1, 0.8], "c": [0.1, 0.6], "d": [0.1, 0.7]}
    noisy = {"a": [0.1, 0.40], "b": [0.1, 0.45], "c": [0.1, 0.41], "d": [0.1, 0.50]}
    memorized = {"a": [0.0, 0.9], "b": [0.0, 0.1], "c": [0.0, 0.2], "d": [0.0, 0.3]}
    curves_recorded = recorded(curves_of(clean, validation_accuracy=noisy, memorized_fraction=memorized))
    signal = "validation_accuracy"
    stops = pd.concat([
        stops_of({"a": 2, "b": 1, "c": 2, "d": 0}, 2, signal=signal),
        stops_of(dict.fromkeys("abcd", 2), 2, "none", signal=signal),
        stops_of({"a": 1, "b": 2, "c": 0, "d": 2}, 2, "random", signal=signal).assign(setting="random(as asha)"),
        stops_of({"a": 2, "b": 2, "c": 1, "d": 0}, 2, "random", signal, 1).assign(setting="random(as asha)"),
    ])  # fmt: skip
    row = one(curves_recorded, stops)
    assert row["budget"] == 5 / 8
    assert row["finished"] == 0.5
    assert row["regret"] == pytest.approx(0.50 - 0.41)
    assert row["clean_regret"] == pytest.approx(0.8 - 0.6)
    assert row["cost"] == pytest.approx(0.2 - 0.1)
    assert row["memorized"] == 0.2
    # Random stopping selects d and b, with regrets of 0.1 and 0, compared with 0.2.
    assert row["gain"] == pytest.approx((0.1 + 0.0) / 2 - 0.2)
    assert np.isnan(one(curves_recorded, stops, "none")["gain"])
    assert row["kept_best"] == 0
    unstopped = one(curves_recorded, stops, "none")
    assert (unstopped["budget"], unstopped["regret"], unstopped["kept_best"], unstopped["cost"]) == (1, 0, 1, 0)
    assert unstopped["clean_regret"] == pytest.approx(0.1)


def test_the_lead_is_over_the_largest_i_epoch_rule_that_trains_no_more(curves_of, stops_of):
    curves_recorded = recorded(curves_of({"a": [0.1] * 9 + [0.5], "b": [0.1] * 9 + [0.8], "c": [0.1] * 9 + [0.6]}))
    rules = {"cheap": {"a": 10, "b": 1, "c": 0}, "alike": {"a": 1, "b": 1, "c": 10}, "dear": {"a": 1, "b": 10, "c": 10}}
    stops = pd.concat([
        stops_of({"a": 10, "b": 1, "c": 0}, 10), stops_of({"a": 1, "b": 10, "c": 2}, 10, order=1),
        *(stops_of(stop, 10, "i-epoch").assign(setting=name) for name, stop in rules.items()),
        stops_of({"a": 10, "b": 0, "c": 0}, 10, "median"),
    ])  # fmt: skip
    table = outcomes(curves_recorded, stops)
    # ASHA trains 12 epochs on average. The rule "alike" trains 12 and selects c, which is 0.2 worse than b.
    leads = table[table["scheduler"] == "asha"].set_index("order")["lead"]
    assert leads.to_dict() == pytest.approx({0: 0.2 - 0.3, 1: 0.2 - 0.0})
    # Median stopping trains 10 epochs, fewer than any i-epoch rule.
    assert table.loc[table["scheduler"] != "asha", "lead"].isna().all()


def test_a_tie_is_a_choice_by_lot_and_nothing_finished_is_no_regret(curves_of, stops_of):
    noisy = {"a": [0.1, 0.4], "b": [0.1, 0.4], "c": [0.1, 0.3]}
    curves_recorded = recorded(
        curves_of({"a": [0.1, 0.5], "b": [0.1, 0.9], "c": [0.1, 0.9]}, validation_accuracy=noisy)
    )
    tie = one(curves_recorded, stops_of({"a": 2, "b": 2, "c": 2}, 2, signal="validation_accuracy"))
    assert tie["clean_regret"] == pytest.approx(0.9 - (0.5 + 0.9) / 2)
    nothing = one(curves_recorded, stops_of({"a": 1, "b": 1, "c": 0}, 2, signal="validation_accuracy"))
    assert np.isnan(nothing[["regret", "clean_regret"]].astype(float)).all()
    assert (nothing["kept_best"], nothing["budget"]) == (0, 2 / 6)


def test_a_loss_is_better_below_and_a_diverged_training_is_never_handed_over(curves_of, stops_of):
    loss = {"a": [3.0, 2.0], "b": [3.0, 1.5], "c": [0.1, NAN]}
    curves_recorded = recorded(curves_of(loss, metric="test_loss", horizon=2))
    row = one(curves_recorded, stops_of({"a": 2, "b": 1, "c": 1}, 2, signal="test_loss"))
    assert row["regret"] == pytest.approx(0.5)
    assert row["budget"] == pytest.approx(4 / 6)


@st.composite
def searches(draw):
    n, epochs = draw(st.integers(2, 6)), 4
    value = st.integers(0, 5).map(lambda number: number / 5)
    row = st.lists(value, min_size=epochs, max_size=epochs)
    names = [f"t{i}" for i in range(n)]
    tables = [{name: draw(row) for name in names} for _ in range(2)]
    stop = {name: draw(st.integers(0, epochs)) for name in names}
    more = {name: max(stop[name], draw(st.integers(0, epochs))) for name in names}
    return tables, stop, more, epochs


@given(searches(), st.randoms(use_true_random=False))
def test_what_must_hold(curves_of, stops_of, given_search, shuffle):
    (clean, noisy), stop, more, horizon = given_search
    signal = "validation_accuracy"
    curves_recorded = recorded(curves_of(clean, validation_accuracy=noisy))
    stops = pd.concat([stops_of(stop, horizon, "asha", signal), stops_of(more, horizon, "median", signal),
                       stops_of(dict.fromkeys(stop, horizon), horizon, "none", signal)])  # fmt: skip
    table = outcomes(curves_recorded, stops).set_index("scheduler")
    less, longer, none = table.loc["asha"], table.loc["median"], table.loc["none"]
    assert 0 <= less["budget"] <= longer["budget"] <= none["budget"] == 1
    # Compute the best final value among the finished trainings independently.
    ends = {name: noisy[name][-1] for name, epoch in stop.items() if epoch == horizon}
    if ends:
        best = max(values[-1] for values in noisy.values())
        assert less["regret"] == pytest.approx(best - max(ends.values()))
        handed = [clean[name][-1] for name, value in ends.items() if value == max(ends.values())]
        top = max(values[-1] for values in clean.values())
        assert less["clean_regret"] == pytest.approx(top - sum(handed) / len(handed))
        assert less["kept_best"] == float(best == max(ends.values()))
        # A rule that trains more never selects a training that is worse by the rule's own metric.
        assert 0 <= longer["regret"] <= less["regret"]
    else:
        assert np.isnan(less["regret"])
    rows = list(range(len(stops)))
    shuffle.shuffle(rows)
    again = outcomes(curves_recorded, stops.iloc[rows]).set_index("scheduler").loc[table.index]
    pd.testing.assert_frame_equal(again, table)


def test_the_summary_has_a_row_a_setting_with_the_interval_over_seeds(study):
    curves, stops = study
    table = outcomes(recorded(curves), stops)
    assert len(table) == 2 * 4 * 2 * 3 * 2
    pivoted = wide(summary(table))
    assert len(pivoted) == 2 * 4
    assert pivoted["signal"].tolist() == ["validation_accuracy"] * 4 + ["test_accuracy"] * 4
    assert all(part["budget"].is_monotonic_increasing for _, part in pivoted.groupby("signal"))
    row = pivoted[(pivoted["signal"] == "test_accuracy") & (pivoted["scheduler"] == "asha")].iloc[0]
    own = table[(table["signal"] == "test_accuracy") & (table["scheduler"] == "asha")]
    assert row["budget"] == pytest.approx(own["budget"].mean())
    assert (row["n"], row["over"]) == (3, "seeds")
    assert 0 <= row["budget_low"] < row["budget"] < row["budget_high"] <= 1
    by_problem = wide(summary(table, by_problem=True))
    assert len(by_problem) == 2 * 4 * 2
    assert by_problem.loc[by_problem["problem"] == "label noise 0", "memorized"].isna().all()
    assert by_problem.loc[by_problem["problem"] == "label noise 0.4", "memorized"].notna().all()
