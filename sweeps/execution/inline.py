"""The inline executor: one cohort after another in this process. For debuggers, notebooks and small sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from lightning_modules.data import sources
from sweeps.errors import ExecutionError
from sweeps.execution.protocol import CohortStored, Listener, Progress
from sweeps.execution.work import train_and_store
from sweeps.plan import Plan
from sweeps.store import Store


@dataclass(frozen=True)
class Inline:
    """See `protocol.Executor`. `device` is cpu or cuda."""

    device: str = "cpu"

    def execute(self, plan: Plan, store: Store, listen: Listener) -> None:
        if self.device == "cuda":
            import torch

            if not torch.cuda.is_available():
                raise ExecutionError("--device cuda: torch finds no GPU here; valid: cpu")
        store.prepare()
        load = cache(sources.load)
        for index, cohort in enumerate(plan.cohorts):
            first = cohort.members[0].point

            def on_epoch(epochs: int, index: int = index) -> None:
                listen(Progress(index, epochs))

            failures = train_and_store(cohort, load(first.data, first.complexity), store, self.device, on_epoch)
            listen(CohortStored(index, failures))
