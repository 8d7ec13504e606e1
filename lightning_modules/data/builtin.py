"""The data sets that come with memsweep: generated or packaged with a library, never downloaded.

name          train   test    shape      classes
mnist1d       4,000   1,000   (1, 40)    10       the published frozen arrays (Greydanus 2020)
mnist1d_16k   4,000   12,000  (1, 40)    10       16,000 samples of the same generator, for double descent
digits        1,437   360     (1, 8, 8)  10       scikit-learn's scanned digits
clusters      4,000   1,000   (16,)      10       synthetic; `complexity` is its number of sub-clusters a class
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np

from lightning_modules.data.dataset import Dataset, Facts
from lightning_modules.errors import DataError
from lightning_modules.streams import numpy_generator

MNIST1D_FACTS = Facts(4000, 1000, (1, 40), 10)
MNIST1D_16K_FACTS = Facts(4000, 12000, (1, 40), 10)
DIGITS_FACTS = Facts(1437, 360, (1, 8, 8), 10)
CLUSTERS_FACTS = Facts(4000, 1000, (16,), 10)

CLUSTER_SD = 0.65
"""Spread of a sub-cluster, where the centres are standard normal in 16 dimensions. Chosen by 1-nearest-neighbour test
accuracy: 100 % at complexity 1, where a linear model has 100 % too; 89 % at 16, where a linear model has 33 %."""

_global_state = Lock()


def mnist1d() -> Dataset:
    """Signals, together of mean 0 and variance 1 over the published 5,000."""
    return _mnist1d(5000, 0.8)


def mnist1d_16k() -> Dataset:
    """Signals, together of mean 0 and variance 1 over the 16,000."""
    return _mnist1d(16000, 0.25)


def _mnist1d(samples: int, train_split: float) -> Dataset:
    from mnist1d.data import get_dataset_args, make_dataset

    args = get_dataset_args()
    args.num_samples, args.train_split = samples, train_split
    with _global_generators_restored():
        made = make_dataset(args)
    return Dataset.of(made["x"][:, None], made["y"], made["x_test"][:, None], made["y_test"], classes=10)


@contextmanager
def _global_generators_restored() -> Iterator[None]:
    """mnist1d seeds the generators of numpy and random that belong to everybody."""
    with _global_state:
        numpy_state, random_state = np.random.get_state(), random.getstate()
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(random_state)


def digits() -> Dataset:
    """Images of 17 grey levels scaled to -1..1. The split is ours, stratified; ids are scikit-learn's positions."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images = (bunch.images[:, None] / 8 - 1).astype(np.float32)
    train, test = train_test_split(
        np.arange(len(images)), test_size=DIGITS_FACTS.test_size, stratify=bunch.target, random_state=0
    )
    train, test = np.sort(train), np.sort(test)
    return Dataset.of(
        images[train], bunch.target[train], images[test], bunch.target[test], classes=10, train_ids=train, test_ids=test
    )


def check_clusters(complexity: int) -> None:
    most = CLUSTERS_FACTS.train_size // CLUSTERS_FACTS.classes
    if not 1 <= complexity <= most:
        raise DataError("complexity", f"given {complexity}; valid is 1..{most}, the training examples of a class")


def clusters(complexity: int) -> Dataset:
    """Vectors, of variance 1 by construction. Each class is the union of `complexity` Gaussian sub-clusters.

    The data is the same for every seed of a training, and the sub-clusters of a complexity are among those of every
    larger one. Raises DataError("complexity") above the number of training examples of a class.
    """
    check_clusters(complexity)
    facts = CLUSTERS_FACTS
    (dimensions,) = facts.shape
    total = facts.train_size + facts.test_size
    centres = numpy_generator(0, "clusters/centres").standard_normal((complexity, facts.classes, dimensions))
    labels = np.arange(total) % facts.classes
    # Round robin over the classes, then over a class's sub-clusters: each has as many examples, give or take one.
    members = np.arange(total) // facts.classes % complexity
    noise = numpy_generator(0, "clusters/noise").standard_normal((total, dimensions))
    inputs = (centres[members, labels] + CLUSTER_SD * noise) / np.sqrt(1 + CLUSTER_SD**2)
    train = slice(facts.train_size)
    test = slice(facts.train_size, total)
    return Dataset.of(inputs[train], labels[train], inputs[test], labels[test], classes=facts.classes)
