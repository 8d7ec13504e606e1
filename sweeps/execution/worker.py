"""A cohort from the plan to the store: what every executor has its worker do."""

from __future__ import annotations

import datetime
import gc
import math
import random
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_modules.data.sources import Dataset
from lightning_modules.measures.catalogue import MEASURES
from sweeps.errors import StoreError
from sweeps.execution.completed import completed_in
from sweeps.execution.protocol import Failure
from sweeps.planning.cost import available_bytes
from sweeps.planning.plan import Cohort, Training, nearly_equal
from sweeps.spec.stopping import EarlyStopping
from sweeps.store.checkpoints import Checkpoints
from sweeps.store.leases import Lease, Run
from sweeps.store.provenance import software
from sweeps.store.records import Outcome, Record, Row
from sweeps.store.store import Store

if TYPE_CHECKING:
    from lightning_modules.training.checkpoint import Checkpoint
    from lightning_modules.training.stack import MemberResult

REASON_LENGTH = 4000
CHECKPOINT_SECONDS = 120.0
RETRIES = 1
"""Tries of a cohort that was lost with its worker or node, before it is cut in halves."""

WAIT_SECONDS = (0.5, 3.0)
"""Between two looks at what other runs are training."""


WORTH_MEASURING = 0.25
"""A cohort that is estimated at less than this part of its worker's memory is not measured before it is trained."""

MEASURING_SHARE = 0.05
"""Nor is one of whose training measuring it would be more than this part."""


@dataclass(frozen=True)
class Worker:
    """How a worker trains, and for which run. `device` is torch's; `bytes` what a cohort may take of its memory, 0 if
    that is not known; `checkpoint_seconds` lie between two checkpoints of a cohort. `again`: its cohort was lost before
    in this run, and may be stored."""

    run: Run
    device: str = "cpu"
    bytes: int = 0
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    again: bool = False


@dataclass(frozen=True)
class Trained:
    """What became of a cohort: the members that did not finish, and those that another run is training."""

    failures: tuple[Failure, ...]
    deferred: Cohort | None = None


def train_and_store(
    cohort: Cohort, dataset: Dataset, store: Store, worker: Worker, on_epoch: Callable[[int], None]
) -> Trained:
    """Train what no other run has trained meanwhile or is training now, and append a part. Raises StoreError alone."""
    ids = [member.id for member in cohort.members]
    with Lease(store.location, worker.run, ids) as lease:
        first = lease.alone and not worker.again
        over = frozenset() if first else completed_in(store.uri, worker.run).among(cohort.members)
        mine = [member for member in cohort.members if member.id not in lease.taken | over]
        deferred = [member for member in cohort.members if member.id in lease.taken - over]
        failures = _train_all(Cohort(tuple(mine)), dataset, store, worker, on_epoch) if mine else ()
    return Trained(failures, Cohort(tuple(deferred)) if deferred else None)


def _train_all(
    cohort: Cohort, dataset: Dataset, store: Store, worker: Worker, on_epoch: Callable[[int], None]
) -> tuple[Failure, ...]:
    """Train, append a part, and say which members did not finish.

    Members that have a checkpoint in the store go on from there, with those that stand at the same epoch. A cohort that
    raises, be it for lack of memory, is trained again as two halves, and so on, so that only a member that raises by
    itself is recorded as failed: what becomes of a member does not depend on who is beside it. Raises StoreError alone.
    """
    failures: list[Failure] = []
    fits = most_that_fit(cohort, dataset, worker)
    for part, checkpoints in _resumed(cohort, fits, store, worker):
        error = _attempt(part, checkpoints, dataset, store, worker, on_epoch, failures)
        if error is None:
            continue
        free_memory()
        if len(part.members) > 1:
            for half in halves(part):
                failures += _train_all(half, dataset, store, worker, on_epoch)
        else:
            failures += store_failure(part, store, worker.device, error)
    return tuple(failures)


