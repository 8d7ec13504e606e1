"""The built-in data sets. Each is generated or is packaged with a library; none is downloaded.

name          train   test    shape      classes
mnist1d       4,000   1,000   (1, 40)    10       the published frozen arrays (Greydanus 2020)
mnist1d_16k   4,000   12,000  (1, 40)    10       16,000 samples of the same generator, for double descent
digits        1,437   360     (1, 8, 8)  10       scikit-learn's scanned digits
clusters      4,000   1,000   (16,)      10       synthetic; `complexity` is the number of sub-clusters per class
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
"""The standard deviation of a sub-cluster; the centres are standard normal in 16 dimensions. It was chosen by test
accuracy: 1-nearest-neighbour and a linear model reach 100 % at complexity 1, and 89 % and 33 % at complexity 16."""

_global_state = Lock()


def mnist1d() -> Dataset:
    """Generate the 5,000 published signals. The mean over all of them is 0, and the variance is 1."""
    return _mnist1d(5000, 0.8)


def mnist1d_16k() -> Dataset:
    """Generate 16,000 signals. The mean over all of them is 0, and the variance is 1."""
    return _mnist1d(16000, 0.25)


def _mnist1d(samples: int, train_split: float) -> Dataset:
    from mnist1d.data import get_dataset_args, make_dataset

    args = get_dataset_args()
    args.num_samples, args.train_split = samples, train_split
    with _global_generators_restored():
        arrays = make_dataset(args)
    return Dataset.of(arrays["x"][:, None], arrays["y"], arrays["x_test"][:, None], arrays["y_test"], classes=10)


@contextmanager
def _global_generators_restored() -> Iterator[None]:
    """Restore the global generators of numpy and random on exit, because mnist1d seeds them."""
    with _global_state:
        numpy_state, random_state = np.random.get_state(), random.getstate()
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(random_state)


def digits() -> Dataset:
    """Load images with 17 grey levels, scaled to -1..1.

    The stratified split is made by memsweep. Ids are positions in scikit-learn's array.
    """
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
    """Generate vectors of variance 1. Each class is the union of `complexity` Gaussian sub-clusters.

    The data does not depend on the seed of a training. The sub-clusters of one complexity are also sub-clusters of all
    larger complexities. Raises DataError("complexity") if it exceeds the number of training examples per class.
    """
    check_clusters(complexity)
    facts = CLUSTERS_FACTS
    (dimensions,) = facts.shape
    total = facts.train_size + facts.test_size
    centres = numpy_generator(0, "clusters/centres").standard_normal((complexity, facts.classes, dimensions))
    labels = np.arange(total) % facts.classes
    # Examples cycle through the classes, then through the sub-clusters of a class, so sizes differ by at most one.
    members = np.arange(total) // facts.classes % complexity
    noise = numpy_generator(0, "clusters/noise").standard_normal((total, dimensions))
    inputs = (centres[members, labels] + CLUSTER_SD * noise) / np.sqrt(1 + CLUSTER_SD**2)
    train = slice(facts.train_size)
    test = slice(facts.train_size, total)
    return Dataset.of(inputs[train], labels[train], inputs[test], labels[test], classes=facts.classes)
