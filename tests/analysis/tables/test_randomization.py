from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.figures.lines import line_plot
from analysis.tables.cells import aggregate, levels
from analysis.tables.randomization import with_randomization

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]
KINDS = ["gaussian", "shuffled_pixels", "random_pixels"]


@pytest.mark.parametrize(
    ("label_noise", "input_noise", "kind", "words"),
    [
        (0.0, 0.0, "gaussian", "real data"),
        (0.0, 0.0, "random_pixels", "real data"),
        (1.0, 0.0, "gaussian", "random labels"),
        (0.4, 0.0, "gaussian", "40 % random labels"),
        (0.0, 1.0, "gaussian", "Gaussian inputs"),
        (0.0, 0.25, "shuffled_pixels", "25 % shuffled pixels"),
        (1.0, 1.0, "random_pixels", "random labels, random pixels"),
    ],
)
def test_each_setting_has_the_papers_name(label_noise: float, input_noise: float, kind: str, words: str) -> None:
    rows = pd.DataFrame({"label_noise": [label_noise], "input_noise": [input_noise], "input_noise_kind": [kind]})
    assert [*with_randomization(rows)["randomization"]] == [words]


def test_the_order_is_real_data_then_labels_then_inputs(sweep: Sweep) -> None:
    points, _ = sweep(label_noise=[1.0, 0.0, 0.2], input_noise=[1.0, 0.0], input_noise_kind=KINDS)
    named = with_randomization(points[(points["label_noise"] == 0) | (points["input_noise"] == 0)])
    assert levels(named, "randomization") == [
        "real data", "20 % random labels", "random labels", "Gaussian inputs", "random pixels", "shuffled pixels",
    ]  # fmt: skip


def test_it_is_an_axis_like_a_field_and_keeps_its_order(sweep: Sweep) -> None:
    noisy, of_noisy = sweep(label_noise=[0.0, 1.0], seed=[0, 1])
    strange, of_strange = sweep(input_noise=[1.0], seed=[0, 1])
    points = with_randomization(pd.concat([noisy, strange], ignore_index=True))
    curves = with_randomization(pd.concat([of_noisy, of_strange], ignore_index=True))
    table = aggregate(points, ["randomization"], "test_accuracy")
    assert [*table["randomization"]] == levels(table, "randomization") == levels(points, "randomization")
    assert [*table["n"]] == [2, 2, 2]
    # The same holds along the epochs of the curves: each line has its own numbers.
    figure = line_plot(points, "epoch", "train_loss", "randomization", curves=curves)
    lines = [line for line in figure.axes[0].lines if line.get_label() == "train_loss"]
    expected = of_strange.groupby("epoch")["train_loss"].mean()
    assert list(lines[-1].get_ydata()) == pytest.approx(expected.tolist())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == levels(points, "randomization")
    # The lines of several names may coincide. The first line stays visible behind the last one.
    widths = [line.get_linewidth() for line in lines]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 3


def test_a_table_without_the_fields_is_refused() -> None:
    with pytest.raises(AnalysisError, match="input_noise: the table has no such column; it has label_noise"):
        with_randomization(pd.DataFrame({"label_noise": [0.0]}))
