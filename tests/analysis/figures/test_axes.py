"""Tests that every kind of figure draws into the caller's axes in the caller's style."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from analysis.errors import AnalysisError
from analysis.figures.kinds import KINDS

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]

ASKED: dict[str, dict[str, Any]] = {
    "heatmap": {"x": "parameter_count", "y": "label_noise", "value": "memorized_fraction"},
    "curves": {},
    "lines": {"x": "parameter_count", "y": ["test_error", "train_error"], "hue": "label_noise"},
    "regimes": {"x": "parameter_count", "y": "label_noise"},
    "spread": {},
    "scores": {"value": "forgetting_events"},
    "frontier": {"x": "train_accuracy", "y": "test_accuracy", "over": ["parameter_count"]},
    "bits": {"hue": "label_noise"},
    "emc": {"x": "parameters", "hue": "label_noise"},
}
ONE_SETTING = ("curves", "spread", "scores")


@pytest.mark.parametrize("kind", ASKED)
def test_a_figure_is_drawn_into_the_callers_axes_in_its_style(kind: str, sweep: Sweep) -> None:
    axes: dict[str, Any] = {"seed": [0, 1]}
    if kind not in ONE_SETTING:
        axes |= {"parameter_count": [300, 1200, 5000]}
        axes |= {"label_noise": [0.2, 0.8]} if kind != "frontier" else {}
    points, curves = sweep(**axes)
    examples = pd.concat(
        pd.DataFrame({
            "trajectory_id": trajectory, "epoch": 3, "measure": measure, "split": "train", "example_id": [0, 1],
            "value": [1.0, float(place % 2)],
        })
        for place, trajectory in enumerate(points["trajectory_id"]) for measure in ("correct", "forgetting_events")
    )  # fmt: skip
    tables = {"points": points.assign(dataset_size=1000), "curves": curves, "examples": examples, "chance": 0.1}
    takes = {name: tables[name] for name in KINDS[kind].takes if name in tables}
    with mpl.rc_context({"font.family": "monospace", "xtick.labelsize": 13, "axes.facecolor": "#eeeeff"}):
        figure, ax = plt.subplots()  # sets the backend if nothing has been drawn before
        before = mpl.rcParams.copy()
        drawn = KINDS[kind].function(**ASKED[kind], **takes, ax=ax)
        figure.canvas.draw()
        assert mpl.rcParams == before
    assert drawn is ax
    assert ax.has_data()
    assert ax.xaxis.get_ticklabels()[0].get_fontsize() == 13
    assert ax.get_ylabel()
    assert {other for other in figure.axes if other is not ax and other.get_label() != "<colorbar>"} == set()
    assert figure.legends == []
    plt.close(figure)


@pytest.mark.parametrize(("kind", "keys"), [
    ("heatmap", {"facet": "dropout"}), ("regimes", {"facet": "dropout"}), ("lines", {"facet": "dropout"}),
    ("lines", {"y": ["test_error", "test_loss"], "hue": "dropout"}), ("curves", {"hue": "dropout"}),
])  # fmt: skip
def test_one_axes_has_no_room_for_several_panels(kind: str, keys: dict[str, Any], sweep: Sweep) -> None:
    axes: dict[str, Any] = {} if kind == "curves" else {"parameter_count": [300, 1200]}
    axes |= {} if kind == "curves" or keys.get("hue") == "dropout" else {"label_noise": [0.2, 0.8]}
    points, curves = sweep(dropout=[0.0, 0.5], **axes)
    figure, ax = plt.subplots()
    assert isinstance(ax, Axes)
    given = {"points": points, "curves": curves} if kind == "curves" else {"points": points}
    with pytest.raises(AnalysisError, match="ax: given for 2 panels"):
        KINDS[kind].function(**{**ASKED[kind], **keys}, **given, ax=ax)
    plt.close(figure)
