"""The inline executor, which trains cohorts in this process, for debugging, notebooks and small sweeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_modules.data import sources
from lightning_modules.data.sources import Dataset
from sweeps.errors import ExecutionError
from sweeps.execution.defaults import CHECKPOINT_SECONDS, Device
from sweeps.execution.gpus import visible_gpus
from sweeps.execution.halving import most_failures
from sweeps.execution.identity import load_data, planned_files
from sweeps.execution.lane import Lane, check_pausing, dispatcher_of
from sweeps.execution.protocol import Announcer, Listener, Progress
from sweeps.execution.resources import Resources, check_precision, gpu_resources, local_resources
from sweeps.execution.worker import Worker, train_and_store, wait_for_others
from sweeps.planning.plan import Cohort, Plan
from sweeps.store.leases import Run
from sweeps.store.store import Store

if TYPE_CHECKING:
    from lightning_modules.training.train import CohortResult


@dataclass(frozen=True)
class Inline:
    """An executor that trains in this process. See `protocol.Executor` for the methods.

    `device` is cpu, cuda, or auto, which selects cuda if there is a GPU. `max_failures` is the number of failed
    trainings after which no further cohort is started, or None for the default of `halving.most_failures`.
    """

    device: Device = "cpu"
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    max_failures: int | None = None
    train: Callable[..., CohortResult] | None = None
    """The function that trains a stack, or None for `train_cohort`."""

    @contextmanager
    def resources(self, workers: int | None, say: Callable[[str], None]) -> Iterator[Resources]:
        gpus = visible_gpus() if self.device != "cpu" else []
        on_gpu = gpus and self._device() == "cuda"  # the driver may have a GPU for which this torch is not built
        yield gpu_resources(gpus[0]) if on_gpu else local_resources(1, "inline")

    def execute(self, plan: Plan, store: Store, listen: Listener) -> None:
        device = self._device()
        check_precision(plan, device == "cpu")
        store.prepare()
        check_pausing(plan, store)
        worker = Worker(
            Run.begin(store.location), device, plan.packing.bytes_per_worker, self.checkpoint_seconds,
            max_failures=self.max_failures, train=self.train, code=planned_files(plan),
        )  # fmt: skip
        datasets: dict[sources.Reference, Dataset] = {}
        dispatcher = dispatcher_of(plan, store)
        announce = Announcer(listen, most_failures(len(plan.trainings), self.max_failures))
        pending = [*plan.cohorts]
        while pending:
            deferred: list[Cohort] = []
            for cohort in pending:

                def on_epoch(epochs: int, index: int = cohort.index) -> None:
                    announce(Progress(index, epochs))

                first = cohort.members[0].settings
                key = sources.reference(first)
                dataset = datasets[key] = datasets.get(key) or load_data(first)
                if dispatcher and plan.early_stopping:
                    lane = Lane(
                        str(cohort.index), cohort, dataset, store, worker, dispatcher, plan.early_stopping, on_epoch
                    )
                    ended = lane.train()
                else:
                    ended = train_and_store(cohort, dataset, store, worker, on_epoch)
                announce(ended)
                if announce.is_exhausted:
                    announce.give_up()
                    return
                if ended.deferred:
                    deferred.append(cohort.part(ended.deferred))
            if deferred == pending:
                wait_for_others(deferred)
            pending = deferred

    def _device(self) -> str:
        """Return torch's name of the device."""
        if self.device == "cpu":
            return "cpu"
        import torch

        if torch.cuda.is_available():
            return "cuda"
        if self.device == "cuda":
            raise ExecutionError("--device cuda: torch finds no GPU here; valid: cpu")
        return "cpu"
