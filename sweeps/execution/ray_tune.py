"""The Ray executor: each cohort is one Tune trial, on this machine or on a cluster.

A Tune experiment is disposable here: what is finished is what lies in the store, and to resume is to plan again. So
Tune keeps no results, checkpoints or logs of its own; workers write their parts, and the driver hears only how far they
are. Actors are reused from trial to trial, because importing torch and Lightning is most of what a fresh one does
(measured on two cores: 1.0 s a trial with a fresh actor, 0.03 s with a reused one).
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import lightning_modules  # noqa: F401 (where it lies is compared with where workers would find it)
from lightning_modules.data import sources
from sweeps.errors import ExecutionError, StoreError
from sweeps.execution.protocol import CohortStored, Failure, Listener, Progress
from sweeps.execution.work import store_failure, train_and_store
from sweeps.plan import Plan
from sweeps.store import Store

REPORT_SECONDS = 0.5
"""A trial says how far it is no more often than this."""

RETRIES = 1
"""Times that an experiment runs a trial again that was lost with its worker or node, and times that what is still
lost goes into another experiment: a cohort that kills its worker is tried four times."""

_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # about five files a trial that nobody reads
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the run at once: nothing in flight is worth waiting for
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # a snapshot serialises every trial, and nobody restores from it
    "TUNE_WARN_THRESHOLD_S": "3600",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a model of the user's own may open files beside it
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True)
class RayTune:
    """See `protocol.Executor`.

    `address` None starts Ray on this machine with as many CPUs as the plan has workers, unless this process is
    connected to a Ray already; otherwise it is a cluster's address, or "auto". `device` is cpu or cuda; a cohort takes
    one CPU, and with cuda one GPU.
    """

    address: str | None = None
    device: str = "cpu"
    verbose: bool = False

    def execute(self, plan: Plan, store: Store, listen: Listener) -> None:
        workers = plan.packing.workers
        settings = {**_ENVIRONMENT, "TUNE_MAX_PENDING_TRIALS_PG": str(2 * workers)}
        with _environment(settings), self._connection(workers):
            self._check(store)
            store.prepare()
            reasons = self._train(plan, store, listen)
        for index, reason in reasons.items():
            listen(CohortStored(index, store_failure(plan.cohorts[index], store, self.device, reason)))

    def _check(self, store: Store) -> None:
        """Refuse, before anything is written, what workers could not do."""
        import ray

        for name, place in _taken_by_workers().items():
            raise ExecutionError(
                f"package {name!r}: Ray's workers would take it from {place}, which is not memsweep's; "
                "run from another folder, or with --inline"
            )
        hosts = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
        if store.is_local and hosts != {socket.gethostname()}:
            raise ExecutionError(
                f"--store {store.uri}: a folder of this machine, but workers on {', '.join(sorted(hosts))} would write "
                "to folders of theirs; valid with nodes elsewhere: s3://BUCKET/PATH"
            )
        if self.device == "cuda" and not ray.cluster_resources().get("GPU"):
            raise ExecutionError("--device cuda: Ray has no GPU here; valid: cpu, or --address of a cluster with GPUs")

    def _train(self, plan: Plan, store: Store, listen: Listener) -> dict[int, str]:
        """Run experiments until every cohort is stored, or was lost too often: then why, by its place in the plan.

        Tune retries a trial whose worker dies while it runs, but not one whose worker dies while it is being reset for
        the next trial (`reuse_actors`; seen when killing workers). So what an experiment leaves over goes into another.
        """
        import ray

        inputs = _Inputs(
            cohorts=[ray.put(cohort) for cohort in plan.cohorts],
            datasets=_shared_datasets(plan),
            store=store,
            device=self.device,
            search_path=[entry for entry in sys.path if entry and os.path.isdir(entry)],
        )
        watcher = _watcher(listen)
        reasons: dict[int, str] = {}
        for _ in range(1 + RETRIES):
            missing = sorted(set(range(len(plan.cohorts))) - watcher.stored)
            if not missing:
                break
            reasons = self._experiment(missing, plan.packing.workers, inputs, watcher)
            if watcher.store_error:
                raise StoreError(watcher.store_error)
        return {index: reason for index, reason in reasons.items() if index not in watcher.stored}

    def _experiment(self, cohorts: list[int], workers: int, inputs: _Inputs, watcher: Any) -> dict[int, str]:
        """One Tune run over these cohorts, in their order; for each that was not stored, why."""
        from ray import tune
        from ray.exceptions import RayError

        resources = {"cpu": 1.0, "gpu": 1.0 if self.device == "cuda" else 0.0}
        with tempfile.TemporaryDirectory(prefix="memsweep-") as scratch:
            tuner = tune.Tuner(
                tune.with_resources(tune.with_parameters(_train_trial, inputs=inputs), resources),
                param_space={"cohort": tune.grid_search(cohorts)},
                tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=workers),
                run_config=tune.RunConfig(
                    storage_path=scratch,
                    verbose=2 if self.verbose else 0,
                    failure_config=tune.FailureConfig(max_failures=RETRIES),
                    callbacks=[watcher],
                    stop=watcher.stopper,
                ),
            )
            try:
                results = tuner.fit()
            except RayError as error:
                raise ExecutionError(f"ray: {error}") from error
        reasons = dict.fromkeys(cohorts, "the trial ended without a result")
        for result in (results[i] for i in range(len(results))):
            if result.config and result.error:
                reasons[result.config["cohort"]] = f"{type(result.error).__name__}: {result.error}"
        return reasons

    @contextmanager
    def _connection(self, workers: int) -> Iterator[None]:
        import ray

        if self.address is None and ray.is_initialized():  # a notebook's or a test's own
            yield
            return
        level = logging.INFO if self.verbose else logging.CRITICAL  # what fails is recorded, and told with its reason
        logging.getLogger("ray").setLevel(level)
        where = {"address": self.address} if self.address else {"address": "local", "num_cpus": workers}
        try:
            ray.init(**where, include_dashboard=False, log_to_driver=self.verbose, logging_level=level)
        except (ConnectionError, OSError, RuntimeError, ValueError, TimeoutError) as error:
            raise ExecutionError(f"--address {self.address or 'local'}: Ray cannot be reached: {error}") from error
        try:
            yield
        finally:
            ray.shutdown()


@dataclass(frozen=True)
class _Inputs:
    """What every trial is given. Cohorts and data sets are references into Ray's object store."""

    cohorts: list[Any]
    datasets: Mapping[tuple[str, int], Any]
    store: Store
    device: str
    search_path: list[str]
    """Where a data set or model of the user's own lies, besides what is installed."""


