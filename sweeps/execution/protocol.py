"""What an executor is, and what it says while it works."""

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
    """A trajectory that left no measures at its horizon, and why."""

    trajectory_id: str
    outcome: str
    reason: str


@dataclass(frozen=True)
class Progress:
    """A cohort of the plan, by its place in `plan.cohorts`, has trained this many epochs."""

    cohort: int
    epochs: int


@dataclass(frozen=True)
class CohortStored:
    """A cohort's part is in the store."""

    cohort: int
    failures: tuple[Failure, ...]


Listener = Callable[[Progress | CohortStored], None]


class Executor(Protocol):
    """Trains every cohort of a plan and sees each one's records into the store.

    Contract, tested on every executor by one suite:
    - what cannot work at all (no Ray, no GPU, a store out of reach) is raised before the store is made;
    - when `execute` returns, the store holds a record of every trajectory of the plan, be it of a failure;
    - a cohort is stored as soon as it is trained, whole (one that raises: in the pieces that train); an interruption
      at any moment loses only cohorts in flight;
    - the records do not depend on the executor, the packing, or the order in which cohorts are trained;
    - the listener hears in this process, from one thread, of progress and exactly once of each stored cohort;
    - a training that raises is a record with outcome `failed`; only what concerns the whole run is raised: StoreError,
      KeyboardInterrupt, or ExecutionError for workers that cannot be had or are lost for good.
    """

    def resources(self, workers: int | None, say: Callable[[str], None]) -> AbstractContextManager[Resources]:
        """Where it would train, for the plan to pack by; `execute` is called in this context. `workers`, if given, is
        what the user wants; `say` hears of what has to be waited for. Raises ExecutionError."""

    def execute(self, plan: Plan, store: Store, listen: Listener) -> None: ...


def is_job_address(address: str | None) -> TypeGuard[str]:
    """Return whether an address is where a cluster takes jobs (`http://HOST:8265`), and not the cluster's own."""
    return address is not None and address.startswith(("http://", "https://"))
