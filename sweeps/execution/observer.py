"""Observer: a listener that remembers how long the stacks of a run took, so that the next plan predicts them better."""

from __future__ import annotations

import time

from sweeps.execution.protocol import CohortEnded, Event, Listener, Timed
from sweeps.planning.plan import Plan
from sweeps.planning.throughput import remembered


class Observer:
    """Passes events on, and collects the times that come with them. Call `save` when the run ends, however it ends.

    Args:
        plan: the plan that is executed.
        executor: the name of the executor, under which the time until its first training is remembered.
        listen: the listener to which events are passed on.
        began: when the run began, as `time.monotonic` tells; by default now.
    """

    def __init__(self, plan: Plan, executor: str, listen: Listener, began: float | None = None) -> None:
        self._plan = plan
        self._executor = executor
        self._device = plan.packing.speed.table.device
        self._listen = listen
        self._began = time.monotonic() if began is None else began
        self._startup: float | None = None
        self._timed: list[Timed] = []

    def __call__(self, event: Event) -> None:
        if self._startup is None:
            cohort = self._plan.cohorts[event.cohort]
            done = 1.0 if isinstance(event, CohortEnded) else event.epochs / max(1, cohort.epochs)
            self._startup = time.monotonic() - self._began - done * self._plan.seconds(cohort)
        if isinstance(event, CohortEnded):
            self._timed.extend(event.measured)
        self._listen(event)

    def save(self) -> None:
        """Add the times to the tables of their devices."""
        for device in {self._device, *(timed.device for timed in self._timed)}:
            table = remembered(device).with_stacks(timed.stack for timed in self._timed if timed.device == device)
            if device == self._device and self._startup and self._startup > 0:
                table = table.with_startup(self._executor, self._startup)
            table.save()
