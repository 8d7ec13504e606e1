"""The interface of executors, and the events that they report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeGuard

from sweeps.planning.plan import Plan
from sweeps.store.store import Store

if TYPE_CHECKING:
    from sweeps.execution.resources import Resources


@dataclass(frozen=True)
class Failure:
    """A training without measures at its horizon, with the reason."""

    trajectory_id: str
    outcome: str
    reason: str


@dataclass(frozen=True)
class Progress:
    """An event: a cohort, given by its index in `plan.cohorts`, has trained this many epochs."""

    cohort: int
    epochs: int


@dataclass(frozen=True)
class CohortStored:
    """An event: the part of a cohort is in the store."""

    cohort: int
    failures: tuple[Failure, ...]


Listener = Callable[[Progress | CohortStored], None]


class Executor(Protocol):
    """An object that trains every cohort of a plan and stores the records.

    One suite tests the contract for every executor:
    - what cannot work at all (no Ray, no GPU, a store out of reach) raises before the store is created;
    - when `execute` returns, the store holds a record of every training of the plan, including failures;
    - a cohort is stored as a whole as soon as it is trained (one that raises, in the pieces that train), so an
      interruption at any moment loses only cohorts that are being trained;
    - the records do not depend on the executor, the packing, or the order in which cohorts are trained;
    - the listener is called in this process, from one thread, for progress and exactly once per stored cohort;
    - a training that raises gets a record with outcome `failed`. Only problems of the whole run raise: StoreError,
      KeyboardInterrupt, or ExecutionError if workers are not available or are lost for good.
    """

    def resources(self, workers: int | None, say: Callable[[str], None]) -> AbstractContextManager[Resources]:
        """Enter a context in which `execute` is called, with the resources by which the plan packs. Raises
        ExecutionError. `workers` is the number that the user wants; `say` receives messages about what it waits for."""

    def execute(self, plan: Plan, store: Store, listen: Listener) -> None: ...


def is_job_address(address: str | None) -> TypeGuard[str]:
    """Return whether an address is that of a cluster's job server (`http://HOST:8265`), and not the cluster's own."""
    return address is not None and address.startswith(("http://", "https://"))
