"""Tests of the data sets that come with memsweep: their facts, content and characteristic properties."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from lightning_modules.data import builtin
from lightning_modules.data.dataset import Dataset, content_hash
from lightning_modules.data.sources import BUILT_IN, facts, load
from lightning_modules.errors import DataError

pytestmark = pytest.mark.xdist_group("builtin")  # so that each data set is loaded only once

CONTENT = {
    "mnist1d": "ea3c97b691d56d8187cd",
    "mnist1d_16k": "9c16dc91a3092254f80f",
    "digits": "427c6e46a0a1f8801243",
    "clusters": "6c9311eb3d9eb23c46aa",
}
"""Data set -> hash of its content. If a library changed its data, results would change, but ids would not."""


NAMES = [
    pytest.param(name, marks=pytest.mark.slow if name == "mnist1d_16k" else ())  # 4 times mnist1d, by the same code
    for name in sorted(BUILT_IN)
]


class Loaded(dict[str, Dataset]):
    """Data sets by name, each loaded once; no load may change what the global generators draw next."""

    def __missing__(self, name: str) -> Dataset:
        np.random.seed(7)
        random.seed(7)
        expected = np.random.rand(), random.random()
        np.random.seed(7)
        random.seed(7)
        dataset = load(name)
        assert (np.random.rand(), random.random()) == expected
        return self.setdefault(name, dataset)


@pytest.fixture(scope="module")
def loaded() -> dict[str, Dataset]:
    return Loaded()


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_those_of_the_arrays(loaded, name):
    assert facts(name) == loaded[name].facts


@pytest.mark.parametrize("name", NAMES)
def test_content_is_pinned(loaded, name):
    dataset = loaded[name]
    # Inputs are rounded to thousandths, since the last bits may differ between processors.
    rounded = [np.rint(x * 1000.0).astype(np.int64) for x in (dataset.train_inputs, dataset.test_inputs)]
    ids = (dataset.train_ids, dataset.test_ids)
    assert content_hash(*rounded, dataset.train_labels, dataset.test_labels, *ids) == CONTENT[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_class_is_in_both_splits_and_no_example_is(loaded, name):
    dataset = loaded[name]
    for labels in (dataset.train_labels, dataset.test_labels):
        assert np.unique(labels).tolist() == list(range(dataset.classes))
    assert not set(dataset.train_ids) & set(dataset.test_ids)
    both = np.concatenate([dataset.train_inputs, dataset.test_inputs])
    assert len(np.unique(both.reshape(len(both), -1), axis=0)) == len(both)


def test_mnist1d_is_the_published_arrays_and_leaves_the_global_generators_alone(loaded):
    from mnist1d.data import get_dataset_args, make_dataset

    dataset = loaded["mnist1d"]
    numpy_state, random_state = np.random.get_state(), random.getstate()
    try:
        published = make_dataset(get_dataset_args())
    finally:
        np.random.set_state(numpy_state)
        random.setstate(random_state)
    assert np.array_equal(dataset.train_inputs[:, 0], published["x"].astype(np.float32))
    assert np.array_equal(dataset.test_labels, published["y_test"])


def test_digits_are_the_scans_scaled_and_the_split_is_stratified(loaded):
    bunch, dataset = load_digits(), loaded["digits"]
    assert sorted([*dataset.train_ids, *dataset.test_ids]) == list(range(len(bunch.target)))
    for inputs, labels, ids in (
        (dataset.train_inputs, dataset.train_labels, dataset.train_ids),
        (dataset.test_inputs, dataset.test_labels, dataset.test_ids),
    ):
        assert np.array_equal((inputs[:, 0] + 1) * 8, bunch.images[ids])
        assert np.array_equal(labels, bunch.target[ids])
    share = np.bincount(dataset.test_labels) / np.bincount(bunch.target)
    assert np.abs(share - 360 / 1797).max() < 1 / 170


class TestClusters:
    @pytest.mark.parametrize("complexity", [1, 3, 16])
    def test_is_balanced_and_of_about_unit_variance(self, complexity):
        dataset = builtin.clusters(complexity)
        assert np.bincount(dataset.train_labels).tolist() == [400] * 10
        assert dataset.train_inputs.std() == pytest.approx(1, abs=0.12)

    def test_sub_clusters_nest(self):
        # At every complexity, example 0 of each class is in sub-cluster 0 and has the same noise.
        assert np.array_equal(builtin.clusters(1).train_inputs[:10], builtin.clusters(8).train_inputs[:10])
        assert not np.array_equal(builtin.clusters(1).train_inputs[10:20], builtin.clusters(8).train_inputs[10:20])

    def test_complexity_is_what_makes_it_hard(self):
        linear, neighbour = {}, {}
        for complexity in (1, 16):
            dataset = builtin.clusters(complexity)
            train, test = (dataset.train_inputs, dataset.train_labels), (dataset.test_inputs, dataset.test_labels)
            linear[complexity] = LogisticRegression(max_iter=200).fit(*train).score(*test)
            neighbour[complexity] = KNeighborsClassifier(1).fit(*train).score(*test)
        assert min(linear[1], neighbour[1]) > 0.99
        assert linear[16] == pytest.approx(0.33, abs=0.03)
        assert neighbour[16] == pytest.approx(0.89, abs=0.03)

    @pytest.mark.parametrize("complexity", [0, 401])
    def test_a_complexity_out_of_range_is_refused_when_planning_too(self, complexity):
        for ask in (load, facts):
            with pytest.raises(DataError, match=rf"given {complexity}; valid is 1\.\.400") as caught:
                ask("clusters", complexity)
            assert caught.value.field == "complexity"
