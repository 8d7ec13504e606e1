"""Training and storing of a cohort, which every executor runs in its workers."""

from __future__ import annotations

import gc
import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lightning_modules.data.sources import Dataset
from lightning_modules.errors import CheckpointError, one_line
from sweeps.errors import OF_THE_RUN
from sweeps.execution.completed import completed_in
from sweeps.execution.defaults import CHECKPOINT_SECONDS
from sweeps.execution.halving import Halving
from sweeps.execution.identity import Files, check_code
from sweeps.execution.protocol import CohortEnded, Timed, joined
from sweeps.execution.results import append, records_of, store_failure, told
from sweeps.execution.resuming import by_epoch, keep, with_checkpoints
from sweeps.execution.stopwatch import Stopwatch
from sweeps.planning.machine import processor
from sweeps.planning.plan import Cohort, nearly_equal
from sweeps.store.checkpoints import Checkpoints
from sweeps.store.leases import Lease, Run
from sweeps.store.store import Store

if TYPE_CHECKING:
    from lightning_modules.training.entry import Entry
    from lightning_modules.training.train import CohortResult

_log = logging.getLogger(f"memsweep.{__name__}")

WAIT_SECONDS = (0.5, 3.0)
"""The minimum and maximum number of seconds between two checks of the trainings that other runs are training."""

WORTH_MEASURING = 0.25
"""The memory of a cohort is measured before training only if its estimate exceeds this share of the worker's memory."""

WORTH_FREEING = 2**26
"""The number of bytes of a stack from which its memory is freed at once when it fails."""

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
        free_memory(cohort)
        return _train_all(cohort, dataset, store, worker, on_epoch, halving)
    if not isinstance(ended, str):
        halving.trained()
        return ended
    free_memory(cohort)
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


def _attempt(
    cohort: Cohort, dataset: Dataset, store: Store, worker: Worker, on_epoch: Callable[[int], None]
) -> CohortEnded | str | None:
    """Train and store members that are at the same epoch.

    After the return, no frame holds the stack's tensors.

    Returns:
        The members that did not finish and the time that it took, or the text of the error if the training raised one,
        or None if nothing was trained, because a checkpoint could not be used and was deleted.
    """
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


def free_memory(cohort: Cohort) -> None:
    """Free the memory of the deleted stack of a cohort, so that a smaller one can be built.

    Python frees a small stack by itself at some time. To look for it takes a third of a second with everything that is
    imported here, which is longer than most trainings that fail take to do so.
    """
    import torch

    if cohort.cost.bytes > WORTH_FREEING:
        gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