def _train_trial(config: Mapping[str, Any], inputs: _Inputs) -> None:
    """A Tune function trainable: one cohort. Data sets come from the object store, once a node, without a copy."""
    import ray
    from ray import tune

    sys.path.extend(entry for entry in inputs.search_path if entry not in sys.path)
    index = config["cohort"]
    cohort = ray.get(inputs.cohorts[index])
    first = cohort.members[0].point
    reported = time.monotonic()

    def on_epoch(epoch: int) -> None:
        nonlocal reported
        if time.monotonic() - reported >= REPORT_SECONDS:
            reported = time.monotonic()
            tune.report({"epochs": epoch})

    try:
        dataset = ray.get(inputs.datasets[first.data, first.complexity])
        failures = train_and_store(cohort, dataset, inputs.store, inputs.device, on_epoch)
    except StoreError as error:
        tune.report({"epochs": 0, "store_error": str(error)})
        return
    tune.report({"epochs": cohort.epochs, "failures": [asdict(failure) for failure in failures]})


def _shared_datasets(plan: Plan) -> dict[tuple[str, int], Any]:
    import ray

    keys = {(cohort.members[0].point.data, cohort.members[0].point.complexity) for cohort in plan.cohorts}
    return {key: ray.put(sources.load(*key)) for key in sorted(keys)}


def _watcher(listen: Listener) -> Any:
    """A Tune callback that passes on what trials report, and a stopper for when the store is lost.

    Made here because their base classes are Ray's, which is not imported until something is to be trained.
    """
    from ray import tune

    class Watcher(tune.Callback):
        def __init__(self, listen: Listener) -> None:
            self.listen = listen
            self.stored: set[int] = set()
            self.store_error = ""
            self.stopper = Stopper()

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Tune pickles its callbacks into a file that it would restore from; a listener holds a terminal

        def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
            index = trial.config["cohort"]
            if result.get("store_error"):
                self.store_error = result["store_error"]
                self.stopper.stopped = True
            elif "failures" in result and index not in self.stored:
                self.stored.add(index)
                self.listen(CohortStored(index, tuple(Failure(**failure) for failure in result["failures"])))
            else:
                self.listen(Progress(index, result["epochs"]))

    class Stopper(tune.Stopper):
        stopped = False

        def __call__(self, trial_id: str, result: dict) -> bool:
            return False

        def stop_all(self) -> bool:
            return self.stopped

    return Watcher(listen)


def _taken_by_workers() -> dict[str, str]:
    """Packages of ours that a worker would find elsewhere, and where: it looks into the driver's folder first."""
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
