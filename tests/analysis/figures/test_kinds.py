from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.figures import kinds, parsing, style
from analysis.figures.drawing import draw, fixed_settings
from analysis.figures.kinds import FigureSpec
from analysis.figures.parsing import parse_figures
from analysis.figures.style import Picture
from sweeps.errors import SweepError
from sweeps.spec.sweep_file import parse_sweep

pytestmark = pytest.mark.usefixtures("without_layout")

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]

SIZES, NOISES = [300, 1200, 5000], [0.0, 0.2, 0.4, 0.8]


def test_trainings_that_have_not_begun_keep_their_panel(sweep: Sweep) -> None:
    points, curves = sweep({(("label_noise", 0.8),): "missing"}, label_noise=NOISES)
    figure = draw(FigureSpec("curves", hue="label_noise"), points, curves)
    assert [ax.get_title() for ax in figure.axes][-1] == "label noise 0.8"
    assert [t.get_text() for t in figure.axes[-1].texts] == ["no data"]


def test_a_sweep_file_asks_for_figures() -> None:
    given = [
        {"kind": "heatmap", "x": "width", "y": "label_noise", "value": "test_loss", "facet": "dropout", "epoch": 10},
        {"kind": "lines", "x": "width", "y": ["test_error", "train_error"], "where": {"dropout": [0.0, 0.2]}},
        {"kind": "curves", "hue": "label_noise", "title": "How it learns"},
    ]
    assert parse_figures(given) == [
        FigureSpec("heatmap", x="width", y="label_noise", value="test_loss", facet=("dropout",), epoch=10),
        FigureSpec("lines", x="width", y=("test_error", "train_error"), where={"dropout": [0.0, 0.2]}),
        FigureSpec("curves", hue="label_noise", title="How it learns"),
    ]
    assert fixed_settings({"dropout": [0.0, 0.2], "epochs": 100}) == "At dropout 0, 0.2, 100 epochs."


@pytest.mark.parametrize(
    ("figure", "problem"),
    [
        ("{kind: heatmap, x: width, y: width, value: test_loss}", "given width, width for x, y"),
        (
            "{kind: heatmap, x: width, y: seed, value: test_loss, facet: seed}",
            "given width, seed, seed for x, y, facet",
        ),
        ("{kind: regimes, x: seed, y: seed}", "given seed, seed for x, y"),
        ("{kind: lines, x: width, y: test_loss, hue: width}", "given width, width for x, hue"),
        ("{kind: curves, hue: width, facet: width}", "given width, width for hue, facet"),
    ],
)
def test_a_field_under_two_keys_is_refused_where_the_sweep_is_read(figure: str, problem: str) -> None:
    with pytest.raises(SweepError) as caught:
        parsing.figures_of(parse_sweep(f"name: x\nfigures: [{figure}]", "s.yaml"))
    assert str(caught.value) == f"s.yaml: figures[0]: {problem}; valid: fields that all differ"


def test_every_kind_is_drawn_from_its_spec(sweep: Sweep) -> None:
    points, curves = sweep(label_noise=[0.0, 1.0], dropout=[0.0, 0.5], parameter_count=SIZES, seed=[0, 1])
    points = points.assign(dataset_size=1000)
    examples = pd.concat(
        pd.DataFrame({
            "trajectory_id": trajectory, "epoch": 3, "measure": measure, "split": ["train", "train", "left_out"],
            "example_id": [0, 1, 2], "value": [1.0, float(place % 2), 0.0],
        })
        for place, trajectory in enumerate(points["trajectory_id"]) for measure in ("correct", "forgetting_events")
    )  # fmt: skip
    held_at = {"dropout": 0.0, "parameter_count": 5000}
    given = [
        {"kind": "regimes", "x": "parameter_count", "y": "label_noise", "facet": "dropout", "rule": "doshi2024"},
        {"kind": "spread", "hue": "label_noise", "where": held_at},
        {"kind": "scores", "value": "forgetting_events", "hue": "label_noise", "where": held_at},
        {"kind": "frontier", "x": "train_accuracy", "y": "test_accuracy", "over": "dropout",
         "where": {"parameter_count": 5000}, "x_where": {"label_noise": 1.0}, "y_where": {"label_noise": 0.0}},
        {"kind": "bits", "where": {"dropout": 0.0, "label_noise": 1.0}},
        {"kind": "emc", "x": "parameters", "hue": "label_noise", "where": {"dropout": 0.0}},
        {"kind": "curves", "y": ["test_accuracy", "train_accuracy"], "hue": "label_noise", "where": held_at},
    ]  # fmt: skip
    specs = parse_figures(given)
    assert [spec.measure for spec in specs] == [None, "correct", "forgetting_events", None, None, None, None]
    assert [spec.stem for spec in specs] == [
        "regimes_label_noise_by_parameter_count", "spread_by_label_noise", "scores_forgetting_events_by_label_noise",
        "frontier_test_accuracy_by_train_accuracy", "bits", "emc_by_parameters",
        "curves_test_accuracy_train_accuracy_by_label_noise",
    ]  # fmt: skip
    headings = [draw(spec, points, curves, 0.1, examples).heading for spec in specs]
    assert headings == [
        "regimes: label noise against parameters",
        "misclassification of single examples by label noise",
        "forgetting events of a training example, distribution over examples",
        "clean test accuracy against training accuracy, labels as given",
        "memorized information against parameters",
        "effective model complexity against parameters",
        "learning curves by label noise",
    ]


