"""The Ray executor, which trains each cohort in one Tune trial, on this machine or on a cluster.

Tune's experiments are never restored, because finished trainings are in the store and a new plan resumes the rest. A
cohort that is lost with its worker resumes from its members' checkpoints in the store. A cohort that is lost too often
is split into halves, until only the member that causes the loss is recorded as failed.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib.machinery import PathFinder
from pathlib import Path

import lightning_modules  # noqa: F401 (its folder is compared with the one that workers would import)
from sweeps.errors import ExecutionError
from sweeps.execution.defaults import CHECKPOINT_SECONDS, RETRIES, Device
from sweeps.execution.halving import halves, most_failures
from sweeps.execution.identity import planned_files
from sweeps.execution.lane import check_pausing
from sweeps.execution.on_ray.connection import ENVIRONMENT, connected, environment, started_here
from sweeps.execution.on_ray.dispatcher_actor import RemoteDispatcher
from sweeps.execution.on_ray.lean import actors_in_any_worker
from sweeps.execution.on_ray.native import scheduler_of
from sweeps.execution.on_ray.resources import cluster_resources
from sweeps.execution.on_ray.shared_folder import check_nodes
from sweeps.execution.on_ray.trials import Experiments
from sweeps.execution.on_ray.watching import Piece
from sweeps.execution.protocol import Announcer, CohortEnded, Event, Listener
from sweeps.execution.resources import Resources, check_precision, local_resources
from sweeps.execution.results import store_failure
from sweeps.execution.worker import Worker, wait_for_others
from sweeps.planning.plan import Plan
from sweeps.store.leases import Run
from sweeps.store.store import Store

_log = logging.getLogger(f"memsweep.{__name__}")

LONE_ROUNDS = 2
"""The number of experiments in which a single member must be lost before it is recorded as failed. Tune retries a trial
whose worker dies during training, but not a trial whose worker dies while being reset for the trial (`reuse_actors`;
observed when killing workers), so the member may not have caused the first loss."""


@dataclass(frozen=True)
class RayTune:
    """An executor that trains on Ray. See `protocol.Executor` for the methods.

    Attributes:
        address: a cluster's address, or "auto". None starts Ray on this machine with one CPU per worker of the plan,
            unless this process is already connected to Ray.
        device: cpu, cuda, or auto for GPUs and the cores of nodes without GPUs.
        verbose: whether to show the output of Ray, Tune and the workers.
        checkpoint_seconds: the time between two checkpoints of a cohort.
        retries: how often a cohort that was lost with its worker or node is retried before it is split into halves.
        max_failures: the number of failed trainings after which no further cohort is started, or None for the default
            of `halving.most_failures`.
        on_gpu: torch's name for Ray's GPUs. With "cpu", a cluster with logical GPUs simulates one with real GPUs.
    """

    address: str | None = None
    device: Device = "cpu"
    verbose: bool = False
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    retries: int = RETRIES
    max_failures: int | None = None
    on_gpu: str = "cuda"

    @contextmanager
    def resources(self, workers: int | None, say: Callable[[str], None]) -> Iterator[Resources]:
        if self.address is None and self.device == "cpu":
            yield self._resources(workers, say)  # these are known without starting Ray
            return
        with environment(ENVIRONMENT), connected(self.address, workers, self.verbose):
            self._check_packages()
            yield self._resources(workers, say)

    def execute(self, plan: Plan, store: Store, listen: Listener) -> None:
        workers = plan.packing.workers
        # On a cluster, more trials than fit may be pending, because an autoscaler starts nodes for pending trials.
        waiting = max(16, 2 * workers) if self.address else 2 * workers
        if _is_native(plan) and plan.early_stopping and plan.early_stopping.pauses:
            # HyperBand halves the known members of a bracket, so it must know all members before it pauses the first.
            waiting = len(plan.cohorts) + 1
        settings = {**ENVIRONMENT, "TUNE_MAX_PENDING_TRIALS_PG": str(waiting)}
        with environment(settings), connected(self.address, workers, self.verbose):
            self._check_packages()
            resources = self._resources(workers, _discard)
            check_precision(plan, resources.cores is not None)
            store.prepare()
            check_pausing(plan, store)
            run = Run.begin(store.location)
            check_nodes(store, run)
            with actors_in_any_worker() if started_here() else nullcontext():
                most = most_failures(len(plan.trainings), self.max_failures)
                self._train(plan, store, run, resources, Announcer(listen, most))

    def _train(self, plan: Plan, store: Store, run: Run, resources: Resources, announce: Announcer) -> None:
        """Run experiments until every cohort is stored, or is recorded as failed because it was lost too often.

        After too many failures, the cohorts in training are stored, and no others are started.
        """
        native = _is_native(plan)
        all_at_once = native and plan.early_stopping is not None and plan.early_stopping.pauses
        experiments = Experiments.of(
            plan,
            store=store,
            worker=Worker(
                run,
                checkpoint_seconds=self.checkpoint_seconds,
                max_failures=self.max_failures,
                code=planned_files(plan),
            ),
            on_gpu=self.on_gpu,
            retries=self.retries,
            concurrent=0 if self.address or all_at_once else plan.packing.workers,
            verbose=self.verbose,
            dispatcher=None if native else RemoteDispatcher.of(plan, store),
        )
        granted = zip(plan.cohorts, resources.grants(plan.cohorts), strict=True)
        pending = [Piece(cohort, grant, lane=str(cohort.index)) for cohort, grant in granted]
        if native:  # in the plan's order, on which a scheduler's brackets depend
            order = {member.id: place for place, member in enumerate(plan.trainings)}
            pending.sort(key=lambda piece: order[piece.cohort.members[0].id])
        left = plan
        while pending:
            deferred: list[Piece] = []

            def hear(place: int, event: Event, pending: list[Piece] = pending, to: list[Piece] = deferred) -> None:
                announce(event)
                if isinstance(event, CohortEnded) and event.deferred:
                    to.append(replace(pending[place], cohort=pending[place].cohort.part(event.deferred)))

            if native:
                experiments = replace(experiments, scheduler=scheduler_of(left, store))
            lost = experiments.run(pending, hear, lambda: announce.is_exhausted)
            if announce.is_exhausted:
                announce.give_up()
                return
            again = [
                piece for at in sorted(lost) for piece in self._again(pending[at], lost[at], experiments, announce)
            ]
            if len(deferred) == len(pending):
                wait_for_others([piece.cohort for piece in deferred])
            pending = again + deferred
            if native and pending:
                left = plan.without(store.done().without_failed())

    def _again(self, piece: Piece, reason: str, experiments: Experiments, announce: Announcer) -> list[Piece]:
        """Return the pieces that the next experiment retries for a piece that was lost in this experiment."""
        cohort, lane, dispatcher = piece.cohort, piece.lane, experiments.dispatcher
        if dispatcher:  # members that joined the lane later may have been lost with the piece
            left = dispatcher.open_members(lane, cohort.members[0].id)
            if not left:
                announce(CohortEnded(cohort.index))
                return []
            cohort = cohort.part(left)
        why = reason.partition("\n")[0]
        lost = f"{cohort}: lost with its worker ({why:.200})"
        if len(cohort.members) > 1:
            _log.warning("%s; training it again as two halves", lost)
            announce.split(cohort.index)
            return [Piece(half, piece.grant, again=True, lane=f"{lane}.{i}") for i, half in enumerate(halves(cohort))]
        if piece.rounds < LONE_ROUNDS:
            _log.warning("%s; trying it again", lost)
            return [replace(piece, cohort=cohort, again=True, rounds=piece.rounds + 1)]
        _log.warning("%s; recording it as failed", lost)
        announce(CohortEnded(cohort.index, store_failure(cohort, experiments.store, self.device, reason)))
        if dispatcher:
            dispatcher.mark_done_elsewhere({cohort.members[0].id: ()})
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


def _is_native(plan: Plan) -> bool:
    """Return whether each training is a trial that Tune's own controller stops, pauses and resumes."""
    return plan.early_stopping is not None and plan.packing.max_cohort == 1


def _discard(message: str) -> None:
    """Do nothing with the message."""


def _taken_by_workers() -> dict[str, str]:
    """Map each package that is shadowed on workers to the shadowing path. Workers search the driver's folder first."""
    found = {}
    for name in ("sweeps", "lightning_modules"):
        own = Path(sys.modules[name].__path__[0]).resolve()
        spec = PathFinder.find_spec(name, [os.getcwd(), *sys.path])
        places = [Path(place).resolve() for place in (spec.submodule_search_locations or [])] if spec else [own]
        if own not in places[:1]:
            found[name] = str(places[0] if places else spec and spec.origin)
    return found
