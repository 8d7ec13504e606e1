"""Training and storing of a cohort, which every executor runs in its workers."""

from __future__ import annotations

import datetime
import gc
import logging
import math
import random
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lightning_modules.data.sources import Dataset
from lightning_modules.errors import one_line
from lightning_modules.measures.catalogue import MEASURES
from sweeps.errors import OF_THE_RUN
from sweeps.execution.completed import completed_in
from sweeps.execution.defaults import CHECKPOINT_SECONDS
from sweeps.execution.halving import Halving
from sweeps.execution.identity import Files, check_code, stored_code
from sweeps.execution.protocol import CohortEnded, Failure, Timed, joined
from sweeps.execution.stopwatch import Stopwatch
from sweeps.planning.cost import available_bytes
from sweeps.planning.machine import processor
from sweeps.planning.plan import Cohort, Training, nearly_equal
from sweeps.spec.stopping import EarlyStopping
from sweeps.store.checkpoints import Checkpoints
from sweeps.store.leases import Lease, Run
from sweeps.store.provenance import software
from sweeps.store.records import Outcome, Record, Row
from sweeps.store.store import Store

if TYPE_CHECKING:
    from lightning_modules.training.checkpoint import Checkpoint
    from lightning_modules.training.entry import Entry
    from lightning_modules.training.stack import MemberResult
    from lightning_modules.training.train import CohortResult

_log = logging.getLogger(f"memsweep.{__name__}")

REASON_LENGTH = 4000
WAIT_SECONDS = (0.5, 3.0)
"""The minimum and maximum number of seconds between two checks of the trainings that other runs are training."""

WORTH_MEASURING = 0.25
"""The memory of a cohort is measured before training only if its estimate exceeds this share of the worker's memory."""

MEASURING_SHARE = 0.05
"""The memory of a cohort is not measured if the measurement would take more than this share of the training."""


@dataclass(frozen=True)
class Worker:
    """The settings with which a worker trains.

    Attributes:
        run: the run that the worker belongs to.
        device: torch's name of the device.
        bytes: the memory that a cohort may use, or 0 if the limit is not known.
        checkpoint_seconds: the time between two checkpoints of a cohort.
        again: whether the worker's cohort was lost before in this run, and may already be in the store.
        max_failures: the number of failures after which the run stops, if the user has chosen one.
        train: the function that trains a stack, or None for `lightning_modules.training.train.train_cohort`.
        code: the files of the planned models, with which this worker's files are compared.
    """

    run: Run
    device: str = "cpu"
    bytes: int = 0
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    again: bool = False
    max_failures: int | None = None
    train: Callable[..., CohortResult] | None = None
    code: Files = field(default_factory=dict)


def train_and_store(
    cohort: Cohort, dataset: Dataset, store: Store, worker: Worker, on_epoch: Callable[[int], None]
) -> CohortEnded:
    """Train the members that no other run has stored or is training, and store their results.

    Raises only errors of the whole run: StoreError, and ExecutionError if this worker has other code than was planned.
    """
    check_code((member.settings for member in cohort.members), worker.code)
    ids = [member.id for member in cohort.members]
    with Lease(store.location, worker.run, ids) as lease:
        first = lease.alone and not worker.again
        over = frozenset() if first else completed_in(store.uri, worker.run).among(cohort.members)
        mine = [member for member in cohort.members if member.id not in lease.taken | over]
        deferred = tuple(member for member in cohort.members if member.id in lease.taken - over)
        halving = Halving(worker.max_failures)
        ended = CohortEnded(cohort.index)
        if mine:
            ended = _train_all(cohort.part(mine), dataset, store, worker, on_epoch, halving)
    return replace(ended, deferred=deferred)


