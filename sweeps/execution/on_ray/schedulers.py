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
    return schedulers.MedianStoppingRule(
        **_common(settings),
        grace_period=settings.grace_period,
        min_samples_required=settings.min_samples,
        min_time_slice=np.inf,  # type: ignore[arg-type]
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
