"""The Ray executor: each cohort is one Tune trial, on this machine or on a cluster.

A Tune experiment is disposable here: what is finished is what lies in the store, and to resume is to plan again. A
cohort that is lost with its worker goes on from its members' checkpoints in the store; one that is lost too often is
cut in halves, until only the member that brings its worker down is recorded as failed.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from importlib.machinery import PathFinder
from pathlib import Path

import ray

import lightning_modules  # noqa: F401 (where it lies is compared with where workers would find it)
from sweeps.errors import ExecutionError
from sweeps.execution.lane import check_pausing
from sweeps.execution.on_ray.judge_actor import RemoteJudge
from sweeps.execution.on_ray.native import scheduler_of
from sweeps.execution.on_ray.resources import cluster_resources
from sweeps.execution.on_ray.trials import Experiments, Piece, local_elsewhere
from sweeps.execution.protocol import CohortStored, Failure, Listener, Progress
from sweeps.execution.resources import Device, Resources, local_resources
from sweeps.execution.worker import CHECKPOINT_SECONDS, RETRIES, Trained, Worker, halves, store_failure, wait_for_others
from sweeps.planning.plan import Cohort, Plan
from sweeps.store.leases import Run
from sweeps.store.store import Store

KNOCK_SECONDS = 20.0

LONE_ROUNDS = 2
"""Experiments in which a lone member is lost before it is recorded as failed. Tune retries a trial whose worker dies
while it runs, but not one whose worker dies while it is being reset for the next trial (`reuse_actors`; seen when
killing workers): the first loss may be no fault of the member's."""

_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # about five files a trial that nobody reads
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the run at once: what is in flight has its checkpoints
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # a snapshot serialises every trial, and nobody restores from it
    "TUNE_WARN_THRESHOLD_S": "3600",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a model of the user's own may open files beside it
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

_joined: ContextVar[str | None] = ContextVar("joined", default=None)
"""The cluster's address by which `resources` has connected this process."""


@dataclass(frozen=True)
class RayTune:
    """See `protocol.Executor`.

    `address` None starts Ray on this machine with as many CPUs as the plan has workers, unless this process is
    connected to a Ray already; otherwise it is a cluster's address, or "auto". `device`: cpu; cuda; auto for GPUs and
    the cores of nodes without one. A cohort that is lost with its worker or node is tried again `retries` times before
    it is cut in halves. `on_gpu` is torch's name of what a GPU of Ray's is: with "cpu", a cluster with logical GPUs
    rehearses one with real ones.
    """

    address: str | None = None
    device: Device = "cpu"
    verbose: bool = False
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    retries: int = RETRIES
    on_gpu: str = "cuda"

    @contextmanager
    def resources(self, workers: int | None, say: Callable[[str], None]) -> Iterator[Resources]:
        if self.address is None and self.device == "cpu":
            yield self._resources(workers, say)  # Ray need not be started to know
            return
        with _environment(_ENVIRONMENT), self._connection(workers):
            self._check_packages()
            yield self._resources(workers, say)

    def execute(self, plan: Plan, store: Store, listen: Listener) -> None:
        workers = plan.packing.workers
        # On a cluster more trials than fit may wait: that is what an autoscaler goes by.
        waiting = max(16, 2 * workers) if self.address else 2 * workers
        if _is_native(plan) and plan.early_stopping and plan.early_stopping.pauses:
            # HyperBand halves those of a bracket that it knows of: it has to know of all before the first is paused.
            waiting = len(plan.cohorts) + 1
        settings = {**_ENVIRONMENT, "TUNE_MAX_PENDING_TRIALS_PG": str(waiting)}
        with _environment(settings), self._connection(workers):
            self._check_packages()
            self._check_store(store)
            resources = self._resources(workers, _discard)
            store.prepare()
            check_pausing(plan, store)
            self._train(plan, store, resources, _Counter(listen))

    def _train(self, plan: Plan, store: Store, resources: Resources, counter: _Counter) -> None:
        """Run experiments until every cohort is stored, or was lost too often and is a record of failure."""
        native = _is_native(plan)
        all_at_once = native and plan.early_stopping is not None and plan.early_stopping.pauses
        experiments = Experiments.of(
            plan,
            store=store,
            worker=Worker(Run.begin(store.location), checkpoint_seconds=self.checkpoint_seconds),
            on_gpu=self.on_gpu,
            retries=self.retries,
            concurrent=0 if self.address or all_at_once else plan.packing.workers,
            verbose=self.verbose,
            judge=None if native else RemoteJudge.of(plan, store),
        )
        granted = zip(plan.cohorts, resources.grants(plan.cohorts), strict=True)
        pending = [_Pending(i, Piece(*pair, lane=str(i))) for i, pair in enumerate(granted)]
        if native:  # in the plan's order: a scheduler's brackets depend on who came first
            order = {member.id: place for place, member in enumerate(plan.trainings)}
            pending.sort(key=lambda each: order[each.piece.cohort.members[0].id])
        while pending:
            counter.begin(pending)
            if native:
                left = plan.without(store.done().without_failed()) if counter.heard_any else plan
                experiments = replace(experiments, scheduler=scheduler_of(left, store))
            lost = experiments.run([each.piece for each in pending], counter.hear)
            again = [each for at in sorted(lost) for each in self._again(pending[at], lost[at], experiments, counter)]
            if len(counter.deferred) == len(pending):
                wait_for_others()
            pending = again + counter.deferred

    def _again(
        self, lost: _Pending, reason: str, experiments: Experiments, counter: _Counter
    ) -> list[_Pending]:  # fmt: skip
        """What is tried in the next experiment of a piece that was lost in this one."""
        cohort, lane, judge = lost.piece.cohort, lost.piece.lane, experiments.judge
        if judge:  # others than those it began with may have been lost with it
            left = judge.open_members(lane, cohort.members[0].id)
            if not left:
                counter.stored(lost.index, ())
                return []
            cohort = Cohort(left)
        if len(cohort.members) > 1:
            counter.more(lost.index)
            return [
                _Pending(lost.index, Piece(half, lost.piece.grant, again=True, lane=f"{lane}.{i}"))
                for i, half in enumerate(halves(cohort))
            ]
        if lost.rounds < LONE_ROUNDS:
            return [_Pending(lost.index, replace(lost.piece, cohort=cohort, again=True), lost.rounds + 1)]
        counter.stored(lost.index, store_failure(cohort, experiments.store, self.device, reason))
        if judge:
            judge.mark_done_elsewhere([cohort.members[0].id])
        return []

    def _resources(self, workers: int | None, say: Callable[[str], None]) -> Resources:
        if self.address is None and self.device == "cpu":
            return local_resources(workers)
        return cluster_resources(self.device, self.on_gpu, self.address is not None, say)

    def _check_packages(self) -> None:
        for name, place in _taken_by_workers().items():
            raise ExecutionError(
                f"package {name!r}: Ray's workers would take it from {place}, which is not memsweep's; "
                "run from another folder, or with --inline"
            )

    def _check_store(self, store: Store) -> None:
        """Refuse, before anything is written, a store that workers elsewhere do not see. (Nodes may join later: each
        worker looks too.)"""

        hosts = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
        if store.is_local and hosts != {socket.gethostname()}:
            raise ExecutionError(local_elsewhere(store, sorted(hosts)))

    @contextmanager
    def _connection(self, workers: int | None) -> Iterator[None]:

        if ray.is_initialized() and self.address == _joined.get():  # by `resources`, or a notebook's or a test's own
            yield
            return
        level = logging.INFO if self.verbose else logging.CRITICAL  # what fails is recorded, and told with its reason
        logging.getLogger("ray").setLevel(level)
        where = {"address": self.address} if self.address else {"address": "local", "num_cpus": workers}
        try:
            _knock(self.address)
            ray.init(**where, include_dashboard=False, log_to_driver=self.verbose, logging_level=level)
        except (ConnectionError, OSError, RuntimeError, ValueError, TimeoutError) as error:
            raise ExecutionError(f"--address {self.address or 'local'}: Ray cannot be reached: {error}") from error
        joined = _joined.set(self.address)
        try:
            yield
        finally:
            _joined.reset(joined)
            ray.shutdown()


