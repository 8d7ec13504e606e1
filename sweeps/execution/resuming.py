"""Checkpoints of members in the store: which members resume, and how their states are kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from lightning_modules.errors import CheckpointError
from sweeps.execution.identity import check_code
from sweeps.planning.plan import Training
from sweeps.store.checkpoints import Checkpoints
from sweeps.store.store import Store

if TYPE_CHECKING:
    from lightning_modules.training.checkpoint import Checkpoint
    from lightning_modules.training.entry import Entry


def by_epoch(members: Iterable[Training]) -> list[list[Training]]:
    """Group members by the epoch of their checkpoints, in ascending order."""
    groups: dict[int, list[Training]] = {}
    for member in members:
        groups.setdefault(member.epoch, []).append(member)
    return [groups[epoch] for epoch in sorted(groups)]


def with_checkpoints(members: Iterable[Training], store: Store, device: str) -> list[Training]:
    """Return the members, with a checkpoint from the store for each member that can resume from it on this device."""
    checkpoints = Checkpoints(store.location)
    there = checkpoints.ids()
    return [
        replace(member, checkpoint=_checkpoint(member, checkpoints, device) if member.id in there else None)
        for member in members
    ]


def _checkpoint(member: Training, checkpoints: Checkpoints, device: str) -> Checkpoint | None:
    from lightning_modules.training.checkpoint import load

    content = checkpoints.read(member.id)
    try:
        if content is None:
            raise CheckpointError("its bytes are not those that were written")
        state = load(content)
    except CheckpointError as error:
        checkpoints.discard([member.id], str(error))
        return None
    serves = (
        state is not None
        and state.device == device
        and state.serves(member.settings.epochs, member.evaluated, member.measured)
    )
    return state if serves else None


def keep(entries: Iterable[Entry], store: Store) -> None:
    """Write the checkpoints of the entries. Raises errors of the whole run, as `append` does."""
    from lightning_modules.training.checkpoint import encode

    entries = [*entries]
    check_code(entry.settings for entry in entries)
    Checkpoints(store.location).write({each.id: encode(each.checkpoint) for each in entries if each.checkpoint})
