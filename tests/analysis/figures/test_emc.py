from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.errors import AnalysisError
from analysis.figures.emc import emc_plot

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]
SIZES = [500, 1000, 2000]
WIDTHS = [8, 16, 32]
# Rows: widths; columns: sizes.
ERRORS = {8: [0.2, 0.3, 0.4], 16: [0.02, 0.05, 0.3], 32: [0.0, 0.0, 0.04]}


def erring(points: pd.DataFrame, errors: dict[int, list[float]], apart: float = 0.0) -> pd.DataFrame:
    """Build points from training errors by width and size; seed 1 is `apart` above the mean and seed 0 below."""
    means = [errors[w][SIZES.index(n)] for w, n in zip(points["width"], points["dataset_size"], strict=True)]
    return points.assign(train_accuracy=1 - np.asarray(means) - apart * (2 * points["seed"] - 1))


@pytest.fixture(scope="module")
def study(sweep: Sweep) -> pd.DataFrame:
    return erring(sweep(width=WIDTHS, dataset_size=SIZES, seed=[0, 1])[0], ERRORS, 0.0002)


def drawn(ax: Axes, label: str) -> list[Line2D]:
    return [line for line in ax.lines if line.get_label() == label]


def at(lines: list[Line2D]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for line in lines for x, y in zip(*line.get_data(), strict=True)]


def test_a_dot_is_the_largest_set_fitted_and_a_bar_ends_at_the_next(study: pd.DataFrame) -> None:
    figure = emc_plot(study)
    ax = figure.axes[0]
    assert at(drawn(ax, "EMC")) == [(16, 1000), (32, 2000)]
    assert at(drawn(ax, "value")) == [(16, 2000)]
    ((above, high),) = at(drawn(ax, "at least"))
    ((below, low),) = at(drawn(ax, "below"))
    assert (above, below) == (32, 8)
    assert high > 2000
    assert low < 500
    assert [bar[0] for bar in sorted(at(drawn(ax, "bar"))[::2])] == [8, 16, 32]
    assert sorted({y for _, y in at(drawn(ax, "tried"))}) == SIZES
    assert ax.get_xlabel().startswith("width")
    assert "training examples" in ax.get_ylabel()
    assert "ε = 10 %; n = 2 seeds a mean" in figure.caption
    assert figure.alt.endswith("Below 500 at width 8, at least 2,000 at width 32.")
    assert not drawn(ax, "unsure")


def test_another_epsilon_moves_the_dots(study: pd.DataFrame) -> None:
    ax = emc_plot(study, epsilon=0.03).axes[0]
    assert at(drawn(ax, "EMC")) == [(16, 500), (32, 1000)]


@pytest.mark.parametrize("wide", [[0.02, 0.09, 0.3], [0.02, 0.05, 0.11]])
def test_a_mark_is_open_where_seeds_cannot_tell(study: pd.DataFrame, wide: list[float]) -> None:
    # A t interval of two seeds 0.01 from their mean is 0.127 either way.
    ax = emc_plot(erring(study, {8: [0.3, 0.3, 0.4], 16: wide, 32: [0.0, 0.0, 0.3]}, 0.01)).axes[0]
    (unsure,) = [line for line in drawn(ax, "unsure") if 16 in line.get_xdata()]
    assert unsure.get_markerfacecolor() == "white"


def test_a_width_without_data_is_marked_and_counted(sweep: Sweep) -> None:
    points, _ = sweep({(("width", 16),): "missing"}, width=WIDTHS, dataset_size=SIZES)
    figure = emc_plot(erring(points, ERRORS))
    assert [x for x, _ in at(drawn(figure.axes[0], "no data"))] == [16]
    assert "3 without data" in figure.caption
    assert "so no interval" in figure.caption


def test_a_line_for_each_hue(sweep: Sweep) -> None:
    points = erring(sweep(width=WIDTHS, dataset_size=SIZES, dropout=[0.0, 0.5])[0], ERRORS)
    worse = points["dropout"] > 0
    points.loc[worse, "train_accuracy"] -= 0.07
    figure = emc_plot(points, hue="dropout")
    ax = figure.axes[0]
    assert at(drawn(ax, "EMC")) == [(16, 1000), (32, 2000), (16, 500), (32, 1000)]
    assert len({tuple(line.get_color()) for line in drawn(ax, "line")}) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["dropout 0", "dropout 0.5"]
    with pytest.raises(AnalysisError, match="dropout"):
        emc_plot(points)


def test_against_parameters_it_is_those_that_the_networks_have(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=[300, 1000], dataset_size=SIZES)
    figure = emc_plot(points.assign(train_accuracy=1.0), "parameters")
    assert at(drawn(figure.axes[0], "EMC")) == [(303, 2000), (1010, 2000)]


def test_points_without_a_place_are_counted(study: pd.DataFrame) -> None:
    figure = emc_plot(pd.concat([study, study[:4].assign(dataset_size=None), study[:1].assign(width=None)]))
    assert "4 points of all training examples, however many they are, not drawn" in figure.caption
    assert "1 point without width not drawn" in figure.caption
    with pytest.raises(AnalysisError, match="unset here"):
        emc_plot(study.assign(dataset_size=None))


def test_what_cannot_be_drawn_is_refused(study: pd.DataFrame) -> None:
    with pytest.raises(AnalysisError, match="x: given 'dropout'; valid: "):
        emc_plot(study, "dropout")
    with pytest.raises(AnalysisError, match=r"hue: given 'seed'; .*valid: data,"):
        emc_plot(study, hue="seed")
    with pytest.raises(AnalysisError, match="epsilon: given 10"):
        emc_plot(study, epsilon=10)
    many = pd.concat([study.assign(dropout=d / 10) for d in range(7)])
    with pytest.raises(AnalysisError, match="hue: given 7 values of dropout; valid are at most 6"):
        emc_plot(many, hue="dropout")
