"""Tests of figures in a sweep file: a figure that can never be drawn is refused before anything is trained."""

from __future__ import annotations

import pytest

from analysis.figures.parsing import figures_of
from lightning_modules.errors import MemsweepError
from sweeps.spec.sweep_file import parse_sweep


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        (
            "{kind: heatmap, x: sed, y: epochs, value: test_loss}",
            "figures[0].x: unknown name; given 'sed'; did you mean seed?",
        ),
        (
            "{kind: heatmap, x: seed, y: test_loss, value: test_loss}",
            "figures[0].y: unknown name; given 'test_loss'",
        ),
        ("{kind: heatmap, x: seed, y: epochs, value: epochs}", "figures[0].value: unknown name; given 'epochs'"),
        ("{kind: lines, x: seed, y: [test_error, lost]}", "figures[0].y: unknown name; given 'lost'"),
        (
            "{kind: lines, x: seed, y: test_acuracy}",
            "figures[0].y: unknown name; given 'test_acuracy'; did you mean test_accuracy?",
        ),
        ("{kind: curves, hue: colour}", "figures[0].hue: unknown name; given 'colour'"),
        ("{kind: curves, facet: [seed, facet]}", "figures[0].facet: unknown name; given 'facet'"),
        ("{kind: curves, where: {sead: 1}}", "figures[0].where: unknown name; given 'sead'; did you mean seed?"),
        (
            "{kind: heatmap, x: seed, y: epochs, value: test_loss, annotate: all}",
            "figures[0].annotate: unknown name; given 'all'",
        ),
        ("{kind: pie}", "figures[0].kind: given 'pie'"),
        ("{kind: heatmap, x: seed}", "figures[0]: heatmap without y, value"),
        ("{kind: curves, colour: seed}", "figures[0]: given 'colour'"),
        ("{kind: curves, y: [train_acuracy]}", "figures[0].y: unknown name; given 'train_acuracy'"),
        ("{kind: regimes, x: seed, y: test_loss}", "figures[0].y: unknown name; given 'test_loss'"),
        ("{kind: regimes, x: seed, y: epochs, rule: doshi}", "figures[0].rule: unknown name; given 'doshi'"),
        ("{kind: scores, value: test_loss}", "figures[0].value: unknown name; given 'test_loss'"),
        ("{kind: scores, value: memorization, hue: sead}", "figures[0].hue: unknown name; given 'sead'"),
        ("{kind: frontier, x: width, y: test_loss, over: dropout}", "figures[0].x: unknown name; given 'width'"),
        ("{kind: frontier, x: test_loss, y: width, over: dropout}", "figures[0].y: unknown name; given 'width'"),
        (
            "{kind: frontier, x: test_loss, y: train_loss, over: [dropuot]}",
            "figures[0].over: unknown name; given 'dropuot'; did you mean dropout?",
        ),
        (
            "{kind: frontier, x: test_loss, y: train_loss, over: [dropout], y_where: {sead: 1}}",
            "figures[0].y_where: unknown name; given 'sead'",
        ),
        ("{kind: emc, x: dropout}", "figures[0].x: unknown name; given 'dropout'"),
        ("{kind: emc, x: width, hue: dataset_size}", "figures[0].hue: unknown name; given 'dataset_size'"),
    ],
)
def test_what_no_data_could_draw_is_refused(figure, message):
    sweep = parse_sweep(f"name: x\nfigures: [{figure}]", "s.yaml")
    with pytest.raises(MemsweepError) as caught:
        figures_of(sweep)
    assert str(caught.value).startswith(f"s.yaml: {message}")


def test_every_kind_is_accepted():
    figures_of(parse_sweep(
        "name: x\nfigures:\n"
        "- {kind: heatmap, x: epoch, y: parameters, value: test_error, facet: [model, data], annotate: n}\n"
        "- {kind: lines, x: width, y: [test_error, train_error], hue: label_noise, where: {epochs: 3}}\n"
        "- {kind: lines, x: width, y: test_error}\n"
        "- {kind: curves}\n"
        "- {kind: curves, y: [train_accuracy, critical_sample_ratio], hue: randomization}\n"
        "- {kind: regimes, x: width, y: epoch, facet: label_noise, rule: liu2022}\n"
        "- {kind: spread, hue: randomization, epoch: 1}\n"
        "- {kind: scores, value: forgetting_events, hue: label_noise}\n"
        "- {kind: frontier, x: train_accuracy, y: best_validation_accuracy, over: [dropout, weight_decay],"
        " x_where: {label_noise: 1}, y_where: {label_noise: 0}}\n"
        "- {kind: bits, hue: depth}\n"
        "- {kind: emc, x: width, hue: dropout}\n",
        "s.yaml",
    ))  # fmt: skip
