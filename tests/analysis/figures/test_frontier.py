from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.container import ErrorbarContainer
from scipy import stats

from analysis.errors import AnalysisError
from analysis.figures.frontier import frontier_plot

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]
RANDOM, CLEAN = {"label_noise": 1.0}, {"label_noise": 0.0}


@pytest.fixture(scope="module")
def study(sweep: Sweep) -> pd.DataFrame:
    grids = [{"dropout": [0.0, 0.25, 0.5]}, {"weight_decay": [0.1, 1.0]}]
    tables = [sweep(**grid, label_noise=[0.0, 1.0], seed=[0, 1, 2])[0] for grid in grids]
    points = pd.concat(tables, ignore_index=True)
    strength = points["dropout"] + points["weight_decay"]
    train = np.where(points["label_noise"] == 1, 1 - 0.5 * strength, 1.0) + 0.01 * points["seed"]
    test = 0.9 - 0.1 * points["weight_decay"] - 0.02 * points["seed"]
    return points.assign(train_accuracy=train, test_accuracy=test)


def drawn(study: pd.DataFrame, **more: object) -> dict[str, ErrorbarContainer]:
    figure = frontier_plot(
        study, "train_accuracy", "test_accuracy", ["dropout", "weight_decay"], x_where=RANDOM, y_where=CLEAN
    )
    return {bars.get_label(): bars for bars in figure.axes[0].containers if isinstance(bars, ErrorbarContainer)}


def test_a_point_is_random_labels_across_and_clean_ones_up(study: pd.DataFrame) -> None:
    line = drawn(study)["dropout"].lines[0]
    # Each value is the mean over the seeds 0, 1 and 2.
    assert list(line.get_xdata()) == pytest.approx([101, 88.5, 76])
    assert list(line.get_ydata()) == pytest.approx([88, 88, 88])


def test_the_lines_start_where_all_regularizers_are_off(study: pd.DataFrame) -> None:
    lines = {field: bars.lines[0] for field, bars in drawn(study).items()}
    starts = {(line.get_xdata()[0], line.get_ydata()[0]) for line in lines.values()}
    assert len(starts) == 1
    assert list(lines["weight_decay"].get_xdata()) == pytest.approx([101, 96, 51])
    assert list(lines["weight_decay"].get_ydata()) == pytest.approx([88, 87, 78])


def test_bars_are_t_intervals_over_seeds(study: pd.DataFrame) -> None:
    bars = drawn(study)["dropout"]
    half = stats.t.ppf(0.975, 2) / np.sqrt(3)
    segments = [collection.get_segments()[0] for collection in bars.lines[2]]
    across, up = (next(s for s in segments if abs(s[0][1 - i] - s[1][1 - i]) < 1e-9) for i in (0, 1))
    assert (across[1][0] - across[0][0]) / 2 == pytest.approx(half * 1)
    assert (up[1][1] - up[0][1]) / 2 == pytest.approx(half * 2)


def test_strengths_stand_beside_their_points_but_not_in_the_ring(study: pd.DataFrame) -> None:
    figure = frontier_plot(
        study, "train_accuracy", "test_accuracy", ["dropout", "weight_decay"], x_where=RANDOM, y_where=CLEAN, note="x"
    )
    assert {text.get_text() for text in figure.axes[0].texts} == {"0.25", "0.5", "0.1", "1"}
    near = study.assign(train_accuracy=0.9, test_accuracy=0.9)
    same = frontier_plot(near, "train_accuracy", "test_accuracy", ["dropout"], x_where=RANDOM | {"weight_decay": 0.0},
                         y_where=CLEAN | {"weight_decay": 0.0})  # fmt: skip
    assert [text.get_text() for text in same.axes[0].texts] == []
    assert "n = 3 seeds a point" in figure.caption
    assert "Dropout 0.5: training accuracy, labels as given 101 to 76" in figure.alt


def test_a_lost_side_is_no_point_and_is_told(study: pd.DataFrame) -> None:
    lost = study.copy()
    gone = (lost["dropout"] == 0.5) & (lost["label_noise"] == 0)
    lost.loc[gone, ["outcome", "test_accuracy"]] = ["diverged", np.nan]
    figure = frontier_plot(
        lost, "train_accuracy", "test_accuracy", ["dropout", "weight_decay"], x_where=RANDOM, y_where=CLEAN
    )
    line = next(c for c in figure.axes[0].containers if c.get_label() == "dropout").lines[0]
    assert np.isnan(line.get_ydata()[-1])
    assert "1 diverged" in figure.caption


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"over": []}, "over: given 0 fields; valid are 1 to 6"),
        ({"over": ["dropuot"]}, "over"),
        ({"x": "accuracy"}, "x"),
        ({"over": ["dropout"]}, "weight_decay: given several values inside one cell"),
        ({"x": "test_accuracy", "x_where": CLEAN}, "y: given test_accuracy, which is x at the same settings"),
    ],
)
def test_what_cannot_be_drawn_is_refused(study: pd.DataFrame, change: dict[str, object], message: str) -> None:
    given: dict[str, object] = {
        "x": "train_accuracy", "y": "test_accuracy", "over": ["dropout", "weight_decay"], "x_where": RANDOM,
        "y_where": CLEAN,
    } | change  # fmt: skip
    with pytest.raises(AnalysisError, match=message):
        frontier_plot(study, **given)  # type: ignore[arg-type]
