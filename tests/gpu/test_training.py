"""What a training gives on a GPU: the same numbers in any stack, as on a CPU, and after an interruption."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from memsweep.testing import make_entries

from lightning_modules.data import sources
from lightning_modules.data.datamodule import CohortData
from lightning_modules.training.checkpoint import decode, encode
from lightning_modules.training.cohort import CohortModule
from lightning_modules.training.entry import Entry
from lightning_modules.training.stack import Keeper
from lightning_modules.training.train import train_cohort
from tests.gpu.agreement import EPOCHS, STACKS, TOLERANCE, difference, points

EVALUATED = [0, 1, EPOCHS]


def trained(stack: str, count: int, device: str, precision: str = "float32", **options: object):
    entries = make_entries(points(stack, count, precision), EVALUATED)
    return train_cohort(entries, sources.load("digits"), device=device, **options).members


@pytest.mark.parametrize("stack", STACKS)
def test_a_member_has_the_same_numbers_in_stacks_of_any_size(stack, device, report):
    sizes = (2, 3, 6) if device == "cuda" else (3,)
    (alone,) = trained(stack, 1, device)
    (_, first), *_, (_, last) = alone.rows
    assert last["train_loss"] < first["train_loss"], "nothing was learned, so nothing was compared"
    largest = max(difference(trained(stack, size, device)[0].rows, alone.rows) for size in sizes)
    report("largest difference", largest)
    assert largest <= TOLERANCE["float32"]


@pytest.mark.parametrize("stack", STACKS)
def test_the_numbers_are_those_of_a_cpu(stack, device, report):
    if device == "cpu":
        pytest.skip("compares a GPU with a CPU")
    pairs = zip(trained(stack, 3, device), trained(stack, 3, "cpu"), strict=True)
    largest = max(difference(found.rows, expected.rows) for found, expected in pairs)
    report("largest difference", largest)
    assert largest <= TOLERANCE["float32"]


@pytest.mark.parametrize("precision", ["tf32", "bfloat16", "float64"])
@pytest.mark.parametrize("stack", ["mlp, SGD", "convnet"])
def test_a_precision_is_near_float32_and_does_not_depend_on_the_stack(stack, precision, device, report):
    if (device, precision) == ("cpu", "tf32"):
        pytest.skip("a CPU has no TF32")
    (alone,) = trained(stack, 1, device, precision)
    packed = difference(trained(stack, 3, device, precision)[0].rows, alone.rows)
    in_float32 = difference(alone.rows, trained(stack, 1, device)[0].rows)
    report("largest difference between stacks", packed)
    report("largest difference to float32", in_float32)
    assert packed <= TOLERANCE[precision]
    assert 0 < in_float32 <= max(TOLERANCE[precision], TOLERANCE["float32"]), "0: the field has no effect"


@pytest.mark.parametrize("stack", ["mlp, AdamW, dropout", "resnet"])
def test_an_interrupted_training_goes_on_to_the_same_numbers(stack, device, report):
    kept: list[list[Entry]] = []
    whole = trained(stack, 3, device, keeper=Keeper(kept.append, 0))
    checkpoints = [decode(encode(entry.checkpoint)) for entry in kept[1] if entry.checkpoint]
    assert [each.epoch for each in checkpoints if each] == [2, 2, 2]
    entries = [
        Entry(entry.id, entry.settings, entry.evaluated, entry.measured, checkpoint)
        for entry, checkpoint in zip(kept[1], checkpoints, strict=True)
    ]
    again = train_cohort(entries[::-1], sources.load("digits"), device=device).members[::-1]
    largest = max(difference(found.rows, expected.rows) for found, expected in zip(again, whole, strict=True))
    report("largest difference", largest)
    assert largest <= TOLERANCE["float32"]


@contextmanager
def waiting_is_an_error(device: str) -> Iterator[None]:
    """Let torch raise an error if an operation waits for the GPU."""
    if device != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("stack", STACKS)
def test_an_epoch_does_not_wait_for_the_device(stack, device, monkeypatch):
    """The counterpart on a GPU of tests/lightning_modules/training/test_no_waiting.py."""
    members = points(stack, 3)
    data = CohortData(members, sources.load("digits"), torch.device(device), torch.float32)
    module = CohortModule(make_entries(members, [EPOCHS]), data)
    for epoch in range(2):  # the first epoch records the update, and compares the recording
        module.train()
        with waiting_is_an_error(device if epoch else "cpu"):
            module.on_train_epoch_start()
            module.training_step(data.order(module.epochs), 0)
    assert bool(torch.isfinite(module._losses).all())
