"""What the driver hears of the trials of an experiment, and when it starts no more of them.

Tune pickles callbacks, stoppers and schedulers to a file for restoring, which is never read. The classes of this module
pickle without their state, because a listener may hold a terminal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from sweeps.execution.protocol import CohortEnded, Event
from sweeps.execution.resources import Grant
from sweeps.planning.plan import Cohort

_log = logging.getLogger(f"memsweep.{__name__}")

Hear = Callable[[int, Event], None]
"""A function that is called with the position of a piece and an event of its trial."""


@dataclass(frozen=True)
class Piece:
    """The input of one trial: a cohort of the plan, or the rest of a cohort that was lost."""

    cohort: Cohort
    grant: Grant
    again: bool = False
    """Whether the piece was lost before in this run."""
    lane: str = ""
    """The name of the piece's lane, if trainings are stopped early."""
    rounds: int = 1
    """The number of experiments that include the piece, counting the next one."""


class InOrder(FIFOScheduler):
    """A Tune scheduler that never chooses the next trial, so that the controller starts trials in order.

    Once `is_exhausted` returns True, the scheduler ends the trials that have not started.

    Tune's FIFO scheduler chooses the first pending trial even if a worker for it is being started, gives the trial to a
    free worker, and ends the new worker. If trials are shorter than a worker's start, only one worker ever runs.
    """

    def __init__(self, is_exhausted: Callable[[], bool]) -> None:
        super().__init__()
        self._is_exhausted = is_exhausted

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        if self._is_exhausted():
            for trial in _pending(tune_controller.get_trials()):
                tune_controller.stop_trial(trial)


def _pending(trials: Iterable[Any]) -> list[Any]:
    """Return the trials that have not started, each with a folder. Tune cannot list results of trials without one."""
    pending = [trial for trial in trials if trial.status == Trial.PENDING]
    for trial in pending:
        trial.init_local_path()
    return pending


class Watcher(tune.Callback):
    """A Tune callback that passes events to `hear`, with a stopper that ends the run after an error of the run.

    Args:
        is_exhausted: a function that returns whether no further piece is to be started.
        native: whether each training is a native trial. All of them stop once `is_exhausted` returns True, since each
            has a checkpoint.
    """

    def __init__(
        self, pieces: Sequence[Piece], hear: Hear, is_exhausted: Callable[[], bool], native: bool = False
    ) -> None:
        self._pieces = pieces
        self._hear = hear
        self._is_exhausted = is_exhausted
        self._native = native
        self.stored: set[int] = set()
        self.ended: set[int] = set()
        """The positions of the pieces whose trials have completed, or that a scheduler has stopped."""
        self.error: Exception | None = None
        self.stopper = _Stopper(self)

    def __getstate__(self) -> dict[str, Any]:
        return {}

    @property
    def stops_all(self) -> bool:
        return self.error is not None or (self._native and self._is_exhausted())

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
        piece = trial.config["piece"]
        if result.get("error"):
            self.error = result["error"]
        elif piece not in self.stored:
            event = result["event"]
            if isinstance(event, CohortEnded):
                self.stored.add(piece)
            else:
                trial.config["heard"] = event.epochs  # for a native trial that resumes in another worker
            self._hear(piece, event)
        if self.stops_all:
            _pending(trials)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        if not self._is_exhausted():
            self.ended.add(trial.config["piece"])

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        trial.config["again"] = True  # the lost worker may have stored its part already
        _log.warning("%s: lost with its worker; Ray starts it again", self._pieces[trial.config["piece"]].cohort)


class _Stopper(tune.Stopper):
    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: dict) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._watcher.stops_all
