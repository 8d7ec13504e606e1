"""Ray Tune's own schedulers and stoppers, created from the settings of a sweep.

The schedulers that sweeps can name are registered in `sweeps.spec.stopping.SCHEDULERS`. Each function that creates a
scheduler takes the settings and the last epoch of the longest training. The unit of time is the epoch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.tune import Stopper, schedulers
from ray.tune.stopper import CombinedStopper, FunctionStopper

from sweeps.spec.stopping import EarlyStopping, StopWhen
from sweeps.stopping.stop_when import TIME, rules_of


class MedianStoppingRule(schedulers.MedianStoppingRule):
    """Ray's median stopping rule, which computes each running mean once.

    Ray averages the curves of all other trials again at each result, which takes 7 ms per result among 1,000 trials.
    The decision remains Ray's. Results must arrive in order of epoch, as the referee's do.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._known: dict[tuple[Any, float], tuple[int, Any]] = {}
        """(trial, time) -> the number of the trial's results when its running mean was computed, and the mean."""

    def _running_mean(self, trial: Any, time: float) -> Any:
        results = self._results[trial]
        count, mean = self._known.get((trial, time), (0, None))
        # Later results count only if they are of the same time: the last result of a stopped trial arrives twice.
        if not count or (count < len(results) and results[count][self._time_attr] <= time):
            mean = super()._running_mean(trial, time)
            self._known[trial, time] = len(results), mean
        return mean


def asha(settings: EarlyStopping, horizon: int) -> schedulers.TrialScheduler:
    """Create Ray's scheduler for asynchronous successive halving (ASHA)."""
    return schedulers.AsyncHyperBandScheduler(
        **_common(settings),
        max_t=horizon,
        grace_period=settings.grace_period,
        reduction_factor=settings.reduction_factor,
        brackets=settings.brackets,
    )


def hyperband(settings: EarlyStopping, horizon: int) -> schedulers.TrialScheduler:
    """Create Ray's HyperBand scheduler."""
    return schedulers.HyperBandScheduler(**_common(settings), max_t=horizon, reduction_factor=settings.reduction_factor)


def median(settings: EarlyStopping, horizon: int) -> schedulers.TrialScheduler:
    """Create Ray's median stopping rule, configured so that it never pauses trainings.

    By default, Ray pauses a training after each result while too few others have reached that epoch and others wait.
    Most members of a stack would then be paused and resumed for a single epoch.
    """
    return MedianStoppingRule(
        **_common(settings),
        grace_period=settings.grace_period,
        min_samples_required=settings.min_samples,
        min_time_slice=np.inf,
        hard_stop=True,
    )


def fifo(settings: EarlyStopping, horizon: int) -> schedulers.TrialScheduler:
    """Create Ray's scheduler that stops no training."""
    return schedulers.FIFOScheduler()


def _common(settings: EarlyStopping) -> dict[str, Any]:
    return {"time_attr": TIME, "metric": settings.metric, "mode": settings.mode}


def make_stopper(settings: EarlyStopping) -> Stopper | None:
    """Create Ray's stopper for `stop_when`, or return None if there is no rule.

    The stopper expects results that contain the measures by name and the epoch as `TIME`.
    """
    rules = [FunctionStopper(rule) for rule in rules_of(settings.stop_when or StopWhen())]
    return CombinedStopper(*rules) if rules else None
