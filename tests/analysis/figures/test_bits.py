from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.errors import AnalysisError
from analysis.figures.bits import bits_plot, fitted_slope

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]
SIZES = [1000, 2000, 3000, 4000, 8000, 16000]
CEILING = 1000 * np.log2(10)


def memorizing(points: pd.DataFrame, slopes: dict[int, float], intercept: float = 0.0) -> pd.DataFrame:
    """Build networks that memorize slope x parameters + intercept bits, up to the bits of 1000 labels of 10 classes."""
    bits = (points["seed"].map(slopes) * points["parameters"] + intercept).clip(upper=CEILING)
    return points.assign(bits_memorized=bits, train_accuracy=bits / CEILING, dataset_size=1000)


@pytest.fixture(scope="module")
def study(sweep: Sweep) -> pd.DataFrame:
    return sweep(parameter_count=SIZES, label_noise=[1.0], seed=[0, 1, 2])[0]


def test_the_slope_is_that_of_the_networks_below_the_ceiling(study: pd.DataFrame) -> None:
    slope = fitted_slope(memorizing(study, {0: 0.6, 1: 0.7, 2: 0.8}, 40.0))
    assert slope is not None
    # 0.7 x 4000 + 40 bits are 86 % of 3322; 8000 parameters reach the ceiling and would flatten the line.
    assert slope.sizes == (1010.0, 2020.0, 3030.0, 4040.0)
    assert (slope.of, slope.n) == (6, 3)
    assert slope.bits == pytest.approx(0.7)
    assert slope.intercept == pytest.approx(40)
    half = stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    assert (slope.low, slope.high) == (pytest.approx(0.7 - half), pytest.approx(0.7 + half))


@given(st.floats(0.05, 0.7), st.floats(-30, 30))
def test_any_exact_line_is_found(bits: float, intercept: float) -> None:
    parameters = np.repeat([1000.0, 2000.0, 4000.0], 2)
    points = pd.DataFrame({
        "parameters": parameters, "seed": [0, 1] * 3, "outcome": "finished",
        "bits_memorized": bits * parameters + intercept, "train_accuracy": 0.5,
    })  # fmt: skip
    slope = fitted_slope(points)
    assert slope is not None
    assert slope.bits == pytest.approx(bits)
    assert slope.high - slope.low == pytest.approx(0, abs=1e-9)


def test_there_is_no_slope_of_fewer_than_three_sizes(study: pd.DataFrame) -> None:
    assert fitted_slope(memorizing(study, {0: 1.2, 1: 1.2, 2: 1.2})) is None
    diverged = memorizing(study, {0: 0.7, 1: 0.7, 2: 0.7})
    diverged.loc[diverged["parameters"] < 3000, "outcome"] = "diverged"
    assert fitted_slope(diverged) is None


def test_the_picture_has_the_points_the_fit_and_all_there_is(study: pd.DataFrame) -> None:
    points = memorizing(study, {0: 0.6, 1: 0.7, 2: 0.8})
    figure = bits_plot(points, chance=0.1)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    measured = next(c for c in figure.axes[0].containers).lines[0]
    assert list(measured.get_xdata()) == pytest.approx([1.01, 2.02, 3.03, 4.04, 8.08, 16.16])
    assert measured.get_ydata()[0] == pytest.approx(0.7 * 1.01)
    assert list(lines["fit"].get_xdata()) == pytest.approx([1.01, 4.04])
    assert list(lines["fit"].get_ydata()) == pytest.approx([0.7 * 1.01, 0.7 * 4.04])
    assert lines["ceiling"].get_ydata()[0] == pytest.approx(CEILING / 1000)
    assert "measured: 0.70 [0.45, 0.95] bits a parameter (4 of 6 sizes, n = 3)" in [
        text.get_text() for text in figure.legends[0].get_texts()
    ]
    assert "n = 3 seeds" in figure.caption


def test_no_ceiling_is_drawn_where_it_is_not_known(study: pd.DataFrame) -> None:
    points = memorizing(study, {0: 0.6, 1: 0.7, 2: 0.8})
    for change in ({"dataset_size": np.nan}, {"validation_fraction": 0.2}):
        assert "ceiling" not in [
            line.get_label() for line in bits_plot(points.assign(**change), chance=0.1).axes[0].lines
        ]
    assert "ceiling" not in [line.get_label() for line in bits_plot(points).axes[0].lines]


def test_one_line_is_not_of_several_settings(study: pd.DataFrame) -> None:
    points = memorizing(study, {0: 0.6, 1: 0.7, 2: 0.8})
    both = pd.concat([points, points.assign(depth=4)], ignore_index=True)
    with pytest.raises(AnalysisError, match="depth"):
        bits_plot(both)
    assert len(bits_plot(both.fillna({"depth": 2}), "depth").axes[0].containers) == 2
    with pytest.raises(AnalysisError, match="no network has been built"):
        bits_plot(points.assign(parameters=np.nan))
