"""Lanes, which train cohorts whose members can be stopped early and replaced by waiting members.

Every executor runs lanes in its workers if a sweep stops trainings early. A member that the referee stops leaves the
stack. Its measures and its checkpoint are stored, so that a sweep without early stopping can resume the training.
Waiting members of the same shape take the free places. None of this affects the results of any member.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from lightning_modules.data.sources import Dataset
from lightning_modules.errors import CheckpointError
from sweeps.errors import OF_THE_RUN, ExecutionError, StoreError
from sweeps.execution.completed import completed_in
from sweeps.execution.halving import Halving
from sweeps.execution.identity import check_code
from sweeps.execution.protocol import CohortEnded, Failure
from sweeps.execution.results import append, provenance, record_of, store_failure, told
from sweeps.execution.resuming import by_epoch, keep, with_checkpoints
from sweeps.execution.worker import Worker, free_memory, most_that_fit
from sweeps.planning.plan import Cohort, Plan, Training
from sweeps.spec.stopping import EarlyStopping
from sweeps.stopping.dispatcher import Answer, Curve, LocalDispatcher, Report, curves_of, settled_curves
from sweeps.stopping.referee import Verdict
from sweeps.store.checkpoints import Checkpoints
from sweeps.store.leases import Lease
from sweeps.store.records import Record
from sweeps.store.store import Store

if TYPE_CHECKING:
    from lightning_modules.training.entry import Entry
    from lightning_modules.training.stack import MemberResult, Stack

MOST_HELD = 64
"""The largest number of ended trainings that wait to be stored. Storing each one alone would create too many parts."""


class Dispatcher(Protocol):
    """The interface of a `LocalDispatcher`, which may be in this process or in a Ray actor."""

    def assign(self, lane: str, wanted: Sequence[str], places: int) -> tuple[Training, ...]: ...
    def report(self, lane: str, reports: Sequence[Report], like: str, free: int | None) -> Answer: ...
    def restore(self, member: str, curve: Curve) -> bool: ...
    def release(self, members: Sequence[str]) -> None: ...
    def defer(self, members: Sequence[str]) -> None: ...
    def mark_done_elsewhere(self, curves: Mapping[str, Curve]) -> None: ...
    def open_members(self, lane: str, like: str) -> tuple[Training, ...]: ...


def check_pausing(plan: Plan, store: Store) -> None:
    """Raise ExecutionError if the scheduler pauses trainings and the store cannot keep their checkpoints."""
    if plan.early_stopping is None or not plan.early_stopping.pauses:
        return
    try:
        Checkpoints(store.location).check()
    except StoreError as error:
        scheduler = plan.early_stopping.scheduler
        raise ExecutionError(
            f"early_stopping.scheduler: {scheduler} pauses trainings, which this store cannot keep meanwhile: {error}; "
            "valid with this store: asha, median, none"
        ) from None


def dispatcher_of(plan: Plan, store: Store) -> LocalDispatcher | None:
    """Return a dispatcher that knows the curves in the store, or None if the plan does not stop trainings early.

    Raises StoreError.
    """
    if plan.early_stopping is None:
        return None
    return LocalDispatcher(plan.early_stopping, plan.trainings, settled_curves(plan, store))


class Lane:
    """A stack on a worker that starts with a cohort and replaces ended members by waiting ones of the same shape."""

    def __init__(
        self, name: str, cohort: Cohort, dataset: Dataset, store: Store, worker: Worker, dispatcher: Dispatcher,
        stopping: EarlyStopping, on_epoch: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._name = name
        self._cohort = cohort
        self._dataset = dataset
        self._store = store
        self._worker = worker
        self._dispatcher = dispatcher
        self._stopping = stopping
        self._on_epoch = on_epoch
        self._lease = Lease(store.location, worker.run, ())
        self._training: list[Training] = []
        """The members of the stack, in the order of the stack."""
        self._held: list[Record] = []
        """Records of ended members that are not stored yet."""
        self._stopped: list[Entry] = []
        """Entries, with checkpoints, of the members in `_held` that were stopped early."""
        self._kept: set[str] = set()
        """Ids of members that have a checkpoint in the store."""
        self._stored_at = monotonic()
        self._failures: list[Failure] = []
        self._halving = Halving(worker.max_failures)
        self._untried = 0
        """The number of members that were not tried, because all others failed for one reason."""
        self._epochs = 0
        """Epochs trained, summed over all members."""

    def train(self) -> CohortEnded:
        """Train until this worker can train no further member of this shape at present.

        Raises only errors of the whole run, as `train_and_store`. The result defers the members that wait for others to
        catch up and the members that another run is training.
        """
        check_code((member.settings for member in self._cohort.members), self._worker.code)
        places = most_that_fit(self._cohort, self._dataset, self._worker)
        wanted = [member.id for member in self._cohort.members]
        with self._lease:
            self._train(self._joining(self._dispatcher.assign(self._name, wanted, places)), places)
        left = self._dispatcher.open_members(self._name, wanted[0])
        return CohortEnded(self._cohort.index, tuple(self._failures), left, self._untried)

    def _train(self, members: Sequence[Training], places: int) -> None:
        """Train members. If the stack raises an error, train its members again in two halves from their checkpoints.

        If a checkpoint cannot be used, it is deleted, and the members are trained again together.
        """
        for part in self._of_one_epoch(members) if members else ():
            if self._halving.is_hopeless:
                self._untried += len(part)
                self._dispatcher.mark_done_elsewhere({member.id: () for member in part})
                continue
            error = self._attempt(part, places)
            if error is None:
                continue
            free_memory(self._cohort)
            if isinstance(error, CheckpointError):
                Checkpoints(self._store.location).discard(error.ids, str(error))
                self._train(self._training, places)
                continue
            cohort = self._cohort.part(self._training)
            if len(cohort.members) > 1:
                for half in self._halving.split(cohort, error):
                    self._train(half.members, len(half.members))
            else:
                self._halving.failed(error)
                self._failures += store_failure(cohort, self._store, self._worker.device, error)
                self._dispatcher.report(self._name, [Report(cohort.members[0].id, 0, None)], cohort.members[0].id, None)
                self._dispatcher.release([cohort.members[0].id])

    def _of_one_epoch(self, members: Sequence[Training]) -> list[list[Training]]:
        """Group members by epoch if they have on-demand measures, which require one epoch for the whole stack."""
        if not any(member.measured for member in members):
            return [[*members]]
        return by_epoch(with_checkpoints(members, self._store, self._worker.device))

    def _attempt(self, members: Sequence[Training], places: int) -> str | CheckpointError | None:
        """Train members, and return the text of an error, or None. Afterwards no frame holds the stack's tensors."""
        self._training = [*members]
        try:
            self._fill_and_train(members, places)
            self._put_away()
        except OF_THE_RUN:
            raise
        except CheckpointError as error:
            return error.with_traceback(None)
        except Exception as error:
            if not self._training:
                raise  # the stack has no members, so this is an error in memsweep and not in a training
            return told(error, self._cohort.part(self._training), self._worker.device)
        return None

    def _fill_and_train(self, members: Sequence[Training], places: int) -> None:
        from lightning_modules.training.stack import Keeper, Stack

        keeper = Keeper(self._keep_all, self._worker.checkpoint_seconds)
        stack = Stack(self._dataset, self._worker.device, self._one_more, keeper)
        self._training = []
        leaving: set[int] = set()
        joining = [*members]
        while True:
            if leaving or joining:
                self._change(stack, leaving, joining)
            if self._training:
                stack.advance(stack.until_evaluated())
                leaving, joining = self._judged(stack, places)
            else:
                leaving, joining = set(), self._refill(members[0], places)
                if not joining:
                    return
            if monotonic() - self._stored_at >= self._worker.checkpoint_seconds or len(self._held) >= MOST_HELD:
                self._put_away()

    def _change(self, stack: Stack, leaving: set[int], joining: list[Training]) -> None:
        from lightning_modules.training.stack import MemberResult

        entering = []
        for member in with_checkpoints(joining, self._store, self._worker.device):
            state = member.checkpoint
            self._kept |= {member.id} if state else set()
            if state and not self._dispatcher.restore(member.id, state.rows):
                self._end(member, MemberResult.of(state), state.count, member)
            else:
                entering.append(member)
        staying = [member for k, member in enumerate(self._training) if k not in leaving]
        self._training = staying + [replace(member, checkpoint=None) for member in entering]
        stack.change(leaving, entering)

    def _judged(self, stack: Stack, places: int) -> tuple[set[int], list[Training]]:
        """Report the latest evaluations, and return the positions of leaving members and the joining members."""
        results = stack.results
        due = [k for k, each in enumerate(results) if each.diverged is not None or _evaluated_now(each, stack.horizon)]
        if not due:
            return set(), []
        reports = [_report(self._training[k], results[k]) for k in due]
        # On-demand measures require all members to be at the same epoch, so no member joins a stack in training.
        free = None if any(member.measured for member in self._training) else places - len(self._training)
        answer = self._dispatcher.report(self._name, reports, self._training[0].id, free)
        leaving = {k: verdict for k, verdict in zip(due, answer.verdicts, strict=True) if verdict != Verdict.CONTINUE}
        for k, entry in zip(leaving, stack.entries(leaving), strict=True):
            member, result = self._training[k], results[k]
            if leaving[k] is Verdict.PAUSE:
                keep([entry], self._store)
                self._kept.add(member.id)
                self._dispatcher.release([member.id])
            else:
                unfinished = result.diverged is None and result.epoch < member.settings.epochs
                self._end(member, result, stack.parameters, entry if unfinished else None)
        return {*leaving}, self._joining(answer.joining)

    def _end(self, member: Training, left: MemberResult, parameters: int, stopped: Entry | None) -> None:
        """Add the record of an ended member. `stopped` is its entry with a checkpoint if it was stopped early."""
        from lightning_modules.training.train import device_name

        self._halving.trained()
        shared: dict[str, Any] = provenance(parameters, len(self._training), device_name(self._worker.device))
        self._held.append(record_of(member, left, shared, self._stopping if stopped else None))
        if stopped:
            self._stopped.append(stopped)

    def _refill(self, like: Training, places: int) -> list[Training]:
        self._put_away()
        return self._joining(self._dispatcher.report(self._name, (), like.id, places).joining)

    def _joining(self, members: Sequence[Training]) -> list[Training]:
        """Return the members that no other run has stored or is training, and notify the dispatcher of the rest."""
        if not members:
            return []
        taken = self._lease.take([member.id for member in members])
        first = self._lease.alone and not self._worker.again
        found = None if first else completed_in(self._store.uri, self._worker.run)
        over = found.among(tuple(members), self._stopping.digest()) if found else frozenset()
        if over:
            ended = [member.id for member in members if member.id in over]
            curves = curves_of(ended, self._store, self._stopping.metrics)
            self._dispatcher.mark_done_elsewhere({member: curves.get(member, ()) for member in ended})
        self._dispatcher.defer([*(taken - over)])
        return [member for member in members if member.id not in taken | over]

    def _put_away(self) -> None:
        """Store the waiting records, after their checkpoints, so that every training recorded as stopped can resume."""
        self._stored_at = monotonic()
        if not self._held:
            return
        if self._stopped:
            keep(self._stopped, self._store)
        self._failures += append(self._held, self._store)
        self._dispatcher.release([record.trajectory_id for record in self._held])
        stopped = {entry.id for entry in self._stopped}
        done = {record.trajectory_id for record in self._held} - stopped
        Checkpoints(self._store.location).delete(done & self._kept)
        self._held, self._stopped = [], []

    def _keep_all(self, entries: list[Entry]) -> None:
        keep(entries, self._store)
        self._kept |= {entry.id for entry in entries}

    def _one_more(self) -> None:
        self._epochs += len(self._training)
        self._on_epoch(min(self._cohort.epochs, self._epochs // len(self._cohort.members)))


def _evaluated_now(result: MemberResult, horizon: int) -> bool:
    """Return whether a member was evaluated at its current epoch. Epoch 0 counts only for a training without epochs."""
    return bool(result.rows) and result.rows[-1][0] == result.epoch >= min(1, horizon)


def _report(member: Training, result: MemberResult) -> Report:
    if result.diverged is not None:
        return Report(member.id, result.diverged, None)
    return Report(member.id, *result.rows[-1])
