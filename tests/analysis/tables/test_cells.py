from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.errors import AnalysisError
from analysis.tables.cells import OUTCOMES, aggregate, cells, levels, over_epochs, select, varying

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]


def frame(rows: list[tuple[float, int, int, float, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["label_noise", "width", "seed", "test_accuracy", "outcome"])


def test_a_cell_is_the_mean_over_seeds_with_its_t_interval() -> None:
    accuracies = [0.5, 0.6, 0.85]
    table = aggregate(frame([(0.1, 8, s, a, "finished") for s, a in enumerate(accuracies)]), ["width"], "test_accuracy")
    (row,) = table.to_dict("records")
    # By hand: mean 0.65, sd sqrt((0.0225 + 0.0025 + 0.04) / 2), t(0.975, 2) = 4.302653.
    half = 4.302653 * np.sqrt(0.0325 / 3)
    assert row["mean"] == pytest.approx(0.65)
    assert (row["low"], row["high"]) == pytest.approx((0.65 - half, 0.65 + half), rel=1e-6)
    assert (row["n"], row["status"]) == (3, "value")


def test_one_seed_has_no_interval() -> None:
    table = aggregate(frame([(0.1, 8, 0, 0.5, "finished")]), ["width"], "test_accuracy")
    assert table.loc[0, "mean"] == 0.5
    assert np.isnan(table.loc[0, "low"])
    assert np.isnan(table.loc[0, "high"])


@given(st.data())
def test_cells_agree_with_a_plain_loop(data: st.DataObject) -> None:
    noises, widths = [0.0, 0.2, 0.6], [4, 16]
    rows = [
        (q, w, s, data.draw(st.floats(0, 1)), data.draw(st.sampled_from(OUTCOMES)))
        for q, w, s in product(noises, widths, range(3))
        if data.draw(st.booleans())
    ]
    if not rows:
        return
    points = frame(rows).sample(frac=1, random_state=0)
    table = cells(points, "width", "label_noise", "test_accuracy")
    assert len(table) == len({r[0] for r in rows}) * len({r[1] for r in rows})
    for cell in table.to_dict("records"):
        here = [r for r in rows if (r[0], r[1]) == (cell["label_noise"], cell["width"])]
        kept = [r[3] for r in here if r[4] == "finished"]
        ends = [r[4] for r in here]
        assert cell["n"] == len(kept)
        assert [cell[f"n_{end}"] for end in OUTCOMES[1:]] == [ends.count(end) for end in OUTCOMES[1:]]
        if not kept:
            worst = next((end for end in ("diverged", "stopped", "failed") if end in ends), "missing")
            assert np.isnan(cell["mean"])
            assert cell["status"] == worst
            continue
        assert cell["status"] == "value"
        assert cell["mean"] == pytest.approx(np.mean(kept))
        if len(kept) > 1 and np.ptp(kept) > 1e-6:
            expected = stats.t.interval(0.95, len(kept) - 1, np.mean(kept), stats.sem(kept))
            assert (cell["low"], cell["high"]) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_what_a_lost_training_left_is_not_data() -> None:
    rows = [(0.1, 8, 0, 0.2, "diverged"), (0.1, 8, 1, 0.6, "finished"), (0.1, 8, 2, 0.9, "failed")]
    table = aggregate(frame(rows), ["width"], "test_accuracy")
    assert table.loc[0, ["mean", "n", "n_diverged", "n_failed", "status"]].tolist() == [0.6, 1, 1, 1, "value"]


def test_a_metric_that_a_finished_training_does_not_have_is_undefined_and_not_missing(sweep: Sweep) -> None:
    points, _ = sweep(label_noise=[0.0, 0.4], parameter_count=[300, 3000], seed=[0, 1])
    table = cells(points, "parameter_count", "label_noise", "memorized_fraction")
    assert dict(zip(table["label_noise"], table["status"], strict=True)) == {0.0: "undefined", 0.4: "value"}
    assert set(table.loc[table["label_noise"] == 0, "n_undefined"]) == {2}


def test_an_error_is_one_minus_the_accuracy_and_stays_missing(sweep: Sweep) -> None:
    points, _ = sweep({(("width", 8),): "missing"}, label_noise=[0.4], width=[4, 8])
    table = aggregate(points, ["width"], "test_error")
    assert table.loc[0, "mean"] == pytest.approx(1 - points.loc[0, "test_accuracy"])
    assert table.loc[1, "status"] == "missing"
    assert np.isnan(table.loc[1, "mean"])


def test_combinations_that_the_grid_leaves_out_are_missing_cells() -> None:
    table = cells(
        frame([(0.1, 8, 0, 0.5, "finished"), (0.3, 4, 0, 0.7, "finished")]), "width", "label_noise", "test_accuracy"
    )
    assert table.set_index(["width", "label_noise"])["status"].to_dict() == {
        (4, 0.1): "missing", (4, 0.3): "value", (8, 0.1): "value", (8, 0.3): "missing",
    }  # fmt: skip


def test_another_field_is_named_and_never_averaged(sweep: Sweep) -> None:
    points, _ = sweep(label_noise=[0.0, 0.4], width=[4, 8], dropout=[0.0, 0.2], weight_decay=[0.0, 0.1])
    with pytest.raises(AnalysisError, match=r"dropout, weight_decay: given several values .* facet .* --set") as caught:
        cells(points, "width", "label_noise", "test_accuracy")
    assert caught.value.key == "dropout"
    table = cells(points, "width", "label_noise", "test_accuracy", ["dropout", "weight_decay"])
    assert len(table) == 16
    assert set(table["n"]) == {1}


def test_a_field_that_goes_with_an_axis_needs_no_facet() -> None:
    points = frame([(0.1, 8, s, 0.5, "finished") for s in (0, 1)] + [(0.1, 4, 0, 0.7, "finished")])
    points["depth"] = np.where(points["width"] == 8, 3, 2)
    assert aggregate(points, ["width"], "test_accuracy")["n"].tolist() == [1, 2]


def test_a_seed_counts_once() -> None:
    with pytest.raises(AnalysisError, match="seed: given twice"):
        aggregate(frame([(0.1, 8, 0, 0.5, "finished")] * 2), ["width"], "test_accuracy")


def test_an_unset_value_is_a_level_of_its_own_and_comes_last() -> None:
    points = pd.DataFrame({"dataset_size": [None, 100, 1000], "seed": 0, "test_accuracy": [0.9, 0.1, 0.5]})
    table = aggregate(points.assign(outcome="finished"), ["dataset_size"], "test_accuracy")
    assert table["mean"].tolist() == [0.1, 0.5, 0.9]
    assert pd.isna(table["dataset_size"].iloc[2])
    assert select(points, {"dataset_size": None})["test_accuracy"].tolist() == [0.9]


def test_names_are_checked_against_the_table() -> None:
    points = frame([(0.1, 8, 0, 0.5, "finished")])
    with pytest.raises(AnalysisError, match=r"x: given 'widht'; did you mean width\? valid: label_noise, width, "):
        cells(points, "widht", "label_noise", "test_accuracy")
    with pytest.raises(AnalysisError, match=r"value: given 'test_acc.*valid: test_accuracy, test_error$"):
        cells(points, "width", "label_noise", "test_acc")
    with pytest.raises(AnalysisError, match="all must differ"):
        cells(points, "width", "width", "test_accuracy")
    with pytest.raises(AnalysisError, match="valid are at most 2"):
        cells(points, "width", "label_noise", "test_accuracy", ["a", "b", "c"])
    with pytest.raises(
        AnalysisError, match=r"outcome: given 'done'; valid: finished, diverged, stopped, failed, missing"
    ):
        cells(points.assign(outcome="done"), "width", "label_noise", "test_accuracy")
    with pytest.raises(AnalysisError, match="without rows"):
        cells(points[:0], "width", "label_noise", "test_accuracy")
    with pytest.raises(AnalysisError, match="seed: the table has no such column"):
        cells(points.drop(columns="seed"), "width", "label_noise", "test_accuracy")


def test_select_holds_settings_and_lists_the_valid_ones(sweep: Sweep) -> None:
    points, _ = sweep(label_noise=[0.1, 0.3, 0.5], model=["mlp", "linear"])
    kept = select(points, {"label_noise": [0.1 + 0.2, 0.5], "model": "mlp"})
    assert levels(kept, "label_noise") == [0.3, 0.5]
    assert varying(kept) == ["label_noise"]
    with pytest.raises(AnalysisError, match=r"label_noise: given 0.4.*valid: 0.1, 0.3, 0.5"):
        select(points, {"label_noise": 0.4})


def test_an_epoch_takes_its_measures_from_the_curves(sweep: Sweep) -> None:
    points, curves = sweep({(("width", 16),): "diverged", (("width", 32),): "missing"},
                           label_noise=[0.4], width=[8, 16, 32], epochs=[50, 100], seed=[0, 1])  # fmt: skip
    early = aggregate(over_epochs(points, curves, 5), ["width"], "memorized_fraction")
    assert early["status"].tolist() == ["value", "value", "missing"]
    expected = curves.query("width == 8 and epoch == 5")["memorized_fraction"].mean()
    assert early.loc[0, "mean"] == pytest.approx(expected)
    assert early.loc[0, "n"] == 2
    # Width 16 was fine at epoch 5 but lost by epoch 100. Width 8 was never evaluated after epoch 100.
    late = aggregate(over_epochs(points, curves, 100), ["width"], "memorized_fraction")
    assert late["status"].tolist() == ["value", "diverged", "missing"]
    along = cells(points, "epoch", "width", "memorized_fraction", curves=curves)
    assert set(along["width"]) == {8, 16, 32}
    assert along["epoch"].nunique() == curves["epoch"].nunique()


def test_over_epochs_cells_are_those_of_every_row(sweep: Sweep) -> None:
    """Reading settings once per training, not once per epoch, changes nothing."""
    points, curves = sweep({(("width", 16),): "diverged", (("seed", 1), ("width", 32)): "failed"},
                           label_noise=[0.4, 0.0], width=[32, 8, 16], epochs=[50, 100], seed=[0, 1, 2])  # fmt: skip
    curves = curves.sample(frac=0.7, random_state=0)
    for keys in (["epoch", "width", "label_noise"], ["width", "epoch", "label_noise"]):
        x, y, facet = keys
        expected = aggregate(over_epochs(points, curves), keys, "memorized_fraction")
        assert {"value", "undefined", "missing"} <= {*expected["status"]}
        pd.testing.assert_frame_equal(cells(points, x, y, "memorized_fraction", facet, curves=curves), expected)
    one = aggregate(over_epochs(points, curves, 5), ["width", "label_noise"], "memorized_fraction")
    result = cells(points, "width", "label_noise", "memorized_fraction", epoch=5, curves=curves)
    pd.testing.assert_frame_equal(result, one)
    with pytest.raises(AnalysisError, match="label_noise: given several values inside one cell of epoch x width"):
        cells(points, "epoch", "width", "memorized_fraction", curves=curves)


def test_an_epoch_that_nobody_evaluated_is_an_error(sweep: Sweep) -> None:
    points, curves = sweep(label_noise=[0.4], width=[8, 16])
    with pytest.raises(AnalysisError, match=r"epoch: given 4; valid: 1, 2, 3, 5, 7, 10, "):
        cells(points, "width", "label_noise", "test_accuracy", epoch=4, curves=curves)
    with pytest.raises(AnalysisError, match="no training has been evaluated yet"):
        cells(points, "width", "label_noise", "test_accuracy", epoch=4, curves=curves[:0])
