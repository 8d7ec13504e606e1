"""Shorten a recording without changing its results.

Every pass takes a recording and returns one that computes the same bits:

    drop_unused   calls whose results nobody reads are dropped
    hoist_sums    an addition to a state moves to where its summand is computed, while the summand is in the cache

`constant_calls` finds the calls that give the same results in every replay.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from lightning_modules.training.program.recording import Call, Recording, View

aten = torch.ops.aten


def lowered(recording: Recording) -> Recording:
    """Apply all passes."""
    return hoist_sums(drop_unused(recording))


def drop_unused(recording: Recording) -> Recording:
    """Drop the calls that change neither an external storage nor anything that is read later."""
    needed = {view.storage for view in recording.outputs if view is not None} | {*recording.external}
    calls: list[Call] = []
    for call in reversed(recording.calls):
        if call.writes & needed:
            needed |= call.reads
            calls.append(call)
    return recording.with_calls(calls[::-1])


def hoist_sums(recording: Recording) -> Recording:
    """Move each `state.add_(term)` directly behind the calls that it depends on."""
    calls = list(recording.calls)
    for index, call in enumerate(calls):
        if call.operator is not aten.add_.Tensor or not call.reads & {*recording.external}:
            continue
        place = index
        while place > 0 and not _conflict(calls[place - 1], call):
            place -= 1
        if place != index:
            calls.insert(place, calls.pop(index))
    return recording.with_calls(calls)


def _conflict(before: Call, after: Call) -> bool:
    """Return whether two neighbouring calls must keep their order."""
    if before.touched.isdisjoint(after.touched):
        return False
    return any(
        _overlap(written, other)
        for first, second in ((before, after), (after, before))
        for written in first.results
        for other in second.uses
    )


def _overlap(a: View, b: View) -> bool:
    """Return whether two views may share an element. Views of different columns of a matrix do not."""
    if a.storage != b.storage:
        return False
    if a.dtype != b.dtype or not a.stride or not b.stride or a.stride[0] != b.stride[0]:
        return True
    row = a.stride[0]
    (start, stop), (other_start, other_stop) = (
        (view.offset % row if row else 0, (view.offset % row if row else 0) + _extent(view)) for view in (a, b)
    )
    if stop > row or other_stop > row:
        return True
    return start < other_stop and other_start < stop


def _extent(view: View) -> int:
    """Return the number of elements from the first to the last element of a row."""
    return 1 + sum((size - 1) * stride for size, stride in zip(view.size[1:], view.stride[1:], strict=True))


def constant_calls(recording: Recording) -> list[bool]:
    """Return, for each call, whether its results are the same in every replay.

    Such a call reads no external storage, and nothing changes its result afterwards.
    """
    changed: dict[int, int] = {}
    for call in recording.calls:
        for view in call.written:
            changed[view.storage] = changed.get(view.storage, 0) + 1
    constant: set[int] = {*recording.captured} - changed.keys()
    kept: list[bool] = []
    returned = {view.storage for view in recording.outputs if view is not None}
    for call in recording.calls:
        outputs = {view.storage for view in call.outputs if view is not None}
        is_constant = not call.written and call.reads <= constant and not outputs & (changed.keys() | returned)
        kept.append(is_constant)
        constant |= outputs if is_constant else set()
    return kept


def last_uses(recording: Recording) -> dict[int, int]:
    """Return the index of the last call that uses each storage. Outputs are used until the end."""
    uses: dict[int, int] = {}
    for index, call in enumerate(recording.calls):
        for storage in call.reads | call.writes:
            uses[storage] = index
    return uses | dict.fromkeys(_storages(recording.outputs), len(recording.calls))


def _storages(views: Iterable[View | None]) -> set[int]:
    return {view.storage for view in views if view is not None}
