"""Ray Tune's own schedulers and stoppers, as the settings of a sweep ask for them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.spec.stopping import EarlyStopping, StopWhen
from sweeps.stopping.rules import rules_of

if TYPE_CHECKING:
    from ray.tune import Stopper
    from ray.tune.schedulers import TrialScheduler

TIME = "epoch"
"""What schedulers and stoppers call time: the key of a result that says how far it is."""


def make_scheduler(settings: EarlyStopping, horizon: int) -> TrialScheduler:
    """Ray's scheduler of these settings, with time in epochs (`TIME`). horizon: the longest training's last epoch.

    The median rule never yields: Ray's default pauses a training after each result as long as too few others got as
    far and any waits, which would have most of a stack put aside and taken up again for a single epoch.
    """
    from ray.tune import schedulers

    common: dict[str, Any] = {"time_attr": TIME, "metric": settings.metric, "mode": settings.mode}
    match settings.scheduler:
        case "asha":
            return schedulers.AsyncHyperBandScheduler(
                **common,
                max_t=horizon,
                grace_period=settings.grace_period,
                reduction_factor=settings.reduction_factor,
                brackets=settings.brackets,
            )
        case "hyperband":
            return schedulers.HyperBandScheduler(**common, max_t=horizon, reduction_factor=settings.reduction_factor)
        case "median":
            return schedulers.MedianStoppingRule(
                **common,
                grace_period=settings.grace_period,
                min_samples_required=settings.min_samples,
                min_time_slice=np.inf,  # type: ignore[arg-type]
                hard_stop=True,
            )
        case "none":
            return schedulers.FIFOScheduler()


def make_stopper(settings: EarlyStopping) -> Stopper | None:
    """Ray's stopper of `stop_when`, or None where there is no rule. A result holds the measures by name, and `TIME`."""
    from ray.tune.stopper import CombinedStopper, FunctionStopper

    rules = [FunctionStopper(rule) for rule in rules_of(settings.stop_when or StopWhen())]
    return CombinedStopper(*rules) if rules else None


@contextmanager
def drawing() -> Iterator[Callable[[str], None]]:
    """For asha, which draws brackets from numpy's global generator: in this context what it gives seeds that generator
    by a text, and after it the generator is as before.

    A referee seeds the draw of a member with f"{seed} {id}"; native trials that are to get the same have to as well.
    To keep the generator's state takes 80 µs, to seed it 4.
    """
    state = np.random.get_state()
    try:
        yield lambda text: np.random.seed(zlib.crc32(text.encode()))
    finally:
        np.random.set_state(state)