def test_single_examples_that_are_not_there_are_asked_for(sweep: Sweep) -> None:
    points, curves = sweep(seed=[0, 1])
    with pytest.raises(AnalysisError, match="no correct of single examples is there; run the sweep first"):
        draw(FigureSpec("spread"), points, curves)


def cloud(points: pd.DataFrame, x: str, size: int, note: str) -> Picture:
    """Draw a figure of a kind that is registered from outside."""
    with style.look():
        drawn, axes = style.small_multiples(1, 1, (2, 2), (0.5, 0.3))
        axes[0, 0].plot(points[x], points["test_accuracy"], ".", markersize=size)
        return style.finish(drawn, f"cloud over {x}", note, "a cloud")


def test_a_kind_of_ones_own_is_one_entry(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds.KINDS, "cloud", kinds.KINDS["bits"])  # so that it is removed after the test
    kinds.register_figure(kinds.Kind("cloud", cloud, ("x",), ("size",), names={"x": ("width", "dropout")}))
    text = "name: x\nfigures: [{{kind: cloud, x: {}, size: 3, where: {{label_noise: 0.5}}}}]"
    (spec,) = parsing.figures_of(parse_sweep(text.format("dropout"), "s.yaml"))
    assert (spec.stem, spec.options) == ("cloud_by_dropout", {"size": 3})
    points, curves = sweep(dropout=[0.0, 0.2], label_noise=[0.0, 0.5])
    picture = draw(spec, points, curves)
    assert (picture.heading, picture.caption) == ("cloud over dropout", "At label noise 0.5.")
    with pytest.raises(SweepError, match=r"figures\[0\].x: unknown name; given 'depth'; did you mean width"):
        parsing.figures_of(parse_sweep(text.format("depth"), "s.yaml"))


def test_figures_are_checked_without_a_plotting_library() -> None:
    code = (
        "import sys\nfrom analysis.figures.parsing import figures_of\nfrom sweeps.spec.sweep_file import load_sweep\n"
        "for name in ('quickstart', 'nakkiran2019-width-samples'): assert figures_of(load_sweep(name))\n"
        "sys.exit(bool({'matplotlib', 'seaborn', 'pandas', 'scipy'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{"kind": "frontier", "x": "a", "y": ["b"], "over": "c"}], r"figures\[0\].y: given \['b'\]"),
        ([{"kind": "frontier", "x": "a", "y": "b"}], "frontier without over; needed are x, y, over"),
        (
            [{"kind": "frontier", "x": "a", "y": "b", "over": "c", "x_where": 1}],
            r"figures\[0\].x_where: given 1; valid",
        ),
        ([{"kind": "scores"}], "scores without value"),
        (
            [{"kind": "heatmap", "x": "a", "y": "b", "value": "c", "limits": [9, 1]}],
            r"limits: given \[9, 1\]; valid are",
        ),
        ([{"kind": "heatmap", "x": "a", "y": "b", "value": "c", "limits": [1, "9"]}], "the lower first"),
        ([{"kind": "spread", "facet": "width"}], "given 'facet'"),
        ([{"kind": "regimes", "x": "a", "y": "b", "rule": 3}], r"figures\[0\].rule: given 3; valid is one word"),
        ("heatmap", "figures: given str; valid is a list"),
        (["heatmap"], r"figures\[0\]: given str; valid is a mapping"),
        (
            [{"kind": "heatmp"}],
            r"figures\[0\].kind: given 'heatmp'; did you mean heatmap\? valid: heatmap, curves",
        ),
        ([{"kind": "curves", "hue": "width"}, {"kind": "curves", "vlaue": 1}], r"figures\[1\]: given 'vlaue'"),
        ([{"kind": "heatmap", "x": "width"}], r"figures\[0\]: heatmap without y, value; needed are x, y, value"),
        ([{"kind": "curves", "where": [1]}], r"figures\[0\].where: given \[1\]; valid is a mapping"),
        ([{"kind": "curves", "hue": 3}], r"figures\[0\].hue: given 3; valid is one word or name"),
        ([{"kind": "heatmap", "x": "a", "y": ["b"], "value": "c"}], r"figures\[0\].y: given \['b'\]"),
        ([{"kind": "lines", "x": "a", "y": "b", "epoch": "ten"}], r"figures\[0\].epoch: given 'ten'; valid is a whole"),
        ([{"kind": "curves", "facet": ["a", "b", "c"]}], r"figures\[0\]\.facet: given 3 fields"),
    ],
)
def test_a_figure_that_cannot_be_is_refused_before_there_is_data(given: Any, message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        parse_figures(given)
