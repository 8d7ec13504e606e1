from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.errors import AnalysisError
from analysis.figures.lines import line_plot

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]

SIZES = [300, 1200, 5000, 20000]


def panels(figure: Figure) -> list[Axes]:
    return list(figure.axes)


def lines(ax: Axes, name: str) -> list[Line2D]:
    return [line for line in ax.lines if line.get_label() == name]


def x_of(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_xdata(), dtype=float)


def y_of(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata(), dtype=float)


def test_a_line_is_the_mean_over_seeds_along_x_and_a_colour_the_hue(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=SIZES, label_noise=[0.2, 0.6], seed=[0, 1])
    (ax,) = panels(line_plot(points, "parameter_count", ["test_error", "train_error"], "label_noise"))
    errors = 100 * (1 - points.pivot_table("test_accuracy", "label_noise", "parameter_count"))
    for drawn, (_, expected) in zip(lines(ax, "test_error"), errors.iterrows(), strict=True):
        np.testing.assert_allclose([x_of(drawn), y_of(drawn)], [SIZES, expected])
    first, second = lines(ax, "test_error")
    assert first.get_color() is not second.get_color()
    assert first.get_linestyle() != lines(ax, "train_error")[0].get_linestyle()
    assert ax.get_xscale() == "log"
    assert ax.get_ylabel() == "examples (%)"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["300", "1.2k", "5k", "20k"]


def test_a_missing_cell_breaks_the_line_and_is_marked(sweep: Sweep) -> None:
    points, _ = sweep({(("parameter_count", 1200),): "missing"}, parameter_count=SIZES, label_noise=[0.4])
    figure = line_plot(points, "parameter_count", "memorized_fraction")
    (ax,) = panels(figure)
    (drawn,) = lines(ax, "memorized_fraction")
    assert np.isnan(y_of(drawn)).tolist() == [False, True, False, False]
    (marked,) = lines(ax, "no data")
    assert list(x_of(marked)) == [1200]
    assert "Of 4 cells 1 without data." in figure.caption
    assert "no data" in [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_units_have_panels_of_their_own_and_facets_columns(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=SIZES, label_noise=[0.4], dropout=[0.0, 0.5])
    figure = line_plot(points, "parameter_count", ["test_error", "train_error", "test_loss"], None, "dropout")
    shown = panels(figure)
    assert [len(ax.lines) for ax in shown] == [2, 2, 1, 1]
    assert [ax.get_title() for ax in shown[:2]] == ["dropout 0", "dropout 0.5"]
    assert shown[2].get_ylabel() == "test loss (nats)"
    np.testing.assert_allclose(y_of(lines(shown[3], "test_loss")[0]), points.query("dropout == 0.5")["test_loss"])


def test_real_parameter_counts_can_be_the_axis_and_untrained_points_have_no_place(sweep: Sweep) -> None:
    points, _ = sweep({(("parameter_count", 1200),): "missing"}, parameter_count=SIZES, label_noise=[0.4])
    figure = line_plot(points, "parameters", "memorized_fraction")
    np.testing.assert_allclose(x_of(lines(panels(figure)[0], "memorized_fraction")[0]), [303, 5050, 20200])
    assert "1 point without parameters not drawn." in figure.caption


def test_an_epoch_and_the_epochs(sweep: Sweep) -> None:
    points, curves = sweep(parameter_count=SIZES, label_noise=[0.4])
    then = line_plot(points, "parameter_count", "test_accuracy", epoch=10, curves=curves)
    (drawn,) = lines(panels(then)[0], "test_accuracy")
    np.testing.assert_allclose(y_of(drawn), 100 * curves.query("epoch == 10")["test_accuracy"])
    along = line_plot(points, "epoch", "test_accuracy", "parameter_count", curves=curves)
    assert len(lines(panels(along)[0], "test_accuracy")) == len(SIZES)


def test_a_narrow_axis_is_linear_and_a_fraction_of_zero_stays_on_it(sweep: Sweep) -> None:
    points, _ = sweep(label_noise=[0.0, 0.2, 1.0])
    (ax,) = panels(line_plot(points, "label_noise", "train_accuracy", chance=0.1))
    assert ax.get_xscale() == "linear"
    assert ax.get_xlabel() == "label noise (fraction)"


def test_the_alternative_text_tells_where_each_metric_is_highest(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=SIZES, label_noise=[0.2, 0.6])
    alt = line_plot(points, "parameter_count", ["test_error"], "label_noise").alt
    worst = 100 * (1 - points["test_accuracy"].min())
    assert f"Clean test error is highest at 20k parameters, label noise 0.6: {worst:.0f} %." in alt


def test_bad_requests_are_answered(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=SIZES, label_noise=[0.2, 0.4], model=["mlp", "linear"])
    with pytest.raises(AnalysisError, match="label_noise, model: given several values"):
        line_plot(points, "parameter_count", "test_error")
    with pytest.raises(AnalysisError, match=r"x: given model.*valid is a field that varies and holds numbers"):
        line_plot(points, "model", "test_error")
    with pytest.raises(AnalysisError, match=r"x: given width.*valid is a field that varies and holds numbers"):
        line_plot(points, "width", "test_error")
    with pytest.raises(AnalysisError, match=r"y: given 'test_eror'; did you mean test_error"):
        line_plot(points, "parameter_count", ["test_eror"])
    with pytest.raises(AnalysisError, match="y: given 0 metrics; valid are 1 to 4"):
        line_plot(points, "parameter_count", [])
    with pytest.raises(AnalysisError, match="all must differ"):
        line_plot(points, "parameter_count", "test_error", "parameter_count")
    many, _ = sweep(parameter_count=SIZES, width=list(range(1, 12)))
    with pytest.raises(AnalysisError, match="hue: given 11 values of width; valid are at most 10"):
        line_plot(many, "parameter_count", "test_error", "width")


def test_epochs_at_which_nothing_was_measured_are_no_gaps(sweep: Sweep) -> None:
    points, curves = sweep(label_noise=[0.0, 0.4], seed=[0, 1])
    curves = curves.assign(loss_sensitivity_gini=np.where(curves["epoch"].isin([1, 10]), 0.4, np.nan))
    points = points.assign(loss_sensitivity_gini=np.nan)
    ax = line_plot(points, "epoch", "loss_sensitivity_gini", "label_noise", curves=curves).axes[0]
    assert [line.get_label() for line in ax.lines] == ["loss_sensitivity_gini"] * 2
    assert list(ax.lines[0].get_xdata()) == [1, 10]


def test_small_shares_have_an_axis_of_their_own(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=[300, 1200, 5000], seed=[0, 1])
    small = points.assign(critical_sample_ratio=0.06, test_accuracy=0.5)
    small.loc[small["parameter_count"] == 300, "critical_sample_ratio"] = 0.01
    low, high = line_plot(small, "parameter_count", "critical_sample_ratio").axes[0].get_ylim()
    assert -2 <= low < 1 < 6 < high < 8
    wide = small.assign(test_accuracy=np.where(small["parameter_count"] == 300, 0.3, 0.6))
    figure = line_plot(wide, "parameter_count", "test_accuracy", chance=0.1)
    assert figure.axes[0].get_ylim() == (-2, 102)
    # Chance is marked if it lies on the axis.
    narrow = line_plot(small, "parameter_count", "test_accuracy", chance=0.1)
    assert [len(one.axes[0].lines) for one in (figure, narrow)] == [2, 1]
    assert len(figure.legends) == 1
    assert narrow.legends == []
