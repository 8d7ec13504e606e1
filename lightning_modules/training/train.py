"""train_cohort: members in, their measures out. The one way a network is trained here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from lightning_modules.data.sources import Dataset
from lightning_modules.settings import Settings
from lightning_modules.training.checkpoint import Checkpoint, Keeper
from lightning_modules.training.stack import Entry, MemberResult, Stack


@dataclass(frozen=True)
class CohortResult:
    members: tuple[MemberResult, ...]
    parameters: int
    """Trainable parameters of one member."""
    device: str


def train_cohort(
    members: Sequence[Settings],
    dataset: Dataset,
    evaluated: Sequence[Sequence[int]],
    measured: Sequence[Mapping[int, Sequence[str]]] = (),
    *,
    device: str = "cpu",
    on_epoch: Callable[[int], None] = lambda epoch: None,
    keeper: Keeper | None = None,
    checkpoints: Sequence[Checkpoint | None] = (),
) -> CohortResult:
    """Train the members as one stacked model for `members[0].epochs` epochs.

    The members are such as a Stack may have. Member k is evaluated at the epochs `evaluated[k]`, where 0 is before
    training, and the measures on demand `measured[k][epoch]` are taken too; neither changes what is trained. `on_epoch`
    hears of every finished epoch. `keeper` is offered a checkpoint a member after every epoch but the last;
    `checkpoints`, one a member and all of one epoch, are what training goes on from, to the same bits. Raises what
    building or running the network raises; a member that diverges is no error.
    """
    heard = _Epochs(on_epoch, checkpoints[0].epoch if checkpoints and checkpoints[0] else 0)
    count = len(members)
    columns = zip(members, evaluated, measured or [{}] * count, checkpoints or [None] * count, strict=True)
    stack = Stack(dataset, device, heard.one_more, keeper)
    stack.change(joining=[Entry(*each) for each in columns])
    stack.advance(stack.horizon - heard.epochs)
    return CohortResult(stack.results, stack.parameters, device_name(device))


def device_name(device: str) -> str:
    """What a record says of where it was computed: cpu, or the accelerator's name."""
    place = torch.device(device)
    return torch.cuda.get_device_name(place) if place.type == "cuda" else "cpu"


@dataclass
class _Epochs:
    """Counts those that are finished."""

    on_epoch: Callable[[int], None]
    epochs: int

    def one_more(self) -> None:
        self.epochs += 1
        self.on_epoch(self.epochs)
