from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.errors import AnalysisError
from analysis.figures.curves import curves_figure

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]


def panels(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_visible()]


def line(ax: Axes, name: str) -> np.ndarray:
    (matching,) = [line for line in ax.lines if line.get_label() == name]
    return np.asarray(matching.get_xydata())


def shaded(ax: Axes) -> list[tuple[float, float]]:
    spans = [p for p in ax.patches if isinstance(p, Rectangle) and p.get_label() == "memorization phase"]
    return [(span.get_x(), span.get_x() + span.get_width()) for span in spans]


def trained(test: list[float], memorized: list[float], seed: int = 0, **fields: object) -> pd.DataFrame:
    epochs = [1, 2, 4, 8, 16][: len(test)]
    return pd.DataFrame({
        "trajectory_id": f"{seed}{fields}", "seed": seed, "epoch": epochs,
        "train_accuracy": test, "test_accuracy": test,
        "memorized_fraction": memorized, "recovered_fraction": 0.1, "outcome": "finished", **fields,
    })  # fmt: skip


RISING, PEAKED = [0.1, 0.2, 0.3, 0.4, 0.5], [0.2, 0.5, 0.6, 0.5, 0.4]


def test_lines_are_means_in_percent_and_bands_their_intervals(sweep: Sweep) -> None:
    _, curves = sweep(label_noise=[0.2, 0.6], seed=[0, 1, 2])
    figure = curves_figure(curves, "label_noise")
    assert [ax.get_title() for ax in panels(figure)] == ["label noise 0.2", "label noise 0.6"]
    here = curves[curves["label_noise"] == 0.6].groupby("epoch")["memorized_fraction"]
    np.testing.assert_allclose(line(panels(figure)[1], "memorized_fraction")[:, 1], 100 * here.mean())
    (band,) = [
        c
        for c in panels(figure)[1].collections
        if isinstance(c, PolyCollection) and c.get_label() == "memorized_fraction"
    ]
    # t(0.975, 2) = 4.302653; the band is at its widest where the seeds differ most.
    half = 4.302653 * here.std() / np.sqrt(3)
    drawn = np.asarray(band.get_paths()[0].vertices)
    assert drawn[:, 1].max() == pytest.approx(100 * (here.mean() + half).max(), rel=1e-5)
    assert drawn[:, 1].min() == pytest.approx(100 * (here.mean() - half).min(), rel=1e-5)
    assert figure.caption.startswith("Mean over n = 3 seeds a panel, band: 95 % t interval of the mean.")
    assert panels(figure)[0].get_xscale() == "log"


def test_the_memorization_phase_is_shaded_where_there_is_one() -> None:
    curves = pd.concat([
        trained(PEAKED, [0.0, 0.1, 0.2, 0.6, 0.9], label_noise=0.4),
        trained(PEAKED, [0.1] * 5, label_noise=0.1),
        trained(RISING, [0.0, 0.1, 0.2, 0.6, 0.9], label_noise=0.2),
    ])  # fmt: skip
    figure = curves_figure(curves, "label_noise")
    assert [shaded(ax) for ax in panels(figure)] == [[], [], [(4.0, 16.0)]]
    assert "Shaded: from the best clean test accuracy to the end" in figure.caption
    assert (
        "Memorization phase at label noise 0.4 from epoch 4 to 16: memorized +70 points, clean test accuracy -20 points"
        in figure.alt
    )
    without = curves_figure(curves[curves["label_noise"] < 0.4], "label_noise")
    assert "Shaded" not in without.caption
    assert without.alt.endswith("No memorization phase.")


def test_a_mean_never_changes_its_seeds_along_the_way() -> None:
    curves = pd.concat([trained([0.5] * 5, [0.1] * 5), trained([0.9] * 3, [0.1] * 3, seed=1)])
    drawn = line(panels(curves_figure(curves))[0], "test_accuracy")
    np.testing.assert_allclose(drawn, [(1, 70), (2, 70), (4, 70)])


def test_a_training_that_did_not_finish_is_left_out_and_said_so() -> None:
    lost = trained([0.9] * 3, [0.1] * 3, seed=1).assign(outcome="diverged")
    figure = curves_figure(pd.concat([trained([0.5] * 5, [0.1] * 5), lost]))
    np.testing.assert_allclose(line(panels(figure)[0], "test_accuracy")[:, 1], 50)
    assert "1 training did not finish, left out." in figure.caption


