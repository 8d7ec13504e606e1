"""A Tune experiment: each cohort a trial, whose worker writes its part; the driver hears only how far it is.

Tune keeps no results, checkpoints or logs of its own. Actors are reused from trial to trial, because importing torch
and Lightning is most of what a fresh one does (measured on two cores: 1.0 s a trial with a fresh actor, 0.03 s with a
reused one).
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.schedulers import FIFOScheduler
from ray.tune.stopper import CombinedStopper

from lightning_modules.data import sources
from lightning_modules.data.sources import Dataset
from sweeps.errors import ExecutionError, StoreError
from sweeps.execution.lane import Lane
from sweeps.execution.on_ray import native
from sweeps.execution.on_ray.judge_actor import RemoteJudge
from sweeps.execution.on_ray.native import store_stopped
from sweeps.execution.on_ray.schedulers import make_stopper
from sweeps.execution.protocol import Failure
from sweeps.execution.resources import Grant
from sweeps.execution.worker import Trained, Worker, train_and_store
from sweeps.planning.plan import Cohort, Plan, Training
from sweeps.plugins import load_plugins
from sweeps.spec.stopping import EarlyStopping
from sweeps.store.store import Store

REPORT_SECONDS = 0.5
"""A trial says how far it is no more often than this."""

Heard = Callable[[int, int, "Trained | None"], None]
"""(the piece, epochs trained, what became of it if it is over)."""


@dataclass(frozen=True)
class Piece:
    """A cohort of the plan, or what is left of one that was lost: one trial."""

    cohort: Cohort
    grant: Grant
    again: bool = False
    """Whether it was lost in this run before."""
    lane: str = ""
    """Its name where trainings are stopped early."""


@dataclass(frozen=True)
class Experiments:
    """Runs trials over pieces of one plan. `datasets` are references into Ray's object store."""

    datasets: Mapping[sources.Reference, Any]
    store: Store
    worker: Worker
    """As on a core; on a GPU its device is `on_gpu`."""
    on_gpu: str
    retries: int
    """Times that a trial runs again that was lost with its worker or node; announced preemptions are not counted."""
    concurrent: int
    """Trials at once, at most; 0: as many as fit."""
    verbose: bool = False
    members: Mapping[str, Training] = field(default_factory=dict)
    """All of the plan, by their ids."""
    stopping: EarlyStopping | None = None
    judge: RemoteJudge | None = None
    """Where trainings are stopped early in cohorts: who decides."""
    scheduler: Any = None
    """Where they are native trials: Tune's scheduler."""

    @classmethod
    def of(cls, plan: Plan, **more: Any) -> Experiments:
        """With the data sets of the plan shared: workers get them once a node, without a copy."""

        keys = {sources.reference(cohort.members[0].settings) for cohort in plan.cohorts}
        datasets = {key: ray.put(sources.load(*key)) for key in sorted(keys, key=str)}
        members = {member.id: member for member in plan.trainings}
        return cls(datasets=datasets, members=members, stopping=plan.early_stopping, **more)

    def run(self, pieces: Sequence[Piece], heard: Heard) -> dict[int, str]:
        """One Tune run over these pieces, in their order; for each that was not stored, by its place, why.

        Raises StoreError where a worker lost the store, ExecutionError where Ray itself fails.
        """

        kinds = list(dict.fromkeys(_resources(piece) for piece in pieces))
        requests = [tune.PlacementGroupFactory([dict(kind)]) for kind in kinds]
        wanted = [kinds.index(_resources(piece)) for piece in pieces]

        def request(config: Mapping[str, Any]) -> Any:
            # Tune pickles this with the trainable and unpickles it twice a trial: so a request a kind, not a piece.
            return requests[wanted[config["piece"]]]

        inputs = _Inputs(
            cohorts=[ray.put(piece.cohort) for piece in pieces],
            bytes=[piece.grant.bytes for piece in pieces],
            again=[piece.again for piece in pieces],
            lanes=[piece.lane for piece in pieces],
            stopping=self.stopping,
            judge=self.judge,
            datasets=self.datasets,
            store=self.store,
            worker=self.worker,
            on_gpu=self.on_gpu,
            host=socket.gethostname(),
            search_path=[entry for entry in sys.path if entry and os.path.isdir(entry)],
            plugins=load_plugins(),
        )
        watcher = _watcher(self.members, heard)
        body: Any = _train_trial if self.scheduler is None else native.trainable(_native_training)
        with tempfile.TemporaryDirectory(prefix="memsweep-") as scratch:
            tuner = tune.Tuner(
                tune.with_resources(tune.with_parameters(body, shared=_Shared(ray.put(inputs))), request),
                param_space={"piece": tune.grid_search(list(range(len(pieces))))},
                tune_config=tune.TuneConfig(
                    reuse_actors=True,
                    scheduler=self.scheduler or _in_order(),
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
        if watcher.store_error:
            raise StoreError(watcher.store_error)
        if self.stopping and self.scheduler is not None:
            self._settle(pieces, watcher, heard)
        lost = dict.fromkeys(set(range(len(pieces))) - watcher.stored, "the trial ended without a result")
        for result in (results[i] for i in range(len(results))):
            if result.config and result.error and result.config["piece"] in lost:
                lost[result.config["piece"]] = f"{type(result.error).__name__}: {result.error}"
        return lost

    def _stoppers(self, of_the_run: Any) -> Any:

        rules = make_stopper(self.stopping) if self.stopping and self.scheduler is not None else None
        return CombinedStopper(of_the_run, rules) if rules else of_the_run

    def _settle(self, pieces: Sequence[Piece], watcher: Any, heard: Heard) -> None:
        """Record the native trials that were stopped. (A worker is not told why it is to leave a trial.)"""
        assert self.stopping
        stopped = {pieces[place].cohort.members[0].id: place for place in sorted(watcher.ended - watcher.stored)}
        for failure in store_stopped([self.members[member] for member in stopped], self.store, self.stopping):
            place = stopped[failure.trajectory_id]
            watcher.stored.add(place)
            heard(place, pieces[place].cohort.epochs, Trained((failure,)))


def local_elsewhere(store: Store, hosts: Sequence[str]) -> str:
    """Return the error message for a store folder that workers on these hosts do not see."""
    return (
        f"--store {store.uri}: a folder of this machine, but workers on {', '.join(hosts)} would write to folders of "
        "theirs; valid with nodes elsewhere: s3://BUCKET/PATH"
    )


@dataclass(frozen=True)
class _Inputs:
    """What every trial is given. Cohorts and data sets are references into Ray's object store."""

    cohorts: list[Any]
    bytes: list[int]
    """Of memory, by piece."""
    again: list[bool]
    lanes: list[str]
    stopping: EarlyStopping | None
    judge: RemoteJudge | None
    datasets: Mapping[sources.Reference, Any]
    store: Store
    worker: Worker
    on_gpu: str
    host: str
    """The driver's."""
    search_path: list[str]
    """Where a data set, model or plug-in of the user's own lies, besides what is installed."""
    plugins: tuple[str, ...]


@dataclass(frozen=True)
class _Shared:
    """A reference to `_Inputs`, which are long: Tune hands what it is given to a trial each time anew."""

    inputs: Any


@lru_cache(maxsize=1)
def _inputs(reference: Any) -> _Inputs:
    """Fetch the inputs of the experiment, once per worker process, and make what the user brought importable."""

    inputs: _Inputs = ray.get(reference)
    sys.path.extend(entry for entry in inputs.search_path if entry not in sys.path)
    load_plugins(inputs.plugins)
    return inputs


def _resources(piece: Piece) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(piece.grant.resources.items()))


def _train_trial(config: Mapping[str, Any], shared: _Shared) -> None:
    """A Tune function trainable: one piece."""

    inputs = _inputs(shared.inputs)
    cohort = ray.get(inputs.cohorts[config["piece"]])
    first = cohort.members[0].settings
    worker = _worker(config, inputs)
    reported = time.monotonic()

    def on_epoch(epoch: int) -> None:
        nonlocal reported
        if time.monotonic() - reported >= REPORT_SECONDS:
            reported = time.monotonic()
            tune.report({"epochs": epoch})

    try:
        if inputs.store.is_local and socket.gethostname() != inputs.host:
            raise StoreError(local_elsewhere(inputs.store, [socket.gethostname()]))
        dataset = ray.get(inputs.datasets[sources.reference(first)])
        if inputs.judge and inputs.stopping:
            name = inputs.lanes[config["piece"]]
            lane = Lane(name, cohort, dataset, inputs.store, worker, inputs.judge, inputs.stopping, on_epoch)
            trained = lane.train()
        else:
            trained = train_and_store(cohort, dataset, inputs.store, worker, on_epoch)
    except StoreError as error:
        tune.report({"epochs": 0, "store_error": str(error)})
        return
    left = [member.id for member in trained.deferred.members] if trained.deferred else []
    tune.report({"epochs": cohort.epochs, "failures": [asdict(each) for each in trained.failures], "deferred": left})


def _native_training(config: Mapping[str, Any], shared: _Shared) -> native.NativeTraining:
    """One piece of one member, as a native trial."""

    inputs = _inputs(shared.inputs)
    (member,) = ray.get(inputs.cohorts[config["piece"]]).members
    point = member.settings

    def dataset() -> Dataset:
        if inputs.store.is_local and socket.gethostname() != inputs.host:
            raise StoreError(local_elsewhere(inputs.store, [socket.gethostname()]))
        found: Dataset = ray.get(inputs.datasets[sources.reference(point)])
        return found

    assert inputs.stopping
    heard = config.get("heard", 0)
    return native.NativeTraining(member, dataset, inputs.store, _worker(config, inputs), inputs.stopping, heard)


def _worker(config: Mapping[str, Any], inputs: _Inputs) -> Worker:
    """Of this process, for a trial."""

    on_gpu = bool(ray.get_runtime_context().get_accelerator_ids().get("GPU"))
    device = inputs.on_gpu if on_gpu else inputs.worker.device
    again = config.get("again", inputs.again[config["piece"]])
    return replace(inputs.worker, device=device, bytes=inputs.bytes[config["piece"]], again=again)


def _in_order() -> Any:
    """A Tune scheduler that names no trial to run next: the controller takes them in their order then.

    Tune's own names the first that waits, also one whose worker is being started, and has a worker that is free take it
    over, which ends the other. Where trials are shorter than that takes, there is never a second worker.
    """

    class InOrder(FIFOScheduler):
        def choose_trial_to_run(self, tune_controller: Any) -> None:
            return None

    return InOrder()


def _watcher(members: Mapping[str, Training], heard: Heard) -> Any:
    """A Tune callback that passes on what trials report, and a stopper for when the store is lost.

    Made here because their base classes are Ray's, which is not imported until something is to be trained.
    """

    class Watcher(tune.Callback):
        def __init__(self, members: Mapping[str, Training], heard: Heard) -> None:
            self.members = members
            self.heard = heard
            self.stored: set[int] = set()
            self.ended: set[int] = set()
            self.store_error = ""
            self.stopper = Stopper()

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Tune pickles its callbacks into a file that it would restore from; a listener holds a terminal

        def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
            piece = trial.config["piece"]
            if result.get("store_error"):
                self.store_error = result["store_error"]
                self.stopper.stopped = True
            elif "failures" in result and piece not in self.stored:
                self.stored.add(piece)
                left = tuple(self.members[member] for member in result["deferred"])
                failures = tuple(Failure(**failure) for failure in result["failures"])
                self.heard(piece, result["epochs"], Trained(failures, Cohort(left) if left else None))
            else:
                trial.config["heard"] = result["epochs"]  # of a native trial, should it go on in another worker
                self.heard(piece, result["epochs"], None)

        def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            self.ended.add(trial.config["piece"])

        def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            trial.config["again"] = True  # its lost worker may have come as far as to store its part

    class Stopper(tune.Stopper):
        stopped = False

        def __call__(self, trial_id: str, result: dict) -> bool:
            return False

        def stop_all(self) -> bool:
            return self.stopped

    return Watcher(members, heard)