def wait_for_others() -> None:
    """Some seconds, at random: two runs that gave way to each other must not do so in step."""
    time.sleep(random.uniform(*WAIT_SECONDS))


def halves(cohort: Cohort) -> tuple[Cohort, Cohort]:
    middle = len(cohort.members) // 2
    return Cohort(cohort.members[:middle]), Cohort(cohort.members[middle:])


def store_failure(cohort: Cohort, store: Store, device: str, reason: str) -> tuple[Failure, ...]:
    """Append a record of failure for each member. Raises StoreError."""
    row = Row(cohort.epochs, Outcome.FAILED, dict.fromkeys(MEASURES), reason[:REASON_LENGTH])
    shared = {**software(), "finished_at": _now(), "cohort_size": len(cohort.members), "device": device}
    return append([Record(member.id, member.point, (row,), shared) for member in cohort.members], store)


def _attempt(
    part: Cohort, checkpoints: list[Checkpoint], dataset: Dataset, store: Store, worker: Worker,
    on_epoch: Callable[[int], None], failures: list[Failure],
) -> str | None:  # fmt: skip
    """Train and store; if that raises, why. Where this returns, the frames that held the stack's tensors are gone."""
    kept = bool(checkpoints)

    def on_states(states: list[Checkpoint]) -> None:
        nonlocal kept
        kept = True
        keep(part.members, states, store)

    try:
        records = _train(part, checkpoints, dataset, worker, on_epoch, on_states)
    except StoreError:
        raise
    except Exception as error:
        return told(error, part, worker.device)
    failures += append(records, store)
    if kept:
        Checkpoints(store.location).delete(member.id for member in part.members)
    return None


def most_that_fit(cohort: Cohort, dataset: Dataset, worker: Worker) -> int:
    """How many members fit at once: all, unless a short training of a few says otherwise.

    The estimate that cohorts are planned by can be off by a factor of two; where that could matter, it is checked.
    """
    from lightning_modules.training.memory import FEW, MORE, most_members

    count = len(cohort.members)
    matters = worker.bytes and cohort.cost.bytes > WORTH_MEASURING * worker.bytes
    if not matters or MEASURING_SHARE * count * cohort.epochs < FEW + MORE:
        return count
    try:
        one_epoch = [member.point.with_(epochs=1) for member in cohort.members]
        return most_members(one_epoch, dataset, worker.bytes, worker.device)
    except Exception:  # it is trained as it is planned, and what raises is recorded then
        return count


def _resumed(
    cohort: Cohort, fits: int, store: Store, worker: Worker
) -> Iterator[tuple[Cohort, list[Checkpoint]]]:  # fmt: skip
    """The cohort in parts that stand at the same epoch, of at most `fits` members, with their checkpoints; none for
    those at their beginning."""
    found = checkpoints_of(cohort.members, store, worker.device)
    parts: dict[int, list[Training]] = {}
    for member in cohort.members:
        parts.setdefault(found[member.id].epoch if member.id in found else 0, []).append(member)
    for _, members in sorted(parts.items()):
        for part in nearly_equal(members, math.ceil(len(members) / fits)):
            yield Cohort(tuple(part)), [found[member.id] for member in part if member.id in found]


def checkpoints_of(members: Sequence[Training], store: Store, device: str) -> Mapping[str, Checkpoint]:
    """By trajectory, those that its training can go on from."""
    kept = Checkpoints(store.location)
    there = kept.ids()
    found = {}
    for member in members:
        content = kept.read(member.id) if member.id in there else None
        if content is not None:
            from lightning_modules.training.checkpoint import decode

            checkpoint = decode(content)
            if (
                checkpoint is not None
                and checkpoint.device == device
                and checkpoint.serves(member.point.epochs, member.evaluated, member.measured)
            ):
                found[member.id] = checkpoint
    return found


