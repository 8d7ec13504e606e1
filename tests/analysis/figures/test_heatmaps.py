from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from analysis.errors import AnalysisError
from analysis.figures.heatmaps import heatmap
from analysis.tables.cells import OUTCOMES, cells
from analysis.words import METRICS

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]

SIZES, NOISES = [300, 1200, 5000], [0.1, 0.4]


def panels(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>" and ax.get_visible()]


def colours(ax: Axes) -> np.ma.MaskedArray:
    """Return the coloured values (y, x), masked where there is no colour."""
    return np.ma.masked_invalid(np.ma.asarray(ax.collections[0].get_array()))


def marks(ax: Axes, label: str) -> set[tuple[int, int]]:
    """Return the cells (x, y) that have a patch with the given label."""
    extents = [
        patch.get_extents().transformed(ax.transData.inverted()) for patch in ax.patches if patch.get_label() == label
    ]
    return {(int((box.x0 + box.x1) / 2), int((box.y0 + box.y1) / 2)) for box in extents}


def words(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(OUTCOMES), min_size=6, max_size=6))
def test_a_cell_without_data_is_hatched_and_never_a_colour(sweep: Sweep, outcomes: list[str]) -> None:
    grid = [(size, noise) for size in SIZES for noise in NOISES]
    lost = {
        (("parameter_count", size), ("label_noise", noise)): outcome
        for (size, noise), outcome in zip(grid, outcomes, strict=True)
    }
    points, _ = sweep(lost, parameter_count=SIZES, label_noise=NOISES)
    figure = heatmap(points, "parameter_count", "label_noise", "memorized_fraction")
    (ax,) = panels(figure)
    mesh = colours(ax)
    legend = {"missing": "no data", "diverged": "diverged", "failed": "failed"}
    for status, hatch in (("missing", "/////"), ("diverged", "xxxxx"), ("failed", ".....")):
        expected = {
            (SIZES.index(size), NOISES.index(noise))
            for (size, noise), outcome in zip(grid, outcomes, strict=True)
            if outcome == status
        }
        assert marks(ax, status) == expected
        assert {p.get_hatch() for p in ax.patches if p.get_label() == status} <= {hatch}
        assert all(np.ma.getmaskarray(mesh)[y, x] for x, y in expected)
        assert (legend[status] in words(figure)) is bool(expected)
    assert mesh.count() == outcomes.count("finished")
    assert len(ax.texts) == outcomes.count("finished")


