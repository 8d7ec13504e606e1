from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.errors import AnalysisError
from analysis.figures.spread import spread_plot
from analysis.statistics.scores import overdispersion

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]
RUNS, SIZE = 40, 200


def answers(points: pd.DataFrame, chances: dict[float, np.ndarray], epoch: int = 1) -> pd.DataFrame:
    """Build the per-example table in which example i is right with a given probability per label noise."""
    rng = np.random.default_rng(0)
    return pd.concat(
        pd.DataFrame({
            "trajectory_id": row.trajectory_id, "epoch": epoch, "measure": "correct", "split": "train",
            "example_id": np.arange(SIZE), "value": (rng.random(SIZE) < chances[row.label_noise]).astype(float),
        })
        for row in points.itertuples()
    )  # fmt: skip


@pytest.fixture(scope="module")
def study(sweep: Sweep) -> tuple[pd.DataFrame, pd.DataFrame]:
    points, _ = sweep(label_noise=[0.0, 1.0], epochs=[1], seed=[*range(RUNS)])
    return points, answers(points, {0.0: np.repeat([0.95, 0.1], SIZE // 2), 1.0: np.full(SIZE, 0.3)})


def test_a_line_is_each_examples_misclassification_in_ascending_order(study: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    points, examples = study
    figure = spread_plot(points, examples, "label_noise")
    measured = [line for line in figure.axes[0].lines if line.get_label() == "measured"]
    ids = points.loc[points["label_noise"] == 0, "trajectory_id"]
    rates = 1 - examples[examples["trajectory_id"].isin(ids)].groupby("example_id")["value"].mean()
    assert list(measured[0].get_ydata()) == pytest.approx(sorted(100 * rates))
    assert (measured[0].get_xdata()[0], measured[0].get_xdata()[-1]) == (pytest.approx(0.25), pytest.approx(99.75))


def test_the_dotted_line_is_the_binomial_that_equal_examples_follow(study: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    points, examples = study
    lines = spread_plot(points, examples, "label_noise").axes[0].lines
    drawn = {(i, line.get_label()): line.get_ydata() for i, line in enumerate(lines)}
    # For equal probabilities, the two lines agree up to chance. For unequal probabilities, they differ widely.
    apart = {
        0: np.abs(drawn[0, "measured"] - drawn[1, "binomial"]),
        1: np.abs(drawn[2, "measured"] - drawn[3, "binomial"]),
    }
    assert apart[1].mean() < 2 < 30 < apart[0].mean()
    ids = points.loc[points["label_noise"] == 1, "trajectory_id"]
    p = 1 - examples.loc[examples["trajectory_id"].isin(ids), "value"].mean()
    tosses = np.sort(stats.binom.rvs(RUNS, p, size=20000, random_state=1)) / RUNS * 100
    quantiles = tosses[((np.arange(SIZE) + 0.5) / SIZE * 20000).astype(int)]
    assert np.abs(quantiles - drawn[3, "binomial"]).max() <= 100 / RUNS + 1e-9


def test_the_legend_has_the_overdispersion_with_its_interval(study: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    points, examples = study
    figure = spread_plot(points, examples, "label_noise", note="at width 16")
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    ids = points.loc[points["label_noise"] == 0, "trajectory_id"]
    table = examples[examples["trajectory_id"].isin(ids)].pivot_table("value", "trajectory_id", "example_id")
    expected = overdispersion(1 - table.to_numpy())
    assert texts[0] == f"0: overdispersion {expected.value:.2g} [{expected.low:.2g}, {expected.high:.2g}]"
    assert expected.value > 20
    assert figure.caption.startswith("At width 16. After 1 epoch; n = 40 trainings a line, 200 examples")


def test_a_training_without_predictions_is_left_out_and_not_wrong(study: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    points, examples = study
    fewer = examples[examples["trajectory_id"] != points["trajectory_id"].iloc[0]]
    assert "n = 39 to 40 trainings" in spread_plot(points, fewer, "label_noise").caption


def test_what_cannot_be_drawn_is_refused(study: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    points, examples = study
    with pytest.raises(AnalysisError, match="no correct of single examples is there; run the sweep first"):
        spread_plot(points, examples.iloc[:0])
    with pytest.raises(AnalysisError, match="hue"):
        spread_plot(points, examples, "colour")
    with pytest.raises(AnalysisError, match="at most 6"):
        spread_plot(points, examples, "seed")
    with pytest.raises(AnalysisError, match="label_noise: given several values inside one line"):
        spread_plot(points, examples)
