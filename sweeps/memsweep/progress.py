"""Live progress of a run: trainings done, points per second, time left, and failures as they occur."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from memsweep.causes import Cause, causes
from memsweep.terminal import Terminal, tell
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sweeps.execution.halving import kind_of
from sweeps.execution.protocol import CohortEnded, Failure
from sweeps.execution.protocol import Progress as EpochsDone
from sweeps.planning.explain import predicted_seconds
from sweeps.planning.plan import Plan

LINE_SECONDS = 15.0
"""The interval between two lines of text, which replace the bar outside of terminals and notebooks."""

FRAME_SECONDS = 0.2
"""The minimum interval between two updates of a notebook's bar, because each update sends a message to the browser."""

NOTEBOOK_COLUMNS = 90

MAX_PRINTED = 20
"""The maximum number of reasons of failures that are printed during a run and at its end."""


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")


def console_here(quiet: bool = False) -> Console:
    """Return a console on standard output. It prints plain text even in a notebook, to keep saved notebooks small."""
    # A notebook kernel's output stream claims to be a terminal, but the notebook would save every redraw of the bar.
    return Terminal(force_jupyter=False, force_terminal=False if in_notebook() else None, quiet=quiet)


class Display:
    """A context manager that shows the progress of a run; `listen` is the executor's listener.

    The bar counts the epochs of each cohort by the seconds that they were estimated to take, so that it advances while
    the first cohorts train, and tells the time that is left. A terminal shows a live
    bar, a notebook shows a bar under the cell, and other outputs receive occasional lines of text. At the end, a
    sentence summarizes the run; a notebook shows it only after an interruption, because the call returns it otherwise.

    Args:
        began: when the run began, as `time.monotonic` tells; by default now.
    """

    def __init__(self, plan: Plan, console: Console, began: float | None = None) -> None:
        self._plan = plan
        self._console = console
        self._start = time.monotonic() if began is None else began
        self._end: float | None = None
        # Nothing predicts how many epochs early stopping will save.
        self._predicted = predicted_seconds(plan) if plan.missing and not plan.early_stopping else None
        self._epochs = [0] * len(plan.cohorts)
        # Running totals: adding up all cohorts at each event would take time quadratic in their number.
        self._seconds_of_cohorts = [plan.seconds(cohort) for cohort in plan.cohorts]
        self._trained = 0.0
        """The estimated seconds of what was trained."""
        self._trainings = 0
        self._points = 0
        self._cohorts = 0
        self._last_shown = self._start
        self.failed: list[Failure] = []
        self.diverged: list[Failure] = []
        self.stopped: list[Failure] = []
        self._told: set[tuple[str, str]] = set()
        """The outcomes and reasons that were printed."""
        self._bar = Progress(
            TextColumn("{task.fields[trainings]:,} of {task.fields[all_trainings]:,} trainings"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[rate]:.3g} points/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not plan.missing or not console.is_terminal,
        )
        self._task = self._bar.add_task(
            "", total=sum(self._seconds_of_cohorts) or 1, trainings=0, all_trainings=len(plan.trainings), rate=0.0,
        )  # fmt: skip
        self._cell = _Cell() if plan.missing and not console.quiet and in_notebook() else None

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end = time.monotonic()
        self._bar.stop()
        if self._cell:
            self._cell.draw(self._bar)
        for line in self._last_lines(finished=error is None):
            tell(self._console, line)
        if self._plan.missing and (error or not self._cell):
            tell(self._console, self.sentence())

    def listen(self, event: EpochsDone | CohortEnded) -> None:
        cohort = self._plan.cohorts[event.cohort]
        if isinstance(event, CohortEnded):
            epochs = cohort.epochs
            self._cohorts += 1
            points = {member.id: len(member.requested) for member in cohort.members}
            ended = max(0, len(cohort.members) - event.untried)
            self._trainings += ended
            failed = {failure.trajectory_id for failure in event.failures if failure.outcome == "failed"}
            self._points += sum([*points.values()][:ended]) - sum(points.get(each, 0) for each in failed)
            for failure in event.failures:
                self._add_failure(failure)
        else:
            epochs = max(self._epochs[event.cohort], event.epochs)
        share = (epochs - self._epochs[event.cohort]) / cohort.epochs
        self._trained += share * self._seconds_of_cohorts[event.cohort]
        self._epochs[event.cohort] = epochs
        self._bar.update(self._task, completed=self._trained, trainings=self._trainings, rate=self._rate)
        interval = FRAME_SECONDS if self._cell else LINE_SECONDS
        if not self._bar.disable or time.monotonic() - self._last_shown < interval:
            return
        self._last_shown = time.monotonic()
        if self._cell:
            self._cell.draw(self._bar)
        else:
            percent = self._bar.tasks[0].percentage
            tell(self._console, f"{percent:3.0f} %  {self.sentence()}")

    def summary(self) -> dict[str, Any]:
        """Return the counts, failures and duration so far, as `memsweep run --json` prints them."""
        return {
            "sweep": self._plan.name,
            "trained": self._trained_to_an_end,
            "points": self._points,
            "cohorts": self._cohorts,
            "failed": [vars(failure) for failure in self.failed],
            "diverged": [vars(failure) for failure in self.diverged],
            "stopped": [vars(failure) for failure in self.stopped],
            "causes": [cause.plain() for cause in self._causes()],
            "untried": self._untried,
            "seconds": round(self._seconds, 3),
            "predicted_seconds": None if self._predicted is None else round(self._predicted, 3),
        }

    def _add_failure(self, failure: Failure) -> None:
        if failure.outcome == "stopped":
            self.stopped.append(failure)
            return
        (self.failed if failure.outcome == "failed" else self.diverged).append(failure)
        kind = failure.outcome, kind_of(failure.reason)
        if kind not in self._told and len(self._told) < MAX_PRINTED:
            self._told.add(kind)
            reason = failure.reason.partition("\n")[0]
            tell(self._console, f"{failure.outcome} {failure.trajectory_id}: {reason}")

    def _causes(self) -> list[Cause]:
        return causes(self._plan, [*self.failed, *self.diverged])

    @property
    def _untried(self) -> int:
        """The number of trainings that the run has left out, so far or for good."""
        return len(self._plan.trainings) - self._trainings

    def _last_lines(self, finished: bool) -> Iterator[str]:
        """Yield what is said of failures at the end of a run. A reason that came once was said when it came."""
        yield from (str(cause) for cause in self._causes()[:MAX_PRINTED] if len(cause.trainings) > 1)
        if finished and self.failed and self._untried:
            yield (
                f"{self._untried:,} trainings were not tried, because {len(self.failed):,} failed; the next run tries "
                "them, and --max-failures N lets more fail"
            )

    def sentence(self) -> str:
        """Return a sentence that summarizes the run so far. After a whole run, it names the predicted time too."""
        whole = self._end is not None and self._trainings == len(self._plan.trainings)
        predicted = f" (predicted {self._predicted:.1f} s)" if whole and self._predicted is not None else ""
        parts = [
            f"trained {self._trained_to_an_end:,} of {len(self._plan.trainings):,} trainings "
            f"({self._points:,} points) in {self._seconds:.1f} s{predicted}, {self._rate:.3g} points/s"
        ]
        ended = {"stopped early": self.stopped, "diverged": self.diverged, "failed": self.failed}
        parts += [f"{len(trainings):,} {outcome}" for outcome, trainings in ended.items() if trainings]
        return ", ".join(parts)

    @property
    def _trained_to_an_end(self) -> int:
        """The number of trainings that ended and did not fail."""
        return self._trainings - len(self.failed)

    @property
    def _seconds(self) -> float:
        return (self._end or time.monotonic()) - self._start

    @property
    def _rate(self) -> float:
        return self._points / self._seconds if self._seconds else 0.0


class _Cell:
    """The output of a notebook cell that shows the latest state of the bar."""

    def __init__(self) -> None:
        from IPython.display import display

        self._handle = display({"text/plain": ""}, raw=True, display_id=True)

    def draw(self, bar: Progress) -> None:
        paper = Terminal(file=io.StringIO(), width=NOTEBOOK_COLUMNS, force_jupyter=False, force_terminal=False)
        with paper.capture() as text:
            paper.print(bar.get_renderable())
        self._handle.update({"text/plain": text.get().rstrip()}, raw=True)


@contextmanager
def counted(noun: str, console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar if the console is a terminal, and yield a function that updates the bar to (done, total)."""
    bar = Progress(
        TextColumn(f"{{task.completed:,}} of {{task.total:,}} {noun}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=1)
        yield lambda done, total: bar.update(task, completed=done, total=total)