def keep(members: Sequence[Training], states: Sequence[Checkpoint], store: Store) -> None:
    """Write checkpoints, one a member. Raises StoreError."""
    from lightning_modules.training.checkpoint import encode

    contents = {member.id: encode(state) for member, state in zip(members, states, strict=True)}
    Checkpoints(store.location).write(contents)


def append(records: Sequence[Record], store: Store) -> tuple[Failure, ...]:
    """Store a part, and say which members did not finish. Raises StoreError."""
    store.append(records)
    return tuple(
        Failure(record.trajectory_id, row.outcome, row.reason or "")
        for record in records
        for row in record.rows
        if row.outcome != Outcome.FINISHED
    )


def _train(
    cohort: Cohort, checkpoints: list[Checkpoint], dataset: Dataset, worker: Worker,
    on_epoch: Callable[[int], None], on_states: Callable[[list[Checkpoint]], None],
) -> list[Record]:  # fmt: skip
    from lightning_modules.training.checkpoint import Keeper
    from lightning_modules.training.train import train_cohort

    result = train_cohort(
        [member.point for member in cohort.members],
        dataset,
        [member.evaluated for member in cohort.members],
        [member.measured for member in cohort.members],
        device=worker.device,
        on_epoch=on_epoch,
        keeper=Keeper(on_states, worker.checkpoint_seconds),
        checkpoints=checkpoints,
    )
    shared = provenance(result.parameters, len(cohort.members), result.device)
    return [record_of(*each, shared) for each in zip(cohort.members, result.members, strict=True)]


def provenance(parameters: int, cohort_size: int, device: str) -> dict[str, Any]:
    """What is the same for all members of a stack."""
    return {
        **software(),
        "finished_at": _now(),
        "parameters": parameters,
        "cohort_size": cohort_size,
        "device": device,
    }


def record_of(
    member: Training, trained: MemberResult, shared: Mapping[str, Any], stopped: EarlyStopping | None = None
) -> Record:
    """What a member leaves. stopped: the settings of early stopping that have ended it."""
    rows = [Row(epoch, Outcome.FINISHED, measures) for epoch, measures in trained.rows]
    own: dict[str, Any] = {"flops": member.cost.flops, "wall_seconds": trained.seconds}
    if trained.diverged is not None:
        rows.append(_diverged(trained.diverged))
    elif stopped:
        own["flops"] *= trained.epoch / member.point.epochs
        own |= {"stopped_after": trained.epoch, "stopped_by": stopped.digest()}
        reason = f"stopped after epoch {trained.epoch} by {stopped.words()}"
        rows.append(Row(member.point.epochs, Outcome.STOPPED, dict.fromkeys(MEASURES), reason))
    return Record(member.id, member.point, tuple(rows), {**shared, **own}, trained.examples)


def _diverged(epoch: int) -> Row:
    reason = f"loss or parameters were no longer finite, or the loss beyond any bound, in epoch {epoch}"
    return Row(epoch, Outcome.DIVERGED, dict.fromkeys(MEASURES), reason)


def told(error: Exception, cohort: Cohort, device: str) -> str:
    """What is recorded of an error that a cohort raised, while it is handled."""
    return f"{type(error).__name__}: {error}{_memory(error, cohort, device)}\n\n{traceback.format_exc()}"


def _memory(error: Exception, cohort: Cohort, device: str) -> str:
    """The numbers, where it was memory that lacked."""
    import torch

    refused = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    if not (refused or isinstance(error, MemoryError | torch.OutOfMemoryError)):
        return ""
    free, total = torch.cuda.mem_get_info() if device == "cuda" else (available_bytes(), 0)
    of = f" of {total / 2**30:.1f}" if total else ""
    return (
        f" (a stack of {len(cohort.members)} is estimated at {cohort.cost.bytes / 2**30:.2g} GiB besides the data; "
        f"{free / 2**30:.1f}{of} GiB were free on {device})"
    )


def free_memory() -> None:
    """Of a stack that is gone, before a smaller one is made."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
