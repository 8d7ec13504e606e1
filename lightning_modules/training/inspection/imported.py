"""What the files of a network must do: make the same network in every process that imports them."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from lightning_modules.models import families
from lightning_modules.models.seeded import build_member
from lightning_modules.models.user_model import ImportedFamily, import_family
from lightning_modules.settings import Settings
from lightning_modules.streams import stream_seed
from lightning_modules.training.inspection import values
from lightning_modules.training.inspection.alone import problem, refused
from lightning_modules.training.inspection.draws import generators_restored

ADVICE = (
    "what its files draw at import differs between processes; draw it where the network is built, or from a generator "
    "with a fixed seed, as by torch.Generator().manual_seed(0)"
)


def check_import(settings: Settings, inputs: Tensor, classes: int) -> None:
    """Import the files of a model once more, from other random numbers, and compare the networks of one seed.

    Files that cannot be imported twice in one process, because they register something, are not compared.

    Args:
        inputs: [n, *shape], of the type in which the network is trained.

    Raises:
        ModelError: says in what the networks differ.
    """
    shape = tuple(inputs.shape[1:])
    with generators_restored():
        first = build_member(settings.model_copy(update={"seed": 0}), shape, classes)
        with imported_anew(families.modules(settings.model)):
            torch.seed()
            np.random.seed()
            random.seed()
            try:
                family = import_family(settings.model)
            except Exception:
                return
            with refused(settings, first):
                other = _built(family, settings, shape, classes)
                where = _differing(first, other)
                if where is None and not all(map(torch.equal, _logits(first, inputs), _logits(other, inputs))):
                    where = "its logits"
    if where is not None:
        raise problem(
            settings, f"is another network each time that its files are imported, in {where}; {ADVICE}", first
        )


@contextmanager
def imported_anew(modules: Iterable[str]) -> Iterator[None]:
    """Let imports inside of a `with` block run modules again, and forget what they made."""
    before = {name: sys.modules.pop(name) for name in modules if name in sys.modules}
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.modules.update(before)
        for name, module in before.items():
            package, _, attribute = name.rpartition(".")
            if package in sys.modules:
                setattr(sys.modules[package], attribute, module)


def _built(family: ImportedFamily, settings: Settings, shape: tuple[int, ...], classes: int) -> nn.Module:
    torch.manual_seed(stream_seed(0, "init"))
    return family.build(shape, classes, settings.width, settings.depth)


def _differing(first: nn.Module, other: nn.Module) -> str | None:
    one, two = values.tensors(first), values.tensors(other)
    if {name: tensor.shape for name, tensor in one.items()} != {name: tensor.shape for name, tensor in two.items()}:
        return "its sizes"
    unequal = (name for name in one if values.digest(one[name]) != values.digest(two[name]))
    where = next(unequal, None) or values.differing(values.plain_values(first), values.plain_values(other))
    return f"`{where}`" if where else None


def _logits(network: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Return the logits in evaluation and in training, without the draws of dropout being another's."""
    network = network.to(inputs.dtype)
    logits = []
    for training in (False, True):
        torch.manual_seed(0)
        with torch.no_grad():
            logits.append(network.train(training)(inputs.clone()).nan_to_num())
    return logits
