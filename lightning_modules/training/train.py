"""train_cohort: train entries to their last epoch as one `Stack`, and return their measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lightning_modules.data.sources import Dataset
from lightning_modules.training.entry import Entry
from lightning_modules.training.stack import Keeper, MemberResult, Stack


@dataclass(frozen=True)
class CohortResult:
    members: tuple[MemberResult, ...]
    """One result per entry, in the same order."""
    parameters: int
    """The number of trainable parameters of one member."""
    device: str


def train_cohort(
    entries: Sequence[Entry],
    dataset: Dataset,
    *,
    device: str = "cpu",
    on_epoch: Callable[[int], None] = lambda epoch: None,
    keeper: Keeper | None = None,
) -> CohortResult:
    """Train the entries as one stacked model up to their last epoch.

    The choice of evaluated epochs and of measures does not affect the training. It is not an error if a member
    diverges.

    Args:
        entries: trainings that may share a `Stack`, all at the same epoch.
        dataset: the examples of `entries[0].settings.data`.
        device: torch's name of the device.
        on_epoch: called with the number of every finished epoch.
        keeper: is offered the entries with their checkpoints after every epoch but the last.

    Raises:
        Exception: any error that occurs while a network is built or run.
    """
    epoch = entries[0].epoch

    def count() -> None:
        nonlocal epoch
        epoch += 1
        on_epoch(epoch)

    stack = Stack(dataset, device, count, keeper)
    stack.change(joining=entries)
    stack.advance(stack.horizon - epoch)
    result = CohortResult(stack.results, stack.parameters, device_name(device))
    stack.change(leaving=range(len(stack)))  # frees its memory
    return result


def device_name(device: str) -> str:
    """Return the name of a device for records: cpu, or the model name of the GPU."""
    place = torch.device(device)
    return torch.cuda.get_device_name(place) if place.type == "cuda" else "cpu"
