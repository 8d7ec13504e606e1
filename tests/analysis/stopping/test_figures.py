"""Tests that pictures state n and their interval, and hatch missing cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.stopping.bars import stopped_figure
from analysis.stopping.fronts import front_figure, front_points, on_front
from analysis.stopping.looks import in_order, named, representatives, shortened
from analysis.stopping.maps import cell_means, grid_axes, stopping_map
from analysis.stopping.marks import marks_figure
from analysis.stopping.outcomes import outcomes
from analysis.stopping.rank_figure import rank_figure
from analysis.stopping.ranks import rank_correlations
from analysis.stopping.recorded import check_stops, recorded
from analysis.stopping.stopped import stopped_by

pytestmark = pytest.mark.usefixtures("without_layout")


@pytest.fixture(scope="module")
def given_study(study):
    curves, stops = study
    unstopped = recorded(curves, chance=0.1)
    table = outcomes(unstopped, stops)
    return unstopped, stops, table, representatives(table)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8))
def test_the_front_is_what_nothing_beats(points):
    cost, regret = np.array(points, dtype=float).T
    for place, (x, y) in enumerate(points):
        beaten = any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)
        assert on_front(cost, regret)[place] == (not beaten)


def test_nothing_known_is_on_no_front():
    assert on_front([1, np.nan, 2], [1, 0, np.nan]).tolist() == [True, False, False]


def test_front(given_study):
    _, _, table, _ = given_study
    picture = front_figure(table)
    axes = picture.get_axes()
    assert len(axes) == 3 * 2  # validation in its own terms and in clean accuracy, clean test; 2 levels of noise
    assert "n = 3 seeds" in picture.caption
    assert "95 % t interval over seeds" in picture.caption
    own = table[(table["signal"] == "validation_accuracy") & (table["problem"] == "label noise 0")]
    points = front_points(own, "validation_accuracy", "test_accuracy")
    drawn = {line.get_label(): line for line in axes[1].get_lines()}
    for row in points.itertuples():
        assert drawn[row.scheduler].get_xdata() == pytest.approx([row.x])
        assert drawn[row.scheduler].get_ydata() == pytest.approx([row.y])
    assert points.set_index("scheduler").loc["none", "x"] == 100


def test_the_setting_nearest_to_a_quarter_stands_for_its_scheduler():
    rows = [("s", "asha", f"asha(s max, grace {g})", 0, 0, b) for g, b in ((1, 0.05), (3, 0.2), (9, 0.9))]
    table = pd.DataFrame(rows, columns=["signal", "scheduler", "setting", "seed", "order", "budget"])
    chosen = representatives(table)
    assert chosen["setting"].tolist() == ["asha(s max, grace 3)"]
    assert "asha(grace 3) 20 %" in named(chosen)
    assert representatives(table.assign(scheduler="none")).empty


def test_words():
    assert shortened("asha(validation_accuracy max, grace 1)") == "asha(grace 1)"
    assert shortened("random(test_loss min)") == "random"
    assert shortened("none") == "none"
    assert in_order(["none", "other", "asha", "none"]) == ["asha", "none", "other"]


def test_maps(given_study):
    unstopped, stops, _, chosen = given_study
    assert grid_axes(unstopped) == ("width", "learning_rate")
    one = chosen[chosen["signal"] == "test_accuracy"]
    picture = stopping_map(unstopped, stops, one, "width", "learning_rate")
    assert "n = 3 seeds and 2 orders" in picture.caption
    assert [ax.get_title() for ax in picture.get_axes()[: len(one)]] == ["ASHA", "median stopping", "i-Epoch"]
    rows = check_stops(stops[stops["setting"] == "asha"], unstopped)
    means = cell_means(unstopped, rows, "width", "learning_rate", "stop_epoch")
    ids = unstopped.members.query("width == 8 and learning_rate == 0.2").index
    assert means[1, 1] == pytest.approx(rows.loc[rows["trajectory_id"].isin(ids), "stop_epoch"].mean())


def test_a_cell_that_was_never_recorded_is_hatched(given_study, study):
    _, stops, _, chosen = given_study
    curves, _ = study
    unstopped = recorded(curves[(curves["width"] != 8) | (curves["learning_rate"] != 0.1)], chance=0.1)
    stops = stops[stops["trajectory_id"].isin(unstopped.members.index)]
    picture = stopping_map(unstopped, stops, chosen.iloc[:1], "width", "learning_rate", "finished")
    hatched = [patch for patch in picture.get_axes()[0].patches if patch.get_hatch()]
    assert len(hatched) == 1
    assert hatched[0].get_xy() == pytest.approx((1.015, 0.015))


def test_a_sweep_without_two_fields_to_span_a_map_is_refused(curves_of):
    with pytest.raises(AnalysisError, match="no field that varies"):
        grid_axes(recorded(curves_of({"a": [0.1, 0.2]})))


def test_curves_are_solid_to_the_stop(given_study):
    unstopped, stops, _, chosen = given_study
    one = chosen[chosen["signal"] == "test_accuracy"].iloc[:1]
    picture = marks_figure(unstopped, stops, one, search=0)
    (ax,) = picture.get_axes()
    part = stops[(stops["setting"] == one["setting"].iloc[0]) & (stops["signal"] == "test_accuracy")]
    part = part[(part["order"] == 0) & part["trajectory_id"].isin(unstopped.members.query("search == 0").index)]
    marks = sorted(float(line.get_xdata()[0]) for line in ax.get_lines() if line.get_marker() == "o")
    assert marks == sorted(part.loc[~part["finished"], "stop_epoch"].astype(float))
    assert "n = 8 trainings; no intervals" in picture.caption


def test_stopped(given_study):
    unstopped, stops, _, chosen = given_study
    shares = stopped_by(unstopped, stops, unstopped.members["regime"])
    picture = stopped_figure(shares, chosen, ["generalizing", "coexisting", "memorizing", "underfit"], "regime")
    labels = [text.get_text() for text in picture.get_axes()[0].get_yticklabels()]
    counts = unstopped.members["regime"].value_counts()
    assert labels == [f"{name}\n({n} runs)" for name in counts.index.categories if (n := counts[name])]


def test_ranks(given_study):
    unstopped, _, _, _ = given_study
    picture = rank_figure(rank_correlations(unstopped), (1, 3, 9))
    assert [ax.get_title() for ax in picture.get_axes()] == ["label noise 0", "label noise 0.4"]
    assert "n = 3 seeds, 8 trainings a search; band: 95 % t interval over seeds" in picture.caption.replace(
        "Mean over ", ""
    )