@dataclass(frozen=True)
class _Pending:
    index: int
    """Of the cohort in the plan."""
    piece: Piece
    rounds: int = 1


@dataclass
class _Counter:
    """Tells the listener of cohorts, whatever pieces they are trained in."""

    listen: Listener
    pending: list[_Pending] = field(default_factory=list)
    """The pieces of the experiment that runs."""
    deferred: list[_Pending] = field(default_factory=list)
    """Of them, what another run is training."""
    left: dict[int, int] = field(default_factory=dict)
    """By cohort, its pieces that are not stored, where that is not one."""
    failures: dict[int, list[Failure]] = field(default_factory=dict)
    heard_any: bool = False

    def begin(self, pending: list[_Pending]) -> None:
        self.pending, self.deferred = pending, []

    def hear(self, piece: int, epochs: int, trained: Trained | None) -> None:
        of, self.heard_any = self.pending[piece], True
        if trained is None:
            self.listen(Progress(of.index, epochs))
            return
        if trained.deferred:
            self.deferred.append(replace(of, piece=replace(of.piece, cohort=trained.deferred)))
            self.more(of.index)
        self.stored(of.index, trained.failures)

    def more(self, index: int) -> None:
        self.left[index] = self.left.get(index, 1) + 1

    def stored(self, index: int, failures: tuple[Failure, ...]) -> None:
        self.failures.setdefault(index, []).extend(failures)
        self.left[index] = self.left.get(index, 1) - 1
        if not self.left[index]:
            self.listen(CohortStored(index, tuple(self.failures[index])))


def _knock(address: str | None) -> None:
    """Raise OSError where nobody answers at HOST:PORT. (Ray's own attempt may wait for good: seen once in a test.)"""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()


def _is_native(plan: Plan) -> bool:
    """Whether trainings are trials that Tune's own controller stops, pauses and takes up again: cohorts of one are."""
    return plan.early_stopping is not None and plan.packing.max_cohort == 1


def _discard(message: str) -> None:
    """No-op progress callback."""


def _taken_by_workers() -> dict[str, str]:
    """Map those of our packages that a worker would import from elsewhere to where: the driver's folder comes first."""
    found = {}
    for name in ("sweeps", "lightning_modules"):
        own = Path(sys.modules[name].__path__[0]).resolve()
        spec = PathFinder.find_spec(name, [os.getcwd(), *sys.path])
        places = [Path(place).resolve() for place in (spec.submodule_search_locations or [])] if spec else [own]
        if own not in places[:1]:
            found[name] = str(places[0] if places else spec and spec.origin)
    return found


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set what the user has not, while Ray runs."""
    added = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
