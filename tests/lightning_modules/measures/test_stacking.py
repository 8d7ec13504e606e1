"""Every measure of a member has the same bits if the member trains alone and at any place in any stack."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from memsweep.testing import make_entries

from lightning_modules.data.sources import Dataset
from lightning_modules.measures import critical_samples
from lightning_modules.measures.catalogue import MEASURES_ON_DEMAND
from lightning_modules.training.stack import MemberResult
from lightning_modules.training.train import train_cohort
from sweeps.spec.point import Point

FAMILIES = {
    "mlp": {"width": 7, "depth": 2},
    "linear": {"model": "linear"},
    "convnet, 1-D": {"model": "convnet", "width": 3, "depth": 2},
    "transformer": {"model": "transformer", "width": 8, "depth": 1},
    "resnet": {"model": "resnet", "width": 2, "depth": 1},
}
ROUGH = {"dropout": 0.3, "rotation": 10.0}


def parts(result: MemberResult) -> list[tuple]:
    return [(epoch, *astuple(each)) for epoch, each in result.examples]


def assert_same(found: MemberResult, expected: MemberResult) -> None:
    assert found.rows == expected.rows
    for ours, theirs in zip(parts(found), parts(expected), strict=True):
        for mine, its in zip(ours, theirs, strict=True):
            assert np.array_equal(mine, its, equal_nan=isinstance(mine, np.ndarray))


@pytest.mark.parametrize(
    ("family", "precision"),
    [
        ("mlp", "float64"),
        ("convnet, 1-D", "float32"),
        *(pytest.param(family, "float32", marks=pytest.mark.slow) for family in FAMILIES if family != "convnet, 1-D"),
        *(pytest.param(family, "float64", marks=pytest.mark.slow) for family in FAMILIES if family != "mlp"),
    ],
)
def test_every_measure_has_the_same_bits_alone_and_in_a_stack(family, precision, digits, monkeypatch):
    """There are fewer slots than examples, so each member's searches advance at their own pace."""
    monkeypatch.setattr(critical_samples, "SLOTS", 3)
    monkeypatch.setattr(critical_samples, "STEPS", 4)
    monkeypatch.setattr(critical_samples, "EXAMPLES", 5)
    rough = family == "resnet"
    if family == "convnet, 1-D":
        signals = (inputs.reshape(-1, 1, 64) for inputs in (digits.train_inputs, digits.test_inputs))
        digits = Dataset.of(next(signals), digits.train_labels, next(signals), digits.test_labels)
    names = tuple(name for name in MEASURES_ON_DEMAND if name != "loss_sensitivity" or not rough)
    point = Point(data="digits", dataset_size=41, batch_size=16, validation_fraction=0.2, subset_fraction=0.8, epochs=2,
                  label_noise=0.3, learning_rate=0.1, precision=precision, **FAMILIES[family])  # fmt: skip
    members = [point.with_(seed=seed, weight_decay=0.01 * seed, **(ROUGH if rough else {})) for seed in range(3)]
    measured = {1: names, 2: names}

    def train(chosen):
        return train_cohort(make_entries(chosen, [1, 2], measured), digits).members

    stacked = train(members)
    columns = {column for name in names for column in MEASURES_ON_DEMAND[name].columns}
    assert all(row.keys() >= columns for _, row in stacked[0].rows)
    assert len(parts(stacked[0])) == 2 * sum(
        3 if name == "example_correctness" else bool(MEASURES_ON_DEMAND[name].examples) for name in names
    )
    assert_same(train([members[1]])[0], stacked[1])
    for found, expected in zip(train([members[2], members[0]]), (stacked[2], stacked[0]), strict=True):
        assert_same(found, expected)


def test_measuring_changes_nothing_of_the_training(digits, monkeypatch):
    monkeypatch.setattr(critical_samples, "EXAMPLES", 5)
    monkeypatch.setattr(critical_samples, "STEPS", 4)
    point = Point(data="digits", dataset_size=50, batch_size=16, epochs=2, width=7, depth=1)
    entries = make_entries([point], [1, 2], dict.fromkeys([1, 2], tuple(MEASURES_ON_DEMAND)))
    with_measures = train_cohort(entries, digits).members[0]
    without = train_cohort(make_entries([point], [1, 2]), digits).members[0]
    for (_, measured), (_, plain) in zip(with_measures.rows, without.rows, strict=True):
        assert {name: measured[name] for name in plain} == plain
