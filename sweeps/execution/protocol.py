"""The interface of executors, and the events that they report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeGuard

from sweeps.planning.plan import Plan, Training
from sweeps.planning.throughput import Measured
from sweeps.store.store import Store

if TYPE_CHECKING:
    from sweeps.execution.resources import Resources


@dataclass(frozen=True)
class Failure:
    """A training that has no measures at its horizon, and the reason why."""

    trajectory_id: str
    outcome: str
    reason: str


@dataclass(frozen=True)
class Progress:
    """An event that reports how many epochs a cohort has trained. `cohort` is the cohort's index in `plan.cohorts`."""

    cohort: int
    epochs: int


@dataclass(frozen=True)
class Timed:
    """The times of a stack on a device, which is named by the model of the processor or GPU."""

    device: str
    stack: Measured


@dataclass(frozen=True)
class CohortEnded:
    """An event that reports that a cohort, or the part of it that a worker trains, has ended and is in the store.

    Workers return this event, Ray trials report it, and a listener receives it once per cohort.
    """

    cohort: int
    failures: tuple[Failure, ...] = ()
    deferred: tuple[Training, ...] = ()
    """Members that another run is training, or that wait for others to catch up. It is empty for listeners."""
    measured: tuple[Timed, ...] = field(default=(), compare=False)
    """How long the stacks of the cohort took, for later estimates."""


Event = Progress | CohortEnded
Listener = Callable[[Event], None]


class Announcer:
    """A filter that passes progress to a listener, and the end of a cohort once all parts of the cohort have ended."""

    def __init__(self, listen: Listener) -> None:
        self._listen = listen
        self._open: dict[int, int] = {}
        """For each cohort that was split or has ended parts, the number of parts that have not ended."""
        self._failures: dict[int, list[Failure]] = {}
        self._measured: dict[int, list[Timed]] = {}

    def split(self, cohort: int) -> None:
        """Record that one part of a cohort is replaced by two parts."""
        self._open[cohort] = self._open.get(cohort, 1) + 1

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._listen(event)
            return
        self._failures.setdefault(event.cohort, []).extend(event.failures)
        self._measured.setdefault(event.cohort, []).extend(event.measured)
        if event.deferred:
            return
        self._open[event.cohort] = self._open.get(event.cohort, 1) - 1
        if not self._open[event.cohort]:
            failures, measured = self._failures[event.cohort], self._measured[event.cohort]
            self._listen(CohortEnded(event.cohort, tuple(failures), measured=tuple(measured)))


class Executor(Protocol):
    """An object that trains every cohort of a plan and stores the records.

    One test suite checks this contract for every executor:
    - a run that cannot work at all (no Ray, no GPU, a store out of reach) raises before the store is created;
    - when `execute` returns, the store holds a record of every training of the plan, including failures;
    - a cohort is stored as a whole as soon as it is trained (or in parts if it raises and is split), so that an
      interruption loses only the cohorts that are being trained;
    - the records do not depend on the executor, the packing, or the order in which cohorts are trained;
    - the listener is called in this process, from one thread, for progress and exactly once per cohort that ends;
    - a training that raises gets a record with outcome `failed`. Only problems of the whole run raise: StoreError,
      KeyboardInterrupt, or ExecutionError if workers are not available or are lost for good.
    """

    def resources(self, workers: int | None, say: Callable[[str], None]) -> AbstractContextManager[Resources]:
        """Return a context that yields the resources for packing the plan, and in which `execute` is called. Raises
        ExecutionError. `workers` is the number that the user requests; `say` receives messages about any waiting."""

    def execute(self, plan: Plan, store: Store, listen: Listener) -> None: ...


def is_job_address(address: str | None) -> TypeGuard[str]:
    """Return whether an address is that of a cluster's job server (`http://HOST:8265`), and not the cluster's own."""
    return address is not None and address.startswith(("http://", "https://"))