def test_colours_are_the_means_in_percent_at_their_places_y_upwards(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=SIZES, label_noise=NOISES, seed=[0, 1, 2])
    figure = heatmap(points.sample(frac=1, random_state=1), "parameter_count", "label_noise", "memorized_fraction")
    (ax,) = panels(figure)
    expected = 100 * points.pivot_table("memorized_fraction", "label_noise", "parameter_count").to_numpy()
    np.testing.assert_allclose(colours(ax), expected)
    assert ax.get_ylim() == (0, 2)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["300", "1.2k", "5k"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0.1", "0.4"]
    assert ax.collections[0].get_clim() == (0, 100)
    assert (ax.get_xlabel(), ax.get_ylabel().replace("\n", " ")) == ("parameters", "label noise (fraction)")
    assert figure.axes[-1].get_ylabel().replace("\n", " ") == "corrupted labels memorized (%)"


def test_the_caption_states_n_and_the_interval(sweep: Sweep) -> None:
    points, _ = sweep({(("parameter_count", 300),): "missing", (("seed", 2), ("label_noise", 0.4)): "failed"},
                      parameter_count=SIZES, label_noise=NOISES, seed=[0, 1, 2])  # fmt: skip
    table = cells(points, "parameter_count", "label_noise", "test_accuracy")
    half = 100 * (table["high"] - table["mean"])
    figure = heatmap(points, "parameter_count", "label_noise", "test_accuracy", note="MNIST-1D")
    assert figure.caption.startswith("MNIST-1D. Mean over n = 2 to 3 seeds a cell; 95 % t interval ±")
    assert f"±{half.max():.1f} in the widest" in figure.caption or f"±{half.max():.0f} in the widest" in figure.caption
    assert "Of 6 cells 2 without data." in figure.caption
    assert "2 trainings failed beside seeds that finished." in figure.caption
    assert figure.caption in " ".join(" ".join(text.get_text().split()) for text in figure.texts)
    assert marks(panels(figure)[0], "partial") == {(1, 1), (2, 1)}
    assert "some seeds lost" in words(figure)


def test_one_seed_is_said_to_have_no_interval(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=SIZES, label_noise=NOISES)
    caption = heatmap(points, "parameter_count", "label_noise", "test_accuracy").caption
    assert caption == "One seed a cell (n = 1), so no interval."


@pytest.mark.parametrize("value", [name for name, about in METRICS.items() if about.needs == "corrupted"])
def test_a_fraction_of_no_labels_is_not_defined_rather_than_missing(sweep: Sweep, value: str) -> None:
    points, _ = sweep(parameter_count=SIZES, label_noise=[0.0, 0.4])
    points[value] = points["memorized_fraction"]
    figure = heatmap(points, "parameter_count", "label_noise", value)
    assert marks(panels(figure)[0], "undefined") == {(0, 0), (1, 0), (2, 0)}
    assert words(figure) == ["not defined"]
    assert "Not defined in 3 cells: no label there is corrupted." in figure.caption


@pytest.mark.parametrize("annotate", ["mean", "n", "interval", None])
def test_the_numbers_in_the_cells(sweep: Sweep, annotate: str | None) -> None:
    points, _ = sweep(parameter_count=[300, 5000], label_noise=[0.4, 0.6], seed=[0, 1])
    figure = heatmap(points, "parameter_count", "label_noise", "test_accuracy", annotate=annotate)  # type: ignore[arg-type]
    table = cells(points, "parameter_count", "label_noise", "test_accuracy").sort_values(
        ["label_noise", "parameter_count"]
    )
    means = [f"{100 * m:.0f}" for m in table["mean"]]
    texts = [text.get_text() for text in panels(figure)[0].texts]
    if annotate == "interval":
        assert [text.split("\n±")[0] for text in texts] == means
        halves = 100 * (table["high"] - table["mean"])
        assert [float(text.split("\n±")[1]) for text in texts] == pytest.approx(list(halves), abs=0.5)
    else:
        assert texts == {"mean": means, "n": ["2"] * 4, None: []}[annotate]


def test_numbers_too_small_to_read_are_left_out_unless_asked_for(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=list(range(300, 20000, 350)), label_noise=NOISES)
    figure = heatmap(points, "parameter_count", "label_noise", "test_accuracy")
    (ax,) = panels(figure)
    assert len(ax.texts) == 0
    assert len(ax.get_xticks()) <= 16
    asked = heatmap(points, "parameter_count", "label_noise", "test_accuracy", annotate="mean")
    assert len(panels(asked)[0].texts) == colours(ax).count()


def test_facets_make_panels_with_one_scale(sweep: Sweep) -> None:
    points, _ = sweep({(("dropout", 0.2), ("weight_decay", 0.1)): "missing"}, parameter_count=SIZES, label_noise=NOISES,
                      dropout=[0.0, 0.2, 0.5], weight_decay=[0.0, 0.1])  # fmt: skip
    figure = heatmap(points, "parameter_count", "label_noise", "train_loss", facet=["dropout", "weight_decay"])
    shown = panels(figure)
    assert [ax.get_title() for ax in shown[:3]] == ["dropout 0", "dropout 0.2", "dropout 0.5"]
    assert [shown[i].get_ylabel().split("\n")[0] for i in (0, 3)] == ["weight decay 0", "weight decay 0.1"]
    assert len({ax.collections[0].get_clim() for ax in shown}) == 1
    assert [len(marks(ax, "missing")) for ax in shown] == [0, 0, 0, 0, 6, 0]
    here = points.query("dropout == 0.5 and weight_decay == 0.1")
    np.testing.assert_allclose(colours(shown[5]), here.pivot_table("train_loss", "label_noise", "parameter_count"))


def test_one_facet_wraps_and_leaves_no_empty_frame(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=SIZES, label_noise=NOISES, dropout=[0.0, 0.1, 0.2, 0.3, 0.4])
    figure = heatmap(points, "parameter_count", "label_noise", "test_accuracy", facet="dropout")
    assert [ax.get_title() for ax in panels(figure)] == [f"dropout {d}" for d in ("0", "0.1", "0.2", "0.3", "0.4")]


def test_an_epoch_shows_the_trainings_as_they_were(sweep: Sweep) -> None:
    points, curves = sweep(parameter_count=SIZES, label_noise=NOISES, epochs=[50, 100])
    figure = heatmap(points, "parameter_count", "label_noise", "test_accuracy", epoch=10, curves=curves)
    then = curves[curves["epoch"] == 10].pivot_table("test_accuracy", "label_noise", "parameter_count")
    np.testing.assert_allclose(colours(panels(figure)[0]), 100 * then)
    assert "after 10 epochs" in figure.caption


def test_losses_over_many_decades_have_a_logarithmic_scale(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=SIZES, label_noise=NOISES)
    narrow = heatmap(points, "parameter_count", "label_noise", "train_loss")
    assert not isinstance(panels(narrow)[0].collections[0].norm, LogNorm)
    points.loc[0, "train_loss"] = 1e-5
    wide = heatmap(points, "parameter_count", "label_noise", "train_loss")
    assert isinstance(panels(wide)[0].collections[0].norm, LogNorm)


def test_chance_is_marked_where_guessing_has_a_level(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=SIZES, label_noise=NOISES)

    def marked(value: str) -> bool:
        figure = heatmap(points, "parameter_count", "label_noise", value, chance=0.1)
        return any(text.get_text() == "chance" for text in figure.axes[-1].texts)

    assert marked("test_accuracy")
    assert not marked("memorized_fraction")


def test_a_sweep_that_has_not_begun_is_all_missing(sweep: Sweep) -> None:
    points, _ = sweep({(): "missing"}, parameter_count=SIZES, label_noise=NOISES)
    for value in ("test_accuracy", "train_loss"):
        figure = heatmap(points, "parameter_count", "label_noise", value)
        assert len(marks(panels(figure)[0], "missing")) == 6
        assert colours(panels(figure)[0]).count() == 0
        assert figure.caption.startswith("No data yet.")


def test_the_alternative_text_tells_the_extremes(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=SIZES, label_noise=NOISES)
    alt = heatmap(points, "parameter_count", "label_noise", "memorized_fraction").alt
    best = points.loc[points["memorized_fraction"].idxmax()]
    assert f"to {100 * best['memorized_fraction']:.0f} % at 5k parameters and label noise 0.1" in alt
    assert alt.endswith("Every cell has a value.")


def test_bad_requests_are_answered_with_the_choices(sweep: Sweep) -> None:
    points, _ = sweep(parameter_count=SIZES, label_noise=NOISES)
    with pytest.raises(AnalysisError, match=r"value: given 'memorised_fraction'; did you mean memorized_fraction\?"):
        heatmap(points, "parameter_count", "label_noise", "memorised_fraction")
    with pytest.raises(AnalysisError, match=r"annotate: given 'sd'.*valid: auto, mean, n, interval"):
        heatmap(points, "parameter_count", "label_noise", "test_accuracy", annotate="sd")  # type: ignore[arg-type]
    with pytest.raises(AnalysisError, match="facet: given 'drop'"):
        heatmap(points, "parameter_count", "label_noise", "test_accuracy", facet="drop")


def test_colours_can_end_where_the_data_do(sweep: Sweep) -> None:
    points, _ = sweep(label_noise=[0.0, 0.4], parameter_count=[300, 5000], seed=[0, 1])
    means = 100 * points.groupby(["label_noise", "parameter_count"])["test_accuracy"].mean()
    limits = (means.min() - 1, means.max() - 1)
    figure = heatmap(points, "parameter_count", "label_noise", "test_accuracy", limits=limits, chance=0.99)
    mesh = figure.axes[0].collections[0]
    assert (mesh.norm.vmin, mesh.norm.vmax) == limits
    # There are values beyond the upper end only, and chance is outside the scale.
    bar = figure.axes[-1]._colorbar
    assert bar.extend == "max"
    assert len(bar.ax.texts) == 0