def _train_all(
    cohort: Cohort, dataset: Dataset, store: Store, worker: Worker, on_epoch: Callable[[int], None], halving: Halving
) -> CohortEnded:
    """Train a cohort and store its results.

    Members with a checkpoint in the store resume from it, together with the members at the same epoch. A cohort that
    raises an error, such as a lack of memory, is trained again as two halves, and so on, until only the members that
    raise alone are recorded as failed. The outcome of a member therefore does not depend on the other members of its
    stack. If the cohort turns out to be hopeless, its other members stay missing. Raises only errors of the whole run.
    """
    ended: list[CohortEnded] = []
    most = most_that_fit(cohort, dataset, worker)
    for members in by_epoch(with_checkpoints(cohort.members, store, worker.device)):
        for part in nearly_equal(members, math.ceil(len(members) / most)):
            ended.append(_train_part(cohort.part(part), dataset, store, worker, on_epoch, halving))
    return joined(ended)


def _train_part(
    cohort: Cohort, dataset: Dataset, store: Store, worker: Worker, on_epoch: Callable[[int], None], halving: Halving
) -> CohortEnded:
    if halving.is_hopeless:
        return CohortEnded(cohort.index, untried=len(cohort.members))
    ended = _attempt(cohort, dataset, store, worker, on_epoch)
    if ended is None:
        free_memory()
        return _train_all(cohort, dataset, store, worker, on_epoch, halving)
    if not isinstance(ended, str):
        halving.trained()
        return ended
    free_memory()
    if len(cohort.members) == 1:
        halving.failed(ended)
        return CohortEnded(cohort.index, store_failure(cohort, store, worker.device, ended))
    parts = halving.split(cohort, ended)
    return joined([_train_all(half, dataset, store, worker, on_epoch, halving) for half in parts])


def wait_for_others(cohorts: Sequence[Cohort]) -> None:
    """Sleep for a few seconds before the caller retries these cohorts, which another run is training.

    The time is random, so that two runs that wait for each other do not retry in step.
    """
    count = sum(len(cohort.members) for cohort in cohorts)
    _log.info("another run is training the %d trainings that are left; looking again in some seconds", count)
    time.sleep(random.uniform(*WAIT_SECONDS))


def store_failure(cohort: Cohort, store: Store, device: str, reason: str) -> tuple[Failure, ...]:
    """Store a record with the outcome "failed" for each member, and return the failures. Raises StoreError."""
    row = Row(cohort.epochs, Outcome.FAILED, dict.fromkeys(MEASURES), reason[:REASON_LENGTH])
    shared = {**software(), "finished_at": _now(), "cohort_size": len(cohort.members), "device": device,
              "code": stored_code(cohort.members[0].settings)}  # fmt: skip
    return append([Record(member.id, member.settings, (row,), shared) for member in cohort.members], store)


def _attempt(
    cohort: Cohort, dataset: Dataset, store: Store, worker: Worker, on_epoch: Callable[[int], None]
) -> CohortEnded | str | None:
    """Train and store members that are at the same epoch.

    After the return, no frame holds the stack's tensors.

    Returns:
        The members that did not finish and the time that it took, or the text of the error if the training raised one,
        or None if nothing was trained, because a checkpoint could not be used and was deleted.
    """
    from lightning_modules.training.checkpoint import CheckpointError
    from lightning_modules.training.stack import Keeper
    from lightning_modules.training.train import train_cohort

    kept = any(member.checkpoint for member in cohort.members)

    def keep_all(entries: list[Entry]) -> None:
        nonlocal kept
        kept = True
        keep(entries, store)

    keeper = Keeper(keep_all, worker.checkpoint_seconds)
    train = worker.train or train_cohort
    stopwatch = Stopwatch(cohort, worker.device, on_epoch)
    try:
        result = train(cohort.members, dataset, device=worker.device, on_epoch=stopwatch.on_epoch, keeper=keeper)
    except OF_THE_RUN:
        raise
    except CheckpointError as error:
        Checkpoints(store.location).discard(error.ids, str(error))
        return None
    except Exception as error:
        return told(error, cohort, worker.device)
    failures = append(records_of(cohort, result), store)
    if kept:
        Checkpoints(store.location).delete(member.id for member in cohort.members)
    stack = stopwatch.read()
    where = processor() if result.device == "cpu" else result.device
    return CohortEnded(cohort.index, failures, measured=(Timed(where, stack),) if stack else ())


