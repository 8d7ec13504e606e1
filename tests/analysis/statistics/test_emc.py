from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.statistics.emc import effective_model_complexity, interpolation_threshold

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]
SIZES = [500, 1000, 2000, 4000]


def with_errors(points: pd.DataFrame, errors: list[float]) -> pd.DataFrame:
    """Assign training errors to the points in order; NaN makes a point missing."""
    error = np.asarray(errors, dtype=float)
    lost = pd.Series(np.isnan(error), points.index)
    return points.assign(train_accuracy=1 - error, outcome=points["outcome"].mask(lost, "missing"))


@pytest.mark.parametrize(
    ("errors", "emc", "following", "status"),
    [
        ([0.0, 0.05, 0.3, 0.6], 1000, 2000, "value"),
        ([0.0, 0.10, 0.3, 0.6], 1000, 2000, "value"),
        ([0.0, 0.02, 0.05, 0.1], 4000, np.nan, "at least"),
        ([0.2, 0.3, 0.4, 0.5], np.nan, 500, "below"),
        ([np.nan] * 4, np.nan, np.nan, "missing"),
        ([0.0, np.nan, 0.3, 0.6], 500, 2000, "value"),
        ([0.0, 0.05, np.nan, np.nan], 1000, np.nan, "at least"),
        ([np.nan, 0.3, 0.4, 0.5], np.nan, 1000, "below"),
        # The definition is a maximum: an easier set that is not fitted does not lower it.
        ([0.0, 0.2, 0.05, 0.6], 2000, 4000, "value"),
    ],
)
def test_a_row_by_hand(sweep: Sweep, errors: list[float], emc: float, following: float, status: str) -> None:
    points = with_errors(sweep(dataset_size=SIZES)[0], errors)
    result = effective_model_complexity(points.sample(frac=1, random_state=0))
    assert list(result.columns) == ["emc", "next", "error", "low", "high", "n", "status"]
    (row,) = result.to_dict("records")
    np.testing.assert_equal([row["emc"], row["next"], row["status"]], [emc, following, status])
    if not np.isnan(emc):
        assert row["error"] == pytest.approx(errors[SIZES.index(int(emc))])
        assert row["n"] == 1
    else:
        assert np.isnan(row["error"])
        assert row["n"] == 0


def test_the_error_is_the_mean_over_seeds_that_finished(sweep: Sweep) -> None:
    points = with_errors(sweep(dataset_size=[500, 1000], seed=[0, 1, 2])[0], [0, 0, 0, 0.04, 0.14, np.nan])
    (row,) = effective_model_complexity(points).to_dict("records")
    assert (row["emc"], row["n"], row["status"]) == (1000, 2, "at least")
    assert row["error"] == pytest.approx(0.09)
    assert row["low"] < 0.09 < row["high"]
    (strict,) = effective_model_complexity(points, 0.08).to_dict("records")
    assert (strict["emc"], strict["next"]) == (500, 1000)


def test_every_other_setting_has_its_own(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=[300, 5000], dataset_size=[500, 1000])
    result = effective_model_complexity(with_errors(points, [0.0, 0.3, 0.0, 0.0]))
    assert result[["parameter_count", "emc", "status"]].to_numpy().tolist() == [
        [300, 500, "value"], [5000, 1000, "at least"],
    ]  # fmt: skip


def test_settings_that_are_in_no_grid_are_no_rows(sweep: Sweep) -> None:
    one, _ = sweep(parameter_count=[300], dropout=[0.0], dataset_size=[500, 1000])
    two, _ = sweep(parameter_count=[5000], dropout=[0.5], dataset_size=[500, 1000])
    result = effective_model_complexity(pd.concat([one, two], ignore_index=True))
    assert result[["parameter_count", "dropout"]].to_numpy().tolist() == [[300, 0.0], [5000, 0.5]]


