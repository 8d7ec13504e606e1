"""Tune experiments. Each cohort is a trial whose worker writes the results; the driver receives only events.

Tune keeps no results, checkpoints or logs of its own. Trials reuse actors, because a new actor spends most of its time
on importing torch and Lightning (measured on two cores: 1.0 s per trial with a new actor, 0.03 s with a reused one).
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.stopper import CombinedStopper

from lightning_modules.data import sources
from lightning_modules.data.sources import Dataset
from sweeps.errors import OF_THE_RUN, ExecutionError
from sweeps.execution.identity import load_data
from sweeps.execution.lane import Lane
from sweeps.execution.on_ray import native
from sweeps.execution.on_ray.dispatcher_actor import RemoteDispatcher
from sweeps.execution.on_ray.native import store_stopped
from sweeps.execution.on_ray.schedulers import make_stopper
from sweeps.execution.on_ray.shared_folder import check_here
from sweeps.execution.on_ray.watching import Hear, InOrder, Piece, Watcher
from sweeps.execution.protocol import CohortEnded, Progress
from sweeps.execution.worker import Worker, train_and_store
from sweeps.planning.plan import Cohort, Plan
from sweeps.plugins import load_plugins
from sweeps.spec.stopping import EarlyStopping
from sweeps.store.store import Store

_log = logging.getLogger(f"memsweep.{__name__}")
_STDERR = logging.StreamHandler()
"""A worker's log handler. Ray writes standard error to the worker's log, and with `--verbose` also to the driver."""

REPORT_SECONDS = 0.5
"""The minimum number of seconds between two progress events of a trial."""


@dataclass(frozen=True)
class Experiments:
    """A runner of trials over the pieces of one plan. `datasets` are references into Ray's object store."""

    datasets: Mapping[sources.Reference, Any]
    store: Store
    worker: Worker
    """The settings of workers on cores. On a GPU, the device is `on_gpu` instead."""
    on_gpu: str
    retries: int
    """How often a trial that was lost with its worker or node is retried. Announced preemptions do not count."""
    concurrent: int
    """The largest number of trials that run at once, or 0 for as many as fit."""
    verbose: bool = False
    stopping: EarlyStopping | None = None
    dispatcher: RemoteDispatcher | None = None
    """The dispatcher of the lanes, if trainings are stopped early in cohorts."""
    scheduler: Any = None
    """Tune's scheduler, if each training is a native trial."""

    @classmethod
    def of(cls, plan: Plan, **more: Any) -> Experiments:
        """Create experiments. Each node receives the data sets once through Ray, and its workers share one copy."""
        firsts = (cohort.members[0].settings for cohort in plan.cohorts)
        needed = {sources.reference(settings): settings for settings in firsts}
        datasets = {key: ray.put(load_data(needed[key])) for key in sorted(needed, key=str)}
        return cls(datasets=datasets, stopping=plan.early_stopping, **more)

    def run(self, pieces: Sequence[Piece], hear: Hear, is_exhausted: Callable[[], bool]) -> dict[int, str]:
        """Run one Tune experiment over these pieces, in their order.

        Args:
            is_exhausted: a function that returns whether no further piece is to be started. Native trials are stopped
                then, since each of them has a checkpoint.

        Returns:
            A mapping from the position of each piece that was not stored to the reason.

        Raises:
            StoreError: if a worker could not use the store.
            ExecutionError: if Ray itself fails, or if a worker has other code than was planned.
        """
        kinds = list(dict.fromkeys(_resources(piece) for piece in pieces))
        requests = [tune.PlacementGroupFactory([dict(kind)]) for kind in kinds]
        wanted = [kinds.index(_resources(piece)) for piece in pieces]

        def request(config: Mapping[str, Any]) -> Any:
            # Tune unpickles this function twice per trial, so it holds one request per kind and not one per piece.
            return requests[wanted[config["piece"]]]

        inputs = _Inputs(
            cohorts=[ray.put(piece.cohort) for piece in pieces],
            bytes=[piece.grant.bytes for piece in pieces],
            again=[piece.again for piece in pieces],
            lanes=[piece.lane for piece in pieces],
            stopping=self.stopping,
            dispatcher=self.dispatcher,
            datasets=self.datasets,
            store=self.store,
            worker=self.worker,
            on_gpu=self.on_gpu,
            search_path=[*dict.fromkeys(entry or os.getcwd() for entry in sys.path if os.path.isdir(entry or "."))],
            plugins=load_plugins(),
        )
        watcher = Watcher(pieces, hear, is_exhausted, native=self.scheduler is not None)
        body: Any = _train_trial if self.scheduler is None else native.trainable(_native_training)
        with tempfile.TemporaryDirectory(prefix="memsweep-") as scratch:
            tuner = tune.Tuner(
                tune.with_resources(tune.with_parameters(body, shared=_Shared(ray.put(inputs))), request),
                param_space={"piece": tune.grid_search(list(range(len(pieces))))},
                tune_config=tune.TuneConfig(
                    reuse_actors=True,
                    scheduler=self.scheduler or InOrder(is_exhausted),
                    max_concurrent_trials=self.concurrent or None,
                ),
                run_config=tune.RunConfig(
                    storage_path=scratch,
                    verbose=2 if self.verbose else 0,
                    failure_config=tune.FailureConfig(max_failures=self.retries),
                    callbacks=[watcher],
                    stop=self._stoppers(watcher.stopper),
                ),
            )
            try:
                results = tuner.fit()
            except RayError as error:
                raise ExecutionError(f"ray: {error}") from error
        if watcher.error:
            raise watcher.error
        if self.stopping and self.scheduler is not None:
            self._settle(pieces, watcher, hear)
        lost = dict.fromkeys(set(range(len(pieces))) - watcher.stored, "the trial ended without a result")
        for result in (results[i] for i in range(len(results))):
            if result.config and result.error and result.config["piece"] in lost:
                lost[result.config["piece"]] = f"{type(result.error).__name__}: {result.error}"
        return lost

    def _stoppers(self, of_the_run: Any) -> Any:

        rules = make_stopper(self.stopping) if self.stopping and self.scheduler is not None else None
        return CombinedStopper(of_the_run, rules) if rules else of_the_run

    def _settle(self, pieces: Sequence[Piece], watcher: Any, hear: Hear) -> None:
        """Record the native trials that were stopped. (Tune does not tell a worker why a trial ends.)"""
        assert self.stopping
        places = sorted(watcher.ended - watcher.stored)
        place_of = {pieces[place].cohort.members[0].id: place for place in places}
        members = [pieces[place].cohort.members[0] for place in places]
        for failure in store_stopped(members, self.store, self.stopping):
            place = place_of[failure.trajectory_id]
            watcher.stored.add(place)
            hear(place, CohortEnded(pieces[place].cohort.index, (failure,)))


