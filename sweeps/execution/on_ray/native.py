"""Native trials, which `--max-cohort 1` selects: each training is a Tune trial under Tune's own scheduler.

Tune's controller receives every evaluated epoch, and stops, pauses and resumes trainings. When a training is paused, or
its worker changes to another training, its checkpoint is written to the store and not to Tune's folders. A sweep
without early stopping can therefore resume a stopped training, and an interrupted training reports its earlier measures
to the next run's scheduler without being trained again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ray import tune

from lightning_modules.data.sources import Dataset
from lightning_modules.errors import CheckpointError
from sweeps.errors import OF_THE_RUN
from sweeps.execution.completed import completed_in
from sweeps.execution.identity import check_code
from sweeps.execution.protocol import CohortEnded, Failure, Progress
from sweeps.execution.results import append, provenance, record_of, store_failure, told
from sweeps.execution.resuming import keep, with_checkpoints
from sweeps.execution.worker import Worker, free_memory
from sweeps.planning.plan import Cohort, Plan, Training
from sweeps.spec.stopping import EarlyStopping
from sweeps.stopping.dispatcher import settled_curves
from sweeps.stopping.referee import Referee
from sweeps.stopping.stop_when import TIME
from sweeps.store.checkpoints import Checkpoints
from sweeps.store.leases import Lease
from sweeps.store.records import Record
from sweeps.store.store import Store

if TYPE_CHECKING:
    from lightning_modules.training.entry import Entry
    from lightning_modules.training.stack import MemberResult, Stack

AT_ONCE = 64
"""The number of stopped trainings that are stored in one part."""


def scheduler_of(plan: Plan, store: Store) -> Any:
    """Return Tune's scheduler for the settings of a sweep, after it has received the curves of ended trainings.

    Raises StoreError.
    """
    assert plan.early_stopping
    settled = settled_curves(plan, store)
    horizons = {**{member: curve[-1][0] for member, curve in settled.items()}, **plan.horizons}
    referee = Referee(plan.early_stopping, horizons)
    for member, curve in settled.items():
        referee.recall(member, curve, over=True)
    return referee.scheduler


def store_stopped(members: Iterable[Training], store: Store, stopping: EarlyStopping) -> list[Failure]:
    """Store the records of members that a scheduler has stopped, from their checkpoints. Raises StoreError.

    A member without a checkpoint is skipped, because its worker was lost.
    """
    from lightning_modules.training.checkpoint import decode
    from lightning_modules.training.stack import MemberResult

    kept = Checkpoints(store.location)
    records: list[Record] = []
    failures: list[Failure] = []
    for member in members:
        state = decode(kept.read(member.id) or b"")
        if state is None:
            continue
        records.append(record_of(member, MemberResult.of(state), provenance(state.count, 1, state.device), stopping))
        if len(records) == AT_ONCE:
            failures += append(records, store)
            records = []
    if records:
        failures += append(records, store)
    return failures


class NativeTraining:
    """The training of a native trial. Each step trains up to the next evaluated epoch.

    Args:
        cohort: a cohort with one member.
        dataset: a function that returns the data set, and may raise StoreError.
        heard: the last epoch that the scheduler has received in this run.
    """

    def __init__(
        self, cohort: Cohort, dataset: Callable[[], Dataset], store: Store, worker: Worker,
        stopping: EarlyStopping, heard: int,
    ) -> None:  # fmt: skip
        self._cohort = cohort
        (self._member,) = cohort.members
        self._dataset = dataset
        self._store = store
        self._worker = worker
        self._stopping = stopping
        self._heard = heard if self._member.settings.epochs else -1
        self._stack: Stack | None = None
        self._kept_at: int | None = None
        self._over = False
        self._held = ExitStack()

    def step(self) -> dict[str, Any]:
        """Return the measures of the next evaluated epoch, or the end of the training, as a result for Tune."""
        try:
            return self._step()
        except OF_THE_RUN as error:
            self._over = True
            return {"done": True, "error": error}
        except Exception as error:
            reason = told(error, self._cohort, self._worker.device)
            return self._end(store_failure(self._cohort, self._store, self._worker.device, reason))

    def keep(self) -> None:
        """Write a checkpoint from which any worker can resume, unless the training has ended. Raises StoreError."""
        if self._stack is not None and not self._over and self._stack.results[0].epoch != self._kept_at:
            self._keep(self._stack.entries([0]))

    def leave(self) -> None:
        """Write a checkpoint and release the training, so that the worker can change to another training."""
        self.keep()
        self._held.close()
        self._stack = None
        free_memory(self._cohort)

    def _step(self) -> dict[str, Any]:
        if self._stack is None:
            check_code([self._member.settings], self._worker.code)
            lease = self._held.enter_context(Lease(self._store.location, self._worker.run, [self._member.id]))
            if not lease.alone or self._worker.again:
                digest = self._stopping.digest()
                if completed_in(self._store.uri, self._worker.run).among((self._member,), digest):
                    return self._end()
                if lease.taken:
                    return self._end(deferred=(self._member,))
            self._stack = self._begun()
        unheard = [row for row in self._stack.results[0].rows if row[0] > self._heard]
        if not unheard:
            self._stack.advance(self._stack.until_evaluated())
            unheard = [row for row in self._stack.results[0].rows if row[0] > self._heard]
        result = self._stack.results[0]
        if result.diverged is not None and not unheard:
            return self._end(self._stored(result, self._stack))
        self._heard, measures = unheard[0]
        known = {name: value for name, value in measures.items() if value is not None}
        row = {TIME: self._heard, "event": Progress(self._cohort.index, self._heard), **known}
        if self._heard >= self._member.settings.epochs:
            return {**row, **self._end(self._stored(result, self._stack))}
        return row

    def _begun(self) -> Stack:
        from lightning_modules.training.stack import Keeper, Stack

        joining = with_checkpoints([self._member], self._store, self._worker.device)
        self._kept_at = joining[0].epoch or None
        keeper = Keeper(self._keep, self._worker.checkpoint_seconds)
        stack = Stack(self._dataset(), self._worker.device, keeper=keeper)
        try:
            stack.change(joining=joining)
        except CheckpointError as error:
            Checkpoints(self._store.location).discard(error.ids, str(error))
            return self._begun()
        return stack

    def _keep(self, entries: Sequence[Entry]) -> None:
        self._kept_at = entries[0].epoch
        keep(entries, self._store)

    def _stored(self, result: MemberResult, stack: Stack) -> tuple[Failure, ...]:
        from lightning_modules.training.train import device_name

        shared = provenance(stack.parameters, 1, device_name(self._worker.device))
        failures = append([record_of(self._member, result, shared)], self._store)
        if self._kept_at is not None:
            Checkpoints(self._store.location).delete([self._member.id])
        return failures

    def _end(self, failures: tuple[Failure, ...] = (), deferred: tuple[Training, ...] = ()) -> dict[str, Any]:
        self._over = True
        return {"done": True, "event": CohortEnded(self._cohort.index, failures, deferred)}


def trainable(start: Callable[[Mapping[str, Any], Any], NativeTraining]) -> Any:
    """Return a Tune class trainable.

    `start` is a function that returns the training for a trial's config and the inputs that all trials share.
    """

    class Trial(tune.Trainable):
        def setup(self, config: dict[str, Any], shared: Any = None) -> None:
            self._shared = shared
            self._training = start(config, shared)

        def step(self) -> dict[str, Any]:
            return self._training.step()

        def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
            self._training.keep()
            return {}

        def load_checkpoint(self, checkpoint: Any) -> None:
            """Do nothing, because the training reads its checkpoint from the store."""

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._training.leave()
            self._training = start(new_config, self._shared)
            return True

        def cleanup(self) -> None:
            self._training.leave()

    return Trial
