"""What members train on: nested, disjoint where it should be, and the test set untouched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.data import sources
from lightning_modules.data.datamodule import CohortData
from sweeps.spec import Point

DIGITS = sources.load("digits")


def data(*members: Point) -> CohortData:
    return CohortData(members, DIGITS, torch.device("cpu"), torch.float32)


def point(**fields: object) -> Point:
    return Point(data="digits", **{"dataset_size": 200, "batch_size": 32, **fields})


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from(["uniform", "symmetric", "pair"]), st.integers(0, 9))
def test_noise_nests_between_members(first, second, kind, seed):
    low, high = sorted([first, second])
    made = data(*(point(label_noise=q, label_noise_kind=kind, seed=seed) for q in (low, high))).train
    assert torch.equal(made.true[0], made.true[1])
    changed = made.given[0] != made.true[0]
    assert torch.equal(made.given[1][changed], made.given[0][changed])


def test_a_smaller_data_set_is_a_prefix_of_a_larger_one():
    small, large = (data(point(dataset_size=n, label_noise=1.0, seed=4)).train for n in (100, 200))
    assert torch.equal(small.rows, large.rows[:, :100])
    assert torch.equal(small.given, large.given[:, :100])


def test_held_out_examples_are_not_trained_on_and_as_noisy():
    made = data(point(validation_fraction=0.3, label_noise=0.5, label_noise_kind="symmetric", dataset_size=1000))
    assert made.train.size == 700
    assert made.validation is not None
    assert not set(made.train.rows[0].tolist()) & set(made.validation.rows[0].tolist())
    noisy = (made.validation.given != made.validation.true).double().mean().item()
    assert noisy == pytest.approx(0.5, abs=0.08)  # 300 examples: 2.8 standard errors


def test_the_test_set_is_the_clean_one_whatever_the_noise():
    made = data(point(label_noise=1.0, input_noise=1.0, rotation=30.0))
    assert torch.equal(made.test.given[0], torch.from_numpy(DIGITS.test_labels))
    assert np.array_equal(made.test.slice(0, len(DIGITS.test_labels))[0].numpy(), DIGITS.test_inputs)


def test_an_epoch_presents_every_example_once_in_an_order_of_its_own():
    made = data(point(seed=1), point(seed=2), point(seed=1, label_noise=0.5))
    epochs = [made.order(epoch) for epoch in range(2)]
    for epoch in epochs:
        assert torch.equal(epoch.sort(1).values, torch.arange(200).expand(3, 200))
        assert torch.equal(epoch[0], epoch[2])
        assert not torch.equal(epoch[0], epoch[1])
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(made.order(0), epochs[0])
    assert made.updates_per_epoch == 7


def test_only_members_with_input_noise_have_inputs_of_their_own():
    clean, noisy, same = point(), point(input_noise=0.4), point(input_noise=0.4, label_noise=0.3)
    made = data(clean, noisy, same).train
    assert len(made.inputs) == len(DIGITS.train_labels) + 200
    inputs, labels = made.take(torch.arange(200).expand(3, 200))
    originals = torch.from_numpy(DIGITS.train_inputs)[made.rows[0]]
    assert torch.equal(inputs[0], originals)
    changed = (inputs[1] != originals).flatten(1).any(1)
    assert changed.sum() == 80
    assert torch.equal(inputs[1], inputs[2])
    assert torch.equal(labels, made.given)