@dataclass(frozen=True)
class _Inputs:
    """The input of every trial. Cohorts and data sets are references into Ray's object store."""

    cohorts: list[Any]
    bytes: list[int]
    """The memory in bytes that each piece may use."""
    again: list[bool]
    lanes: list[str]
    stopping: EarlyStopping | None
    dispatcher: RemoteDispatcher | None
    datasets: Mapping[sources.Reference, Any]
    store: Store
    worker: Worker
    on_gpu: str
    search_path: list[str]
    """The driver's import path, which may contain the user's data sets, models and plug-ins. Ray itself puts the
    working folder first, but a folder of the user must shadow no package."""
    plugins: tuple[str, ...]


@dataclass(frozen=True)
class _Shared:
    """A reference to the large `_Inputs`. Tune passes its parameters to every trial again, so they must be small."""

    inputs: Any


@lru_cache(maxsize=1)
def _inputs(reference: Any) -> _Inputs:
    """Fetch the inputs of the experiment once per worker process, and make the user's modules importable."""

    inputs: _Inputs = ray.get(reference)
    sys.path[:] = [entry for entry in sys.path if entry not in inputs.search_path] + inputs.search_path
    load_plugins(inputs.plugins)
    logging.getLogger("memsweep").addHandler(_STDERR)
    return inputs


def _resources(piece: Piece) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(piece.grant.resources.items()))


def _train_trial(config: Mapping[str, Any], shared: _Shared) -> None:
    """Train one piece. This is a Tune function trainable."""
    inputs = _inputs(shared.inputs)
    cohort = ray.get(inputs.cohorts[config["piece"]])
    first = cohort.members[0].settings
    worker = _worker(config, inputs)
    reported = time.monotonic()

    def on_epoch(epoch: int) -> None:
        nonlocal reported
        if time.monotonic() - reported >= REPORT_SECONDS:
            reported = time.monotonic()
            tune.report({"event": Progress(cohort.index, epoch)})

    try:
        check_here(inputs.store, inputs.worker.run)
        dataset = ray.get(inputs.datasets[sources.reference(first)])
        if inputs.dispatcher and inputs.stopping:
            name = inputs.lanes[config["piece"]]
            lane = Lane(name, cohort, dataset, inputs.store, worker, inputs.dispatcher, inputs.stopping, on_epoch)
            ended = lane.train()
        else:
            ended = train_and_store(cohort, dataset, inputs.store, worker, on_epoch)
    except OF_THE_RUN as error:
        tune.report({"error": error})
        return
    tune.report({"event": ended})


def _native_training(config: Mapping[str, Any], shared: _Shared) -> native.NativeTraining:
    """Return the training of a piece with one member, for a native trial."""
    inputs = _inputs(shared.inputs)
    cohort: Cohort = ray.get(inputs.cohorts[config["piece"]])
    reference = sources.reference(cohort.members[0].settings)

    def dataset() -> Dataset:
        check_here(inputs.store, inputs.worker.run)
        found: Dataset = ray.get(inputs.datasets[reference])
        return found

    assert inputs.stopping
    heard = config.get("heard", 0)
    return native.NativeTraining(cohort, dataset, inputs.store, _worker(config, inputs), inputs.stopping, heard)


def _worker(config: Mapping[str, Any], inputs: _Inputs) -> Worker:
    """Return the settings with which this process trains the piece of a trial."""
    on_gpu = bool(ray.get_runtime_context().get_accelerator_ids().get("GPU"))
    device = inputs.on_gpu if on_gpu else inputs.worker.device
    again = config.get("again", inputs.again[config["piece"]])
    return replace(inputs.worker, device=device, bytes=inputs.bytes[config["piece"]], again=again)
