"""The Ray executor: each cohort is one Tune trial, on this machine or on a cluster.

A Tune experiment is disposable here: what is finished is what lies in the store, and to resume is to plan again. So
Tune keeps no results, checkpoints or logs of its own; workers write their parts, and the driver hears only how far they
are. Actors are reused from trial to trial, because importing torch and Lightning is most of what a fresh one does
(measured on two cores: 1.0 s a trial with a fresh actor, 0.03 s with a reused one).
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from lightning_modules.data import sources
from sweeps.errors import ExecutionError, StoreError
from sweeps.execution.protocol import CohortStored, Failure, Listener, Progress
from sweeps.execution.work import store_failure, train_and_store
from sweeps.plan import Plan
from sweeps.store import Store

REPORT_SECONDS = 0.5
"""A trial says how far it is no more often than this."""

RETRIES = 2
"""Times that a trial lost with its worker or node is run again."""

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
        with _environment({**_ENVIRONMENT, "TUNE_MAX_PENDING_TRIALS_PG": str(2 * plan.packing.workers)}):
            import ray
            from ray import tune
            from ray.exceptions import RayError

            with self._connection(plan.packing.workers), tempfile.TemporaryDirectory(prefix="memsweep-") as scratch:
                watch = _watcher(listen)
                trainable = tune.with_parameters(
                    _train_trial,
                    cohorts=[ray.put(cohort) for cohort in plan.cohorts],
                    datasets=_shared_datasets(plan),
                    store=store,
                    device=self.device,
                    search_path=[entry for entry in sys.path if entry and os.path.isdir(entry)],
                )
                resources = {"cpu": 1.0, "gpu": 1.0 if self.device.startswith("cuda") else 0.0}
                tuner = tune.Tuner(
                    tune.with_resources(trainable, resources),
                    param_space={"cohort": tune.grid_search(list(range(len(plan.cohorts))))},
                    tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=plan.packing.workers),
                    run_config=tune.RunConfig(
                        storage_path=scratch,
                        verbose=2 if self.verbose else 0,
                        failure_config=tune.FailureConfig(max_failures=RETRIES),
                        callbacks=[watch],
                        stop=watch.stopper,
                    ),
                )
                try:
                    tuner.fit()
                except RayError as error:
                    raise ExecutionError(f"ray: {error}") from error
        if watch.store_error:
            raise StoreError(watch.store_error)
        for index in sorted(set(range(len(plan.cohorts))) - watch.stored):
            reason = watch.errors.get(index, "the trial ended without a result")
            listen(CohortStored(index, store_failure(plan.cohorts[index], store, self.device, reason)))

    @contextmanager
    def _connection(self, workers: int) -> Iterator[None]:
        import ray

        if self.address is None and ray.is_initialized():  # a notebook's or a test's own
            yield
            return
        level = logging.INFO if self.verbose else logging.ERROR
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


def _train_trial(
    config: Mapping[str, Any],
    cohorts: list[Any],
    datasets: Mapping[tuple[str, int], Any],
    store: Store,
    device: str,
    search_path: list[str],
) -> None:
    """A Tune function trainable: one cohort. Data sets come from the object store, once a node, without a copy."""
    import ray
    from ray import tune

    sys.path.extend(entry for entry in search_path if entry not in sys.path)  # where a model of the user's own lies
    index = config["cohort"]
    cohort = ray.get(cohorts[index])
    first = cohort.members[0].point
    reported = time.monotonic()

    def on_epoch(epoch: int) -> None:
        nonlocal reported
        if time.monotonic() - reported >= REPORT_SECONDS:
            reported = time.monotonic()
            tune.report({"epochs": epoch})

    try:
        dataset = ray.get(datasets[first.data, first.complexity])
        failures = train_and_store(cohort, dataset, store, device, on_epoch)
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
            self.errors: dict[int, str] = {}
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

        def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
            error = trial.get_pickled_error() or trial.get_error()
            self.errors[trial.config["cohort"]] = str(error)

    class Stopper(tune.Stopper):
        stopped = False

        def __call__(self, trial_id: str, result: dict) -> bool:
            return False

        def stop_all(self) -> bool:
            return self.stopped

    return Watcher(listen)


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