def most_that_fit(cohort: Cohort, dataset: Dataset, worker: Worker) -> int:
    """Return how many members fit into memory at once: all, unless a short training of a few members shows otherwise.

    The memory estimate of the plan can be off by a factor of two, so it is checked if the cohort might not fit.
    """
    from lightning_modules.training.memory import FEW, MORE, most_members
    from lightning_modules.training.train import train_cohort

    count = len(cohort.members)
    matters = worker.bytes and cohort.cost.bytes > WORTH_MEASURING * worker.bytes
    if not matters or MEASURING_SHARE * count * cohort.epochs < FEW + MORE:
        return count
    try:
        one_epoch = [replace(member, settings=member.settings.with_(epochs=1), evaluated=(1,), measured={})
                     for member in cohort.members]  # fmt: skip
        most = most_members(one_epoch, dataset, worker.bytes, worker.device, worker.train or train_cohort)
    except Exception as error:
        _log.warning("%s: its memory cannot be measured: %s; training it as planned", cohort, one_line(error))
        return count
    if most < count:
        _log.info("%s: memory is enough for %d members; training it in parts", cohort, most)
    return most


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
    from lightning_modules.training.checkpoint import CheckpointError, load

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


def append(records: Sequence[Record], store: Store) -> tuple[Failure, ...]:
    """Store the records as one part, and return the members that did not finish.

    Raises StoreError, or ExecutionError if their code is not the planned one.
    """
    check_code(record.point for record in records)
    store.append(records)
    return tuple(
        Failure(record.trajectory_id, row.outcome, row.reason or "")
        for record in records
        for row in record.rows
        if row.outcome != Outcome.FINISHED
    )


def records_of(cohort: Cohort, result: CohortResult) -> list[Record]:
    """Return the records of a cohort that has finished training."""
    shared = provenance(result.parameters, len(cohort.members), result.device)
    return [record_of(member, left, shared) for member, left in zip(cohort.members, result.members, strict=True)]


def provenance(parameters: int, cohort_size: int, device: str) -> dict[str, Any]:
    """Return the columns that are equal for all members of a stack."""
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
    """Return the record of a member. `stopped` holds the settings of early stopping if they ended the training."""
    rows = [Row(epoch, Outcome.FINISHED, measures) for epoch, measures in trained.rows]
    own: dict[str, Any] = {
        "flops": member.cost.flops, "wall_seconds": trained.seconds, "code": stored_code(member.settings),
    }  # fmt: skip
    if trained.diverged is not None:
        rows.append(_diverged(trained.diverged))
    elif stopped:
        own["flops"] *= trained.epoch / member.settings.epochs
        own |= {"stopped_after": trained.epoch, "stopped_by": stopped.digest()}
        reason = f"stopped after epoch {trained.epoch} by {stopped.words()}"
        rows.append(Row(member.settings.epochs, Outcome.STOPPED, dict.fromkeys(MEASURES), reason))
    return Record(member.id, member.settings, tuple(rows), {**shared, **own}, trained.examples)


def _diverged(epoch: int) -> Row:
    reason = f"loss or parameters were no longer finite, or the loss beyond any bound, in epoch {epoch}"
    return Row(epoch, Outcome.DIVERGED, dict.fromkeys(MEASURES), reason)


def told(error: Exception, cohort: Cohort, device: str) -> str:
    """Return the text to record for an error of a cohort. Call this function in the handler of the error."""
    return f"{type(error).__name__}: {error}{_memory(error, cohort, device)}\n\n{traceback.format_exc()}"


def _memory(error: Exception, cohort: Cohort, device: str) -> str:
    """Describe the estimated and the free memory if the error is a lack of memory; otherwise return an empty string."""
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
    """Free the memory of a deleted stack, so that a smaller one can be built."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
