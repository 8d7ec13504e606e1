"""Ray Tune's own schedulers and stoppers, created from the settings of a sweep.

The schedulers that sweeps can name are registered in `sweeps.spec.stopping.SCHEDULERS`. Each function that creates a
scheduler takes the settings and the last epoch of the longest training; time is in epochs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.tune import Stopper, schedulers
from ray.tune.stopper import CombinedStopper, FunctionStopper

from sweeps.spec.stopping import EarlyStopping, StopWhen
from sweeps.stopping.stop_when import TIME, rules_of


def asha(settings: EarlyStopping, horizon: int) -> schedulers.TrialScheduler:
    """Make Ray's asynchronous successive halving (ASHA)."""
    return schedulers.AsyncHyperBandScheduler(
        **_common(settings),
        max_t=horizon,
        grace_period=settings.grace_period,
        reduction_factor=settings.reduction_factor,
        brackets=settings.brackets,
    )


def hyperband(settings: EarlyStopping, horizon: int) -> schedulers.TrialScheduler:
    """Make Ray's HyperBand."""
    return schedulers.HyperBandScheduler(**_common(settings), max_t=horizon, reduction_factor=settings.reduction_factor)


def median(settings: EarlyStopping, horizon: int) -> schedulers.TrialScheduler:
    """Make Ray's median stopping rule, which never pauses trainings here.

    By default, Ray pauses a training after each result while too few others have come as far and others wait, so that
    most of a stack would be paused and resumed for a single epoch.
    """
    return schedulers.MedianStoppingRule(
        **_common(settings),
        grace_period=settings.grace_period,
        min_samples_required=settings.min_samples,
        min_time_slice=np.inf,  # type: ignore[arg-type]
        hard_stop=True,
    )


def fifo(settings: EarlyStopping, horizon: int) -> schedulers.TrialScheduler:
    """Make Ray's scheduler that stops nothing."""
    return schedulers.FIFOScheduler()


def _common(settings: EarlyStopping) -> dict[str, Any]:
    return {"time_attr": TIME, "metric": settings.metric, "mode": settings.mode}


def make_stopper(settings: EarlyStopping) -> Stopper | None:
    """Make Ray's stopper for `stop_when`, or return None if there is no rule.

    A result has the measures by name, and `TIME`.
    """
    rules = [FunctionStopper(rule) for rule in rules_of(settings.stop_when or StopWhen())]
    return CombinedStopper(*rules) if rules else None
