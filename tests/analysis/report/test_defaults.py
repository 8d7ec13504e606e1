from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from analysis.figures.defaults import default_figures
from analysis.figures.drawing import draw

pytestmark = pytest.mark.usefixtures("without_layout")

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]

SIZES, NOISES = [300, 1200, 5000], [0.0, 0.2, 0.4, 0.8]


def test_two_axes_give_the_maps_the_errors_and_the_learning_curves(sweep: Sweep) -> None:
    points, curves = sweep(label_noise=NOISES, parameter_count=SIZES, seed=[0, 1])
    chosen = default_figures(points, curves)
    assert [(f.kind, f.x, f.y, f.value, f.hue) for f in chosen] == [
        ("heatmap", "parameter_count", "label_noise", "memorized_fraction", None),
        ("heatmap", "parameter_count", "label_noise", "test_accuracy", None),
        ("heatmap", "parameter_count", "label_noise", "train_accuracy", None),
        ("lines", "parameter_count", ("test_error", "train_error"), None, "label_noise"),
        ("curves", None, None, None, "label_noise"),
    ]
    # Learning curves are those of the largest network, and the caption says so.
    assert chosen[-1].where == {"parameter_count": 5000}
    assert draw(chosen[-1], points, curves).caption.startswith("At 5k parameters. Mean over n = 2 seeds a panel")


def test_further_axes_are_facets_and_what_is_left_is_held(sweep: Sweep) -> None:
    points, curves = sweep(
        label_noise=NOISES, parameter_count=SIZES, dropout=[0.0, 0.5], weight_decay=[0.0, 0.1],
        momentum=[0.0, 0.9], epochs=[50, 100],
    )  # fmt: skip
    for spec in default_figures(points, curves)[2:]:
        assert draw(spec, points, curves).caption
    heat = default_figures(points, curves)[0]
    assert heat.facet == ("dropout", "momentum")
    assert heat.where == {"weight_decay": 0.0, "epochs": 100}


def test_long_axes_are_thinned_where_a_figure_has_no_room(sweep: Sweep) -> None:
    noises = [round(0.05 * i, 2) for i in range(12)]
    points, curves = sweep(label_noise=noises, parameter_count=SIZES, dropout=[0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    chosen = default_figures(points, curves)
    assert [f.kind for f in chosen] == ["heatmap"] * 3 + ["lines", "curves"]
    assert chosen[0].x == "dropout"
    assert len(chosen[-1].where["label_noise"]) == 8
    for spec in chosen[2:]:
        assert draw(spec, points, curves).caption


def test_what_does_not_exist_is_not_chosen_but_what_is_to_come_is(sweep: Sweep) -> None:
    clean, curves = sweep(dropout=[0.0, 0.2], parameter_count=SIZES)
    assert "memorized_fraction" not in [f.value for f in default_figures(clean, curves)]
    begun, none = sweep({(): "missing"}, label_noise=NOISES, parameter_count=SIZES)
    chosen = default_figures(begun, none)
    assert [f.value for f in chosen[:3]] == ["memorized_fraction", "test_accuracy", "train_accuracy"]
    assert all(f.kind != "curves" for f in chosen)


def test_the_largest_network_is_one_with_a_size(sweep: Sweep) -> None:
    points, curves = sweep(label_noise=NOISES, parameter_count=[300, 1200, None])
    assert default_figures(points, curves)[-1].where == {"parameter_count": 1200}


@pytest.mark.parametrize(
    ("axes", "kinds"),
    [
        ({}, ["curves"]),
        ({"label_noise": NOISES}, ["lines", "curves"]),
        ({"model": ["mlp", "linear"]}, ["curves"]),
        ({"model": ["mlp", "linear"], "width": [4, 8, 16]}, ["lines", "curves"]),
        ({"epochs": [50, 100]}, ["lines", "curves"]),
    ],
)
def test_small_studies_have_figures_too(sweep: Sweep, axes: dict[str, Any], kinds: list[str]) -> None:
    points, curves = sweep(seed=[0, 1], **axes)
    chosen = default_figures(points, curves)
    assert [f.kind for f in chosen] == kinds
    for spec in chosen:
        assert draw(spec, points, curves).alt
