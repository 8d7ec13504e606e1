"""The choice between Ray and this process for a plan that may train on either of them."""

from __future__ import annotations

from dataclasses import replace

from sweeps.execution.resources import OVERHEADS, local_resources
from sweeps.planning.explain import predicted_seconds
from sweeps.planning.plan import Plan


def packed_for_this_process(on_ray: Plan) -> Plan | None:
    """Return the plan packed for training in this process, or None if it is predicted to end earlier on Ray.

    The prediction includes the time until the first training. It is longer on Ray, which starts itself and its workers,
    and always by the same factor, because a start in this process is a part of it. Which trainings early stopping ends
    depends on which of them run at once, so such a plan trains on Ray.
    """
    if on_ray.early_stopping or not on_ray.missing:
        return None
    seconds = predicted_seconds(on_ray)
    alone = sum(on_ray.seconds(cohort) for cohort in on_ray.cohorts)
    if alone > 2 * seconds:  # another packing does not halve the time; a large plan is not packed twice
        return None
    packing = local_resources(1, "inline").packing(1, on_ray.packing.max_cohort)
    here = replace(on_ray, packing=packing)
    # A run in this process may have been measured while it made a data set, and no run on Ray yet.
    start = on_ray.packing.startup_seconds * OVERHEADS["inline"][0] / OVERHEADS["ray"][0]
    training = predicted_seconds(here) - here.packing.startup_seconds
    return here if start + training <= seconds else None
