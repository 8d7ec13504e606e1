"""The interface of executors, and the events that they report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeGuard

from sweeps.planning.plan import Plan, Training
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
class CohortEnded:
    """An event: a cohort, or the part of it that a worker was given, has ended and is in the store.

    Workers return it, Ray trials report it, and a listener receives it once per cohort.
    """

    cohort: int
    failures: tuple[Failure, ...] = ()
    deferred: tuple[Training, ...] = ()
    """Members that another run is training, or that wait for others to catch up. A listener never receives any."""


Event = Progress | CohortEnded
Listener = Callable[[Event], None]


class Announcer:
    """Receives the events of the parts of cohorts, and calls a listener when the last part of a cohort has ended."""

    def __init__(self, listen: Listener) -> None:
        self._listen = listen
        self._open: dict[int, int] = {}
        """The number of parts that have not ended, of cohorts that were split."""
        self._failures: dict[int, list[Failure]] = {}

    def split(self, cohort: int) -> None:
        """Note that a part of a cohort is replaced by two."""
        self._open[cohort] = self._open.get(cohort, 1) + 1

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._listen(event)
            return
        self._failures.setdefault(event.cohort, []).extend(event.failures)
        if event.deferred:
            return
        self._open[event.cohort] = self._open.get(event.cohort, 1) - 1
        if not self._open[event.cohort]:
            self._listen(CohortEnded(event.cohort, tuple(self._failures[event.cohort])))


class Executor(Protocol):
    """An object that trains every cohort of a plan and stores the records.

    One suite tests the contract for every executor:
    - what cannot work at all (no Ray, no GPU, a store out of reach) raises before the store is created;
    - when `execute` returns, the store holds a record of every training of the plan, including failures;
    - a cohort is stored as a whole as soon as it is trained (one that raises, in the pieces that train), so an
      interruption at any moment loses only cohorts that are being trained;
    - the records do not depend on the executor, the packing, or the order in which cohorts are trained;
    - the listener is called in this process, from one thread, for progress and exactly once per cohort that ends;
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