def test_all_examples_are_a_number_or_an_error(sweep: Sweep) -> None:
    points = with_errors(sweep(dataset_size=[1000, None])[0], [0.0, 0.05])
    assert effective_model_complexity(points, full_size=4000)["emc"].tolist() == [4000]
    with pytest.raises(AnalysisError, match="full_size: not given, and dataset_size is unset"):
        effective_model_complexity(points)
    with pytest.raises(AnalysisError, match="epsilon: given 10; valid is a number of at least 0 and below 1"):
        effective_model_complexity(points, 10, full_size=4000)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 30), min_size=2, max_size=2), min_size=4, max_size=4), st.integers(0, 29))
def test_as_the_definition_says(sweep: Sweep, percent: list[list[int]], epsilon: int) -> None:
    points = with_errors(sweep(dataset_size=SIZES, seed=[0, 1])[0], [e / 100 for pair in percent for e in pair])
    (row,) = effective_model_complexity(points, epsilon / 100).to_dict("records")
    fitted = [n for n, pair in zip(SIZES, percent, strict=True) if sum(pair) <= 2 * epsilon]
    np.testing.assert_equal(row["emc"], max(fitted, default=np.nan))
    above = [n for n in SIZES if n > max(fitted, default=0)]
    np.testing.assert_equal(row["next"], min(above, default=np.nan))
    assert row["status"] == ("below" if not fitted else "value" if above else "at least")
    # Along capacity, the errors are the same, and the threshold is the smallest fitted size instead of the largest.
    turned = points.rename(columns={"dataset_size": "width", "width": "dataset_size"})
    (threshold,) = interpolation_threshold(turned, "width", epsilon / 100).to_dict("records")
    np.testing.assert_equal(threshold["threshold"], min(fitted, default=np.nan))
    below = [n for n in SIZES if n < min(fitted, default=np.inf)]
    np.testing.assert_equal(threshold["before"], max(below, default=np.nan))
    assert threshold["status"] == ("not reached" if not fitted else "value" if below else "at most")


def test_the_threshold_is_where_emc_reaches_the_number_of_examples(sweep: Sweep) -> None:
    counts = [300, 1000, 5000, 20_000]
    points, _ = sweep(dataset_size=[500, 1000], parameter_count=counts)
    points = with_errors(points, [0.3, 0.05, 0.0, 0.0, 0.5, 0.4, 0.08, 0.0])
    emc = effective_model_complexity(points).set_index("parameter_count")["emc"]
    result = interpolation_threshold(points, "parameter_count").set_index("dataset_size")
    for n in (500, 1000):
        assert result.loc[n, "threshold"] == min(count for count in counts if emc[count] >= n)
    by_real_count = interpolation_threshold(points)
    assert "parameter_count" not in by_real_count
    assert by_real_count["threshold"].tolist() == [1010, 5050]
    assert by_real_count["before"].tolist() == [303, 1010]


def test_the_peak_of_double_descent_lies_between_two_thresholds(sweep: Sweep) -> None:
    # The published training errors at 15 % noise (arXiv 2011.14439): 10 % to 0 % is between widths 36 and 61.
    widths = [9, 16, 27, 36, 47, 61, 104, 177, 230, 300]
    errors = [0.4745, 0.397, 0.2955, 0.1902, 0.0547, 0, 0, 0, 0, 0]
    points = with_errors(sweep(width=widths, label_noise=[0.15])[0].assign(parameters=np.nan), errors)
    result = [interpolation_threshold(points, "width", epsilon).iloc[0] for epsilon in (0.1, 0.0)]
    assert [(row["before"], row["threshold"]) for row in result] == [(36, 47), (47, 61)]


def test_along_an_axis_that_makes_no_sense_is_refused(sweep: Sweep) -> None:
    points, _ = sweep(dataset_size=SIZES, parameter_count=[300, 1000])
    for axis in ("dataset_size", "seed"):
        with pytest.raises(AnalysisError, match=f"along: given {axis}; valid is a field of capacity or time"):
            interpolation_threshold(points, axis)
    with pytest.raises(AnalysisError, match="along: given model, which holds no numbers here"):
        interpolation_threshold(points, "model")
    with pytest.raises(AnalysisError, match="along: given width, which holds no numbers here"):
        interpolation_threshold(points, "width")
    with pytest.raises(AnalysisError, match=r"along: given 'widht'; did you mean width\?"):
        interpolation_threshold(points, "widht")
