from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.patches import StepPatch
from scipy import stats

from analysis.errors import AnalysisError
from analysis.figures.histograms import histogram

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]


def rows(trajectory: str, measure: str, values: Sequence[float], split: str | Sequence[str] = "train") -> pd.DataFrame:
    return pd.DataFrame({
        "trajectory_id": trajectory, "epoch": 5, "measure": measure, "split": split,
        "example_id": range(len(values)), "value": values,
    })  # fmt: skip


def outlines(figure: Any) -> list[np.ndarray]:
    """Return the heights of each group's outline, in %."""
    return [p.get_data().values for p in figure.axes[0].patches if isinstance(p, StepPatch) and not p.get_fill()]


def test_shares_of_forgetting_events_are_means_over_seeds_and_nulls_stand_apart(sweep: Sweep) -> None:
    points, _ = sweep(seed=[0, 1])
    first, second = points["trajectory_id"]
    examples = pd.concat([
        rows(first, "forgetting_events", [0, 0, 1, np.nan]), rows(second, "forgetting_events", [0, 1, 1, 2])
    ])  # fmt: skip
    figure = histogram(points, examples, "forgetting_events")
    # 2/4 and 1/4 of the examples have 0 events, 1/4 and 2/4 have 1 event, none and 1/4 have 2 events.
    assert outlines(figure)[0] == pytest.approx([37.5, 37.5, 12.5])
    bar = figure.axes[0].patches[-1]
    assert bar.get_height() == pytest.approx(12.5)
    assert "Median 0.5, 12.5 % never learned, of 4 examples" in figure.caption
    assert "Mean over n = 2 seeds, bars: 95 % t interval" in figure.caption
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()][-1] == "never\nlearned"
    half = stats.t.ppf(0.975, 1) * np.std([25, 50], ddof=1) / np.sqrt(2)
    segments = next(c for c in figure.axes[0].containers if isinstance(c, ErrorbarContainer)).lines[2][0]
    low, high = segments.get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(half)


def test_many_events_share_the_last_bin(sweep: Sweep) -> None:
    points, _ = sweep(seed=[0])
    figure = histogram(
        points, rows(points["trajectory_id"].iloc[0], "forgetting_events", [0, 12, 13, 40]), "forgetting_events"
    )
    assert outlines(figure)[0] == pytest.approx([25, *[0] * 11, 75])
    assert "12+" in [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert "n = 1 seed, so no interval" in figure.caption


def test_memorization_scores_are_seen_minus_left_out(sweep: Sweep) -> None:
    points, _ = sweep(subset_fraction=[0.5], seed=[*range(4)])
    ids = [*points["trajectory_id"]]
    # Example 0 is right only if it was seen, example 1 always, example 2 never, example 3 half the time in both cases.
    seen = [["train", "left_out"] * 2, ["left_out", "train"] * 2, ["train", "left_out"] * 2, ["left_out", "train"] * 2]
    right = [[1, 1, 0, 1], [0, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 1]]
    examples = pd.concat(rows(t, "correct", r, s) for t, r, s in zip(ids, right, seen, strict=True))
    figure = histogram(points, examples, "memorization")
    heights, edges = outlines(figure)[0], np.linspace(-1, 1, 41)
    at = {round(float(edges[i]), 2): heights[i] for i in np.flatnonzero(heights)}
    assert at == {0.0: pytest.approx(75), 0.95: pytest.approx(25)}
    low, high = stats.binomtest(1, 4).proportion_ci(0.95, "wilson")
    assert (
        f"25.0 % of 4 examples memorized, 95 % Wilson interval {100 * low:.1f} to {100 * high:.1f} %" in figure.caption
    )
    assert "n = 4 trainings" in figure.caption


def test_an_outline_for_each_value_of_a_field(sweep: Sweep) -> None:
    points, _ = sweep(label_noise=[0.0, 0.2], seed=[0])
    clean, noisy = points["trajectory_id"]
    examples = pd.concat([rows(clean, "cumulative_loss", [0.0, 1.5]), rows(noisy, "cumulative_loss", [3.0, 3.0])])
    figure = histogram(points, examples, "cumulative_loss", "label_noise", note="held")
    assert [h.sum() for h in outlines(figure)] == pytest.approx([100, 100])
    assert outlines(figure)[1][-1] == pytest.approx(100)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["label noise 0", "label noise 0.2"]
    assert figure.caption.startswith("Held. After 5 epochs.")


def test_what_cannot_be_drawn_is_refused(sweep: Sweep) -> None:
    points, _ = sweep(label_noise=[0.0, 0.2], seed=[0, 1])
    examples = pd.concat(rows(t, "correct", [1, 0]) for t in points["trajectory_id"])
    with pytest.raises(AnalysisError, match=r"given 'memorisation'; did you mean memorization\?"):
        histogram(points, examples, "memorisation", "label_noise")
    with pytest.raises(AnalysisError, match="memorization scores need subset_fraction below 1"):
        histogram(points, examples, "memorization", "label_noise")
    with pytest.raises(AnalysisError, match="no forgetting_events of single examples is there"):
        histogram(points, examples, "forgetting_events", "label_noise")
    with pytest.raises(AnalysisError, match="label_noise: given several values inside one line"):
        histogram(points, examples, "memorization")