def test_a_panel_without_data_is_hatched() -> None:
    lost = trained([0.9] * 3, [0.1] * 3, width=8).assign(outcome="failed")
    empty, full = panels(curves_figure(pd.concat([trained([0.5] * 5, [0.1] * 5, width=16), lost]), "width"))
    assert empty.patch.get_hatch()
    assert [t.get_text() for t in empty.texts] == ["no data"]
    assert not full.patch.get_hatch()
    assert not full.texts
    assert len(line(empty, "test_accuracy")) == 0


def test_facets_make_rows(sweep: Sweep) -> None:
    _, curves = sweep(label_noise=[0.2, 0.4, 0.6], dropout=[0.0, 0.5])
    shown = panels(curves_figure(curves, "label_noise", "dropout", chance=0.1))
    assert len(shown) == 6
    assert [ax.get_title() for ax in shown[:3]] == ["label noise 0.2", "label noise 0.4", "label noise 0.6"]
    assert [shown[i].get_ylabel().split("\n")[0] for i in (0, 3)] == ["dropout 0", "dropout 0.5"]
    here = curves.query("label_noise == 0.4 and dropout == 0.5")
    np.testing.assert_allclose(line(shown[4], "train_accuracy")[:, 1], 100 * here["train_accuracy"])


def test_epoch_zero_has_a_place() -> None:
    curves = trained([0.1, 0.5, 0.6, 0.5, 0.4], [0.1] * 5).assign(epoch=[0, 1, 2, 4, 8])
    (ax,) = panels(curves_figure(curves))
    assert ax.get_xscale() == "symlog"
    assert ax.get_xlim()[0] == 0


def test_a_measure_that_nobody_has_is_not_in_the_legend(sweep: Sweep) -> None:
    _, curves = sweep(width=[4, 8])
    figure = curves_figure(curves, "width")
    words = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert words == ["training accuracy, labels as given", "clean test accuracy"]


def test_bad_requests_are_answered(sweep: Sweep) -> None:
    _, curves = sweep(label_noise=[0.2, 0.4], dropout=[0.0, 0.5])
    with pytest.raises(AnalysisError, match="dropout: given several values inside one cell"):
        curves_figure(curves, "label_noise")
    with pytest.raises(AnalysisError, match=r"hue: given 'noise'"):
        curves_figure(curves, "noise")
    with pytest.raises(AnalysisError, match="no training has been evaluated"):
        curves_figure(curves[:0], "label_noise")
    _, many = sweep(width=list(range(1, 18)))
    with pytest.raises(AnalysisError, match="hue: given 17 panels; valid are at most 16"):
        curves_figure(many, "width")


def test_other_shares_can_be_drawn_and_rare_ones_have_marks(sweep: Sweep) -> None:
    _, curves = sweep(label_noise=[0.0, 0.4], seed=[0, 1])
    rare = curves["epoch"].isin([1, 20, 100])
    curves = curves.assign(critical_sample_ratio=np.where(rare, curves["epoch"] / 200, np.nan))
    figure = curves_figure(curves, "label_noise", y=["test_accuracy", "critical_sample_ratio"])
    ax = figure.axes[0]
    lines = {line.get_label(): line for line in ax.lines}
    assert [*lines] == ["test_accuracy", "critical_sample_ratio"]
    assert list(lines["critical_sample_ratio"].get_xdata()) == [1, 20, 100]
    assert list(lines["critical_sample_ratio"].get_ydata()) == pytest.approx([0.5, 10, 50])
    assert lines["critical_sample_ratio"].get_marker() == "o"
    assert lines["test_accuracy"].get_marker() in ("", "None", None)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["clean test accuracy", "critical samples"]
    assert "memorization phase" not in figure.caption + figure.alt


def test_only_shares_are_drawn_against_one_axis(sweep: Sweep) -> None:
    _, curves = sweep(seed=[0, 1])
    with pytest.raises(AnalysisError, match="y: given train_loss, which is in nats; valid are shares, in %"):
        curves_figure(curves, y=["train_accuracy", "train_loss"])
    with pytest.raises(AnalysisError, match="y: given 0 metrics"):
        curves_figure(curves, y=[])
    with pytest.raises(AnalysisError, match="test_accurac"):
        curves_figure(curves, y="test_accurac")
