"""The median stopping rule in arrays: Ray's `MedianStoppingRule` without going through all results of all trials.

Ray's class averages every other trial's curve anew at each result, so its time rises with n² e²; this one keeps each
trial's running mean at each epoch, and compares along one row of a matrix: n e times a few vector operations. Its
numbers are Ray's bit for bit (the same means and medians of the same values), and a property test says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sweeps.spec.stopping import EarlyStopping


class QuickMedian:
    """What a referee asks of a scheduler, of a median rule that stops and never yields.

    epochs: all at which anybody may report, ascending. count: trials, at most.
    """

    def __init__(self, settings: EarlyStopping, epochs: np.ndarray, count: int) -> None:
        assert settings.metric is not None
        self._metric, self._grace, self._least = settings.metric, settings.grace_period, settings.min_samples
        self._sign = 1.0 if settings.mode == "max" else -1.0
        self._column = {epoch: column for column, epoch in enumerate(epochs.tolist())}
        self._row: dict[Any, int] = {}
        # Twice the epochs at most: of what is stopped, the last result is heard twice.
        self._values = np.empty((count, len(epochs) + 1))
        self._heard = [0] * count
        self._early = [0] * count  # of those, before the grace period was over
        self._filled = [0] * count  # columns that have a running mean
        self._best = [-np.inf] * count
        self._last = np.zeros(count)
        self._means = np.full((len(epochs), count), np.nan)

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        pass

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        pass

    def choose_trial_to_run(self, controller: Any) -> Any:
        return next(iter(controller.get_trials()), None)

    def on_trial_complete(self, controller: Any, trial: Any, result: Mapping[str, Any]) -> None:
        self._hear(trial, result)

    def on_trial_result(self, controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        row, epoch = self._hear(trial, result), result["epoch"]
        if epoch < self._grace:
            return "CONTINUE"
        others = self._last >= epoch
        others[row] = False
        means = self._means[self._column[epoch]][others]
        means = means[np.isfinite(means)]
        if len(means) < self._least:
            return "CONTINUE"
        return "STOP" if self._sign * np.median(means) > self._best[row] else "CONTINUE"

    def _hear(self, trial: Any, result: Mapping[str, Any]) -> int:
        """Its running mean from here on, and between its last result and this one still the old."""
        row = self._row.setdefault(trial, len(self._row))
        epoch, value = result["epoch"], result[self._metric]
        column, heard = self._column[epoch], self._heard[row]
        if column > self._filled[row]:
            self._means[self._filled[row] : column, row] = self._mean(row)
        self._values[row, heard] = value
        self._heard[row] = heard + 1
        self._early[row] += epoch < self._grace
        self._best[row] = max(self._best[row], self._sign * value)
        self._means[column, row] = self._mean(row)
        self._filled[row] = column + 1
        self._last[row] = epoch
        return row

    def _mean(self, row: int) -> float:
        judged = self._values[row, self._early[row] : self._heard[row]]
        return float(np.mean(judged)) if len(judged) else np.nan
