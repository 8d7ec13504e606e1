"""The updates of an epoch do not wait for the device.

On torch's meta device, tensors have shapes and no values. Reading a value (`.item()`, `.tolist()`, `bool`), or a shape
that depends on values, raises an error there. On a GPU, the same operations wait for everything that was launched
before, and so does a copy of a tensor of the host, unless `upload` makes it, once per epoch.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from memsweep.testing import make_entries
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_modules.data import sources
from lightning_modules.data.datamodule import CohortData, Examples
from lightning_modules.training.cohort import CohortModule
from sweeps.spec.point import Point

IMAGES = np.random.default_rng(0).normal(size=(60, 3, 8, 8)).astype(np.float32)
DATASET = sources.Dataset.of(IMAGES, np.arange(60) % 5, IMAGES[:20], np.arange(20) % 5)

STACKS = {
    "mlp, SGD": {"width": 5, "depth": 2, "weight_decay": 0.1},
    "mlp, AdamW, dropout": {"width": 5, "depth": 2, "optimizer": "adamw", "dropout": 0.2},
    "mlp, input noise, cosine": {"width": 5, "depth": 1, "input_noise": 0.5, "lr_schedule": "cosine"},
    "residual_mlp": {"model": "residual_mlp", "width": 5, "depth": 1},
    "convnet": {"model": "convnet", "width": 3},
    "resnet, dropout": {"model": "resnet", "width": 2, "depth": 1, "dropout": 0.1},
    "augmentation": {
        "model": "convnet",
        "width": 2,
        "crop_flip": 2,
        "rotation": 9.0,
        "color_jitter": 0.2,
        "augment_noise": 0.1,
    },
    "transformer": {"model": "transformer", "width": 8, "depth": 1, "optimizer": "adamw"},
}


class Copies(TorchDispatchMode):
    """Counts the copies of tensors of the host to the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options = options or {}
        if function is torch.ops.aten._to_copy.default:
            self.count += (
                arguments[0].device.type == "cpu" and torch.device(options.get("device", "cpu")).type == "meta"
            )
        if function is torch.ops.aten.copy_.default:
            self.count += arguments[0].device.type == "meta" and arguments[1].device.type == "cpu"
        return function(*arguments, **options)


def train_one_epoch(module: CohortModule, data: CohortData) -> None:
    """Do what Lightning's loop does in an epoch without an evaluation."""
    module.train()
    module.on_train_epoch_start()
    order = data.order(module.epochs)
    with Copies() as copies:
        module.training_step(order, 0)
        module.on_train_epoch_end()
    # In its first epoch, a stack copies the constants of its draws for each size of a batch.
    assert module.epochs[0] == 1 or copies.count == 0, "a tensor was copied from the host"


def on_meta(**fields: object) -> tuple[CohortModule, CohortData]:
    members = [Point(batch_size=25, epochs=3, seed=seed, learning_rate=0.1 + seed, **fields) for seed in range(3)]
    device = torch.device("meta")
    data = CohortData(members, DATASET, device, torch.float32)
    return CohortModule(make_entries(members, [3]), data), data


_widths = itertools.count(20)


def of_a_new_shape() -> tuple[CohortModule, CohortData]:
    """Return a stack for which nothing can be kept from an earlier test, such as the recording of an update."""
    return on_meta(width=next(_widths), depth=1)


@pytest.mark.parametrize("stack", STACKS)
def test_an_epoch_runs_without_reading_a_value(stack):
    module, data = on_meta(**STACKS[stack])
    train_one_epoch(module, data)
    train_one_epoch(module, data)
    assert module.epochs == [2, 2, 2]


def _reads_a_value(call, tensor):
    def changed(self, *arguments):
        result = call(self, *arguments)
        tensor(self, *arguments).sum().item()
        return result

    return changed


def _selects_by_value(call, tensor):
    def changed(self, *arguments):
        chosen = tensor(self, *arguments)
        assert chosen[chosen > 3].shape
        return call(self, *arguments)

    return changed


WAITS = {
    "a value of the batch": (Examples, "at", _reads_a_value, lambda examples, rows: rows),
    "a shape that depends on values": (Examples, "at", _selects_by_value, lambda examples, rows: rows),
    "a loss": (CohortModule, "training_step", _reads_a_value, lambda module, batch, index: module._losses),
    "which members have diverged": (CohortModule, "_note_diverged", _reads_a_value, lambda module: module._diverged),
}


@pytest.mark.parametrize(
    "upload", [lambda values: values.to("meta"), lambda values: torch.zeros(2, device="meta").copy_(values)]
)
def test_a_copy_from_the_host_is_noticed(upload, monkeypatch):
    at = Examples.at
    monkeypatch.setattr(Examples, "at", lambda examples, rows: (upload(torch.ones(2)), at(examples, rows))[1])
    module, data = of_a_new_shape()
    train_one_epoch(module, data)
    with pytest.raises(AssertionError, match="copied from the host"):
        train_one_epoch(module, data)


@pytest.mark.parametrize("wait", WAITS)
def test_an_operation_that_waits_is_noticed(wait, monkeypatch):
    place, name, change, tensor = WAITS[wait]
    monkeypatch.setattr(place, name, change(getattr(place, name), tensor))
    module, data = of_a_new_shape()
    with pytest.raises(RuntimeError, match="meta"):
        train_one_epoch(module, data)


def test_an_evaluation_reads_twice(monkeypatch):
    """It reads which members have diverged, and then all measures of all members at once."""
    module, _ = on_meta(**STACKS["mlp, SGD"])
    module.epochs = [3, 3, 3]
    reads: list[tuple[int, ...]] = []

    def zeros(tensor):
        reads.append(tuple(tensor.shape))
        return np.zeros(tensor.shape).tolist()

    monkeypatch.setattr(torch.Tensor, "tolist", zeros)
    assert module.measure()
    ((_, measures),) = module.rows[0]
    assert reads == [(3,), (len(measures), 3)]
