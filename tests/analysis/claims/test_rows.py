from __future__ import annotations

import pytest

from analysis.claims.rows import ABOVE_ZERO, HIGHEST, LOWEST, Between, chosen, drawn


@pytest.fixture(name="points")
def points_fixture(tables):
    return tables(
        {"width": width, "label_noise": noise, "model": model, "seed": seed, "test_accuracy": 0.5}
        for width in (4, 16, 64)
        for noise in (0.0, 0.2, 0.6)
        for model in ("mlp", "convnet")
        for seed in (0, 1)
        if not (width == 64 and noise == 0.6)
    ).points


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ({}, 32),
        ({"width": HIGHEST}, 8),
        ({"width": LOWEST, "seed": 0}, 6),
        ({"label_noise": ABOVE_ZERO}, 20),
        ({"label_noise": Between(0.1, 0.3)}, 12),
        ({"label_noise": (0, 0.6)}, 20),
        ({"label_noise": 0.1 + 0.1}, 12),
        ({"model": "convnet", "width": 4}, 6),
        ({"width": 5}, 0),
        ({"model": "resnet", "width": HIGHEST}, 0),
        ({"depth": None}, 32),
        ({"depth": HIGHEST}, 0),
    ],
)
def test_rows_at_these_settings(points, where, count):
    assert len(chosen(points, where)) == count


def test_an_end_is_that_of_the_rows_left_by_the_conditions_before_it(points):
    assert set(chosen(points, {"label_noise": 0.6, "width": HIGHEST})["width"]) == {16}
    assert chosen(points, {"width": HIGHEST, "label_noise": 0.6}).empty


def test_numbers_come_in_drawn_units_and_only_from_finished_rows(tables):
    points = tables([
        {"seed": 0, "test_accuracy": 0.25}, {"seed": 1, "outcome": "diverged"}, {"seed": 2, "outcome": "missing"},
    ]).points  # fmt: skip
    assert drawn(points, "test_accuracy").tolist()[0] == 25
    assert drawn(points, "test_error").tolist()[0] == 75
    assert drawn(points, "test_accuracy").isna().tolist() == [False, True, True]
