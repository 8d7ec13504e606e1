"""inspect: check a user's network of one size once, and remember that it passed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lightning_modules.cache import cache_folder, write_to_cache
from lightning_modules.data import sources
from lightning_modules.data.cached import versions
from lightning_modules.data.dataset import Dataset
from lightning_modules.errors import ModelError
from lightning_modules.hashing import hash_of_text
from lightning_modules.settings import Settings
from lightning_modules.user_call import contained
from lightning_modules.user_code import CodeError

CHECKS = 2
"""The version of the checks. Networks that passed an earlier one are checked again."""
EXAMPLES = 8
RATE = 0.5
"""The rate of dropout. Networks are checked with dropout if they have it, whatever the rates of their trainings."""

_passed: set[str] = set()


def inspect(settings: Settings, load: Callable[[], Dataset]) -> bool:
    """Check the network of a training, unless one of this code and size has passed on this machine.

    Does not import torch if it has. A network that is refused is checked again at the next call.

    Args:
        settings: a training whose model is a user's, with `width`, `depth` and `model_digest` filled in.
        load: returns the data set of the training, whose first examples are used.

    Returns:
        Whether the network was run.

    Raises:
        ModelError: says in one sentence what the network does, and what it should do.
    """
    key = _key(settings)
    path = cache_folder() / "networks" / key
    known = bool(settings.model_digest) and (key in _passed or path.exists())
    if not known:
        dataset = load()
        try:
            with contained(settings.model):
                _check(settings, dataset)
        except CodeError as error:
            raise ModelError("model", f"{settings.model}: {error}") from None
        if settings.model_digest:
            write_to_cache(path, json.dumps({"model": settings.model}).encode())
    _passed.add(key)
    return not known


def _key(settings: Settings) -> str:
    """Hash everything on which the result depends."""
    size = (settings.model, settings.model_digest, settings.width, settings.depth)
    data = (sources.reference(settings), settings.data_digest)
    parts = (CHECKS, size, data, settings.precision, versions("torch", "memsweep"))
    return hash_of_text(repr(parts))


def _check(settings: Settings, dataset: Dataset) -> None:
    import torch

    from lightning_modules.training.inspection.alone import Passes, check_builds, refused
    from lightning_modules.training.inspection.imported import check_import
    from lightning_modules.training.inspection.stacked import check_stack
    from lightning_modules.training.precision import DTYPES

    few = _few(dataset)
    chosen = settings.model_copy(
        update={"dropout": RATE, "dataset_size": EXAMPLES, "batch_size": EXAMPLES, "validation_fraction": 0.0,
                "subset_fraction": 1.0, "label_noise": 0.0, "input_noise": 0.0, "data_seed": None,
                "precision": "float64" if settings.precision == "float64" else "float32"}
    )  # fmt: skip
    dtype = DTYPES[chosen.precision]
    with _as_in_training(chosen.precision):
        network = check_builds(chosen, few.shape, few.classes)
        with refused(chosen, network):
            network = network.to(dtype)
        inputs = torch.from_numpy(few.train_inputs).to(dtype)
        Passes(chosen, network, inputs, few.classes).check()
        check_import(chosen, inputs, few.classes)
        check_stack(chosen, network, few, dtype)


def _few(dataset: Dataset) -> Dataset:
    """Return a data set of the first training examples, which are repeated if there are too few."""
    rows = [index % len(dataset.train_labels) for index in range(EXAMPLES)]
    inputs, labels = dataset.train_inputs[rows], dataset.train_labels[rows]
    return Dataset.of(inputs, labels, inputs, labels, classes=dataset.classes)


@contextmanager
def _as_in_training(precision: str) -> Iterator[None]:
    """Set torch as a stack does, and leave the number of threads as it was."""
    import warnings

    import torch

    from lightning_modules.training.precision import set_products
    from lightning_modules.training.stack import reproducible

    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    reproducible()
    set_products(precision, torch.device("cpu"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(mode)
