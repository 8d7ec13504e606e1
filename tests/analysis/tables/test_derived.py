from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.figures.heatmaps import heatmap
from analysis.tables.derived import first_epochs, with_derived, with_gap
from analysis.words import DERIVED, METRICS

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]


def curve(trajectory: str, epochs: list[int], train: list[float], test: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {"trajectory_id": trajectory, "epoch": epochs, "train_accuracy": train, "test_accuracy": test,
         "validation_accuracy": [t / 2 for t in test], "train_loss": 1.0, "test_loss": 1.0, "outcome": "finished"}
    )  # fmt: skip


def point(trajectory: str, epochs: int, train: float, test: float, outcome: str = "finished") -> dict[str, object]:
    return {"trajectory_id": trajectory, "epochs": epochs, "epoch": epochs, "outcome": outcome,
            "train_accuracy": train, "test_accuracy": test}  # fmt: skip


HAND = curve("a", [1, 2, 4, 8], [0.5, 0.9, 0.95, 1.0], [0.4, 0.7, 0.6, 0.55])


def test_a_case_by_hand() -> None:
    points = pd.DataFrame(
        [point("a", 8, 1.0, 0.55), point("a", 4, 0.95, 0.6), point("a", 1, 0.5, 0.4)], index=[7, 3, 5]
    )
    result = with_derived(points, HAND)
    assert list(result.index) == [7, 3, 5]
    assert list(result.columns) == [*points.columns, *DERIVED]
    np.testing.assert_allclose(result["generalization_gap"], [0.45, 0.35, 0.1])
    np.testing.assert_allclose(result["best_test_accuracy"], [0.7, 0.7, 0.4])
    np.testing.assert_allclose(result["best_validation_accuracy"], [0.35, 0.35, 0.2])
    np.testing.assert_allclose(result["epochs_to_90"], [2, 2, np.nan])
    np.testing.assert_allclose(result["epochs_to_100"], [8, np.nan, np.nan])


def test_the_first_epoch_lies_between_two_evaluations() -> None:
    points = pd.DataFrame([point("a", 8, 1.0, 0.55)])
    assert first_epochs(points, HAND, "train_accuracy", 0.92).iloc[0].tolist() == [2, 4]
    assert first_epochs(points, HAND, "train_accuracy", 0.3).iloc[0].tolist() == [0, 1]
    assert first_epochs(points, HAND, "test_accuracy", 0.9).iloc[0].isna().all()
    untrained = pd.concat([curve("a", [0], [0.3], [0.1]), HAND])
    assert first_epochs(points, untrained, "train_accuracy", 0.3).iloc[0].tolist() == [0, 0]


def test_what_did_not_finish_has_no_best_but_keeps_what_it_reached() -> None:
    points = pd.DataFrame(
        [point("a", 16, 0.9, 0.9, "diverged"), point("a", 16, 0.9, 0.9, "failed"), point("b", 8, 0.9, 0.9, "missing")]
    )
    result = with_derived(points, HAND)
    assert result[["generalization_gap", "best_test_accuracy", "best_validation_accuracy"]].isna().all(axis=None)
    np.testing.assert_allclose(result["epochs_to_90"], [2, 2, np.nan])


def test_an_evaluation_of_a_broken_network_does_not_count() -> None:
    broken = HAND.assign(train_loss=[1.0, np.inf, 1.0, 1.0])
    result = with_derived(pd.DataFrame([point("a", 8, 1.0, 0.55)]), broken)
    assert result.loc[0, "best_test_accuracy"] == 0.6
    assert result.loc[0, "epochs_to_90"] == 4


def test_nothing_trained_yet_is_all_missing(sweep: Sweep) -> None:
    points, curves = sweep({(): "missing"}, label_noise=[0.1, 0.4])
    result = with_derived(points, curves)
    assert result[[*DERIVED]].isna().all(axis=None)


@given(
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from([0.2, 0.5, 0.9, 1.0]), st.floats(0, 1)), min_size=1),
    st.lists(st.integers(1, 7), min_size=1, max_size=4),
)
def test_as_a_loop_over_rows_finds_them(rows: list[tuple[int, float, float]], horizons: list[int]) -> None:
    frames, wanted = [], []
    for name in ("a", "b"):
        kept = {epoch: (train, test) for epoch, train, test in (rows if name == "a" else rows[::2])}
        frames.append(curve(name, [*kept], [v[0] for v in kept.values()], [v[1] for v in kept.values()]))
        for horizon in horizons:
            seen = {epoch: kept[epoch] for epoch in sorted(kept) if epoch <= horizon}
            best = max((test for _, test in seen.values()), default=np.nan)
            firsts = [
                next((epoch for epoch, (train, _) in seen.items() if train >= level), np.nan) for level in (0.9, 1.0)
            ]
            wanted.append((point(name, horizon, 0.0, 0.0), [best, *firsts]))
    shuffled = pd.concat(frames).sample(frac=1, random_state=0)
    result = with_derived(pd.DataFrame([p for p, _ in wanted]), shuffled)
    columns = ["best_test_accuracy", "epochs_to_90", "epochs_to_100"]
    np.testing.assert_array_equal(result[columns].to_numpy(), np.array([values for _, values in wanted], dtype=float))


def test_it_is_the_same_when_done_twice(sweep: Sweep) -> None:
    points, curves = sweep(label_noise=[0.1, 0.4], epochs=[10, 100], seed=[0, 1])
    once = with_derived(points, curves)
    pd.testing.assert_frame_equal(with_derived(once, curves), once)


def test_every_derived_column_can_be_drawn(sweep: Sweep) -> None:
    points, curves = sweep(parameter_count=[300, 50_000], label_noise=[0.0, 0.4], seed=[0, 1])
    result = with_derived(points, curves)
    assert set(DERIVED) <= set(METRICS)
    for name in DERIVED:
        assert METRICS[name].words in heatmap(result, "parameter_count", "label_noise", name).heading
    gap = heatmap(result, "parameter_count", "label_noise", "generalization_gap")
    mean = 100 * (points["train_accuracy"] - points["test_accuracy"]).groupby(
        [points["label_noise"], points["parameter_count"]]
    ).mean().unstack()  # fmt: skip
    np.testing.assert_allclose(gap.axes[0].collections[0].get_array(), mean)


def test_the_gap_of_curves_is_that_of_their_rows(sweep: Sweep) -> None:
    _, curves = sweep(label_noise=[0.4])
    np.testing.assert_allclose(
        with_gap(curves)["generalization_gap"], curves["train_accuracy"] - curves["test_accuracy"]
    )


def test_a_column_that_is_not_there_is_named() -> None:
    points = pd.DataFrame([point("a", 8, 1.0, 0.55)])
    with pytest.raises(AnalysisError, match="train_accuracy: the curves have no such column; they have trajectory_id"):
        with_derived(points, HAND.drop(columns="train_accuracy"))
    with pytest.raises(AnalysisError, match="test_accuracy: the points have no such column"):
        with_derived(points.drop(columns="test_accuracy"), HAND)
