"""The interface of executors, and the events that they report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeGuard

from sweeps.planning.plan import Plan, Training
from sweeps.planning.throughput import Measured
from sweeps.store.records import Outcome
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
    untried: int = 0
    """The number of members that were not trained, because those that were tried failed for one reason."""
    measured: tuple[Timed, ...] = field(default=(), compare=False)
    """How long the stacks of the cohort took, for later estimates."""


Event = Progress | CohortEnded
Listener = Callable[[Event], None]


class Announcer:
    """A filter that passes progress to a listener, and the end of a cohort once all parts of the cohort have ended.

    Args:
        most_failures: the number of failed trainings after which no further cohort is to be started.
    """

    def __init__(self, listen: Listener, most_failures: int) -> None:
        self._listen = listen
        self._most_failures = most_failures
        self._failed = 0
        self._open: dict[int, int] = {}
        """For each cohort that was split or has ended parts, the number of parts that have not ended."""
        self._parts: dict[int, list[CohortEnded]] = {}

    @property
    def is_exhausted(self) -> bool:
        """Whether so many trainings have failed that no further cohort is to be started."""
        return self._failed >= self._most_failures

    def split(self, cohort: int) -> None:
        """Record that one part of a cohort is replaced by two parts."""
        self._open[cohort] = self._open.get(cohort, 1) + 1

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._listen(event)
            return
        self._failed += sum(failure.outcome == Outcome.FAILED for failure in event.failures)
        self._parts.setdefault(event.cohort, []).append(event)
        if event.deferred:
            return
        self._open[event.cohort] = self._open.get(event.cohort, 1) - 1
        if not self._open[event.cohort]:
            self._listen(joined(self._parts.pop(event.cohort)))

    def give_up(self) -> None:
        """Pass on the ends of the cohorts that have ended only in part, because the rest will not be trained."""
        for parts in self._parts.values():
            ended = joined(parts)
            self._listen(replace(ended, untried=ended.untried + len(parts[-1].deferred)))
        self._parts = {}


def joined(parts: Sequence[CohortEnded]) -> CohortEnded:
    """Join the ends of all parts of a cohort."""
    return CohortEnded(
        parts[0].cohort,
        failures=tuple(failure for part in parts for failure in part.failures),
        untried=sum(part.untried for part in parts),
        measured=tuple(timed for part in parts for timed in part.measured),
    )


class Executor(Protocol):
    """An object that trains every cohort of a plan and stores the records.

    One test suite checks this contract for every executor:
    - a run that cannot work at all (no Ray, no GPU, a store out of reach) raises before the store is created;
    - when `execute` returns, the store holds a record of every training of the plan, including failures, unless so many
      failed that no further cohort was started, or all that were tried of a cohort failed for one reason;
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
