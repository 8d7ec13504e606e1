"""Tests of the members' examples: subsets are nested, splits are disjoint, and the test set is untouched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.data import sources
from lightning_modules.data.datamodule import CohortData
from lightning_modules.data.split_sizes import rounded_share, split_sizes
from sweeps.spec.point import Point

DIGITS = sources.load("digits")


def data(*members: Point) -> CohortData:
    return CohortData(members, DIGITS, torch.device("cpu"), torch.float32)


def point(**fields: object) -> Point:
    return Point(data="digits", **{"dataset_size": 200, "batch_size": 32, **fields})


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from(["uniform", "symmetric", "pair"]), st.integers(0, 9))
def test_noise_nests_between_members(first, second, kind, seed):
    low, high = sorted([first, second])
    examples = data(*(point(label_noise=q, label_noise_kind=kind, seed=seed) for q in (low, high))).train
    assert torch.equal(examples.true[0], examples.true[1])
    changed = examples.given[0] != examples.true[0]
    assert torch.equal(examples.given[1][changed], examples.given[0][changed])


def test_a_smaller_data_set_is_a_prefix_of_a_larger_one():
    small, large = (data(point(dataset_size=n, label_noise=1.0, seed=4)).train for n in (100, 200))
    assert torch.equal(small.rows, large.rows[:, :100])
    assert torch.equal(small.given, large.given[:, :100])


def test_held_out_examples_are_not_trained_on_and_as_noisy():
    examples = data(point(validation_fraction=0.3, label_noise=0.5, label_noise_kind="symmetric", dataset_size=1000))
    assert examples.train.size == 700
    assert examples.validation is not None
    assert not set(examples.train.rows[0].tolist()) & set(examples.validation.rows[0].tolist())
    noisy = (examples.validation.given != examples.validation.true).double().mean().item()
    assert noisy == pytest.approx(0.5, abs=0.08)  # 300 examples: 2.8 standard errors


def test_the_test_set_is_the_clean_one_whatever_the_noise():
    examples = data(point(label_noise=1.0, input_noise=1.0, rotation=30.0))
    assert torch.equal(examples.test.given[0], torch.from_numpy(DIGITS.test_labels))
    assert np.array_equal(examples.test.slice(0, len(DIGITS.test_labels))[0].numpy(), DIGITS.test_inputs)


def test_an_epoch_presents_every_example_once_in_an_order_of_its_own():
    examples = data(point(seed=1), point(seed=2), point(seed=1, label_noise=0.5))
    epochs = [examples.order([epoch] * len(examples.members)) for epoch in range(2)]
    for epoch in epochs:
        assert torch.equal(epoch.sort(1).values, torch.arange(200).expand(3, 200))
        assert torch.equal(epoch[0], epoch[2])
        assert not torch.equal(epoch[0], epoch[1])
    assert not torch.equal(epochs[0], epochs[1])
    assert torch.equal(examples.order([0] * len(examples.members)), epochs[0])
    assert examples.updates_per_epoch == 7


def test_only_members_with_input_noise_have_inputs_of_their_own():
    clean, noisy, same = point(), point(input_noise=0.4), point(input_noise=0.4, label_noise=0.3)
    examples = data(clean, noisy, same).train
    assert len(examples.inputs) == len(DIGITS.train_labels) + 200
    inputs, labels = examples.take(torch.arange(200).expand(3, 200))
    originals = torch.from_numpy(DIGITS.train_inputs)[examples.rows[0]]
    assert torch.equal(inputs[0], originals)
    changed = (inputs[1] != originals).flatten(1).any(1)
    assert changed.sum() == 80
    assert torch.equal(inputs[1], inputs[2])
    assert torch.equal(labels, examples.given)


def test_trainings_of_one_data_seed_see_the_same_noisy_examples():
    noisy = {"label_noise": 0.5, "input_noise": 0.2, "validation_fraction": 0.1}
    examples = data(*(point(seed=seed, data_seed=7, **noisy) for seed in (1, 2)), point(seed=7, **noisy)).train
    for each in (examples.ids, examples.given, examples.true, examples.slice(0, examples.size)):
        assert torch.equal(each[0], each[1])
        assert torch.equal(each[0], each[2])
    other = data(point(seed=1, **noisy)).train
    assert not torch.equal(other.ids[0], examples.ids[0])


@given(st.floats(0.05, 0.95), st.integers(0, 5))
def test_a_subset_and_what_is_left_out_part_the_training_examples(fraction, seed):
    settings = {"label_noise": 0.3, "validation_fraction": 0.2, "data_seed": 0, "seed": seed}
    whole, examples = data(point(**settings)), data(point(subset_fraction=fraction, **settings))
    assert examples.left_out is not None
    assert examples.train.size == rounded_share(fraction, 160)
    assert sorted([*examples.train.ids[0].tolist(), *examples.left_out.ids[0].tolist()]) == sorted(
        whole.train.ids[0].tolist()
    )
    labels = dict(zip(whole.train.ids[0].tolist(), whole.train.given[0].tolist(), strict=True))
    for part in (examples.train, examples.left_out):
        assert part.given[0].tolist() == [labels[i] for i in part.ids[0].tolist()]
        assert torch.equal(part.slice(0, part.size)[0], torch.from_numpy(DIGITS.train_inputs)[part.ids[0]])
    assert whole.left_out is None


def test_subsets_are_drawn_by_the_seed_alone_and_nest():
    settings = {"data_seed": 0, "dataset_size": 500}
    small, large = (data(point(subset_fraction=f, seed=3, **settings)).train.ids[0].tolist() for f in (0.3, 0.7))
    assert set(small) < set(large)
    both = data(point(subset_fraction=0.7, seed=3, **settings), point(subset_fraction=0.7, seed=4, **settings)).train
    assert both.ids[0].tolist() == large
    # Two independent subsets of 0.7 share 0.49 of the examples: 245 of 500, with a standard deviation of 4.7.
    assert 230 <= len(set(large) & set(both.ids[1].tolist())) <= 260


@given(
    st.one_of(st.none(), st.integers(20, 400)),
    st.sampled_from([0.0, 0.1, 0.15, 0.25, 0.333]),
    st.sampled_from([0.3, 0.5, 0.77, 1.0]),
    st.integers(1, 500),
)
def test_the_counted_examples_are_those_that_are_trained_on(size, held_out, seen, batch_size):
    settings = point(dataset_size=size, validation_fraction=held_out, subset_fraction=seen, batch_size=batch_size)
    sizes, split = split_sizes(settings, len(DIGITS.train_labels)), data(settings)
    assert sizes.trained == split.train.size
    assert sizes.held_out == (split.validation.size if split.validation else 0)
    assert sizes.left_out == (split.left_out.size if split.left_out else 0)
    assert sizes.total == (size or len(DIGITS.train_labels))
    assert sizes.updates(batch_size) == split.updates_per_epoch
