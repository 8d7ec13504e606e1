"""The comparisons of a study of early stopping: schedulers and their settings, metrics, and i-epoch rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_modules.errors import choices
from lightning_modules.measures.catalogue import ALL_MEASURES
from sweeps.errors import SweepError
from sweeps.planning.plan import Plan
from sweeps.replay.baselines import IEpoch
from sweeps.spec.stopping import SCHEDULERS, EarlyStopping, Mode, judging_schedulers, sense
from sweeps.spec.stopping_file import check_times, of_scheduler, rungs

CLEAN = "test_accuracy"
NOISY = "validation_accuracy"
GRACES = (1, 3, 9, 27)
"""Grace periods, in epochs. Only those of at most one third of the horizon are used."""
FACTORS = (2, 3, 4)
BRACKETS = 3
KEPT = (None, 9, 3)
"""The fraction of trainings that the i-epoch rules keep: only the best (None), one in nine, or one in three."""


@dataclass(frozen=True)
class Question:
    """The comparisons that a study of early stopping makes.

    Attributes:
        schedulers: Names from `judging_schedulers()`.
        metrics: The metrics that the schedulers see.
        orders: The number of orders of arrival.
        workers: The number of trainings that run at once.
        by: The fields that separate searches. None means the fields of the data that vary, and the seed.
    """

    schedulers: tuple[str, ...]
    metrics: tuple[str, ...]
    orders: int = 20
    workers: int = 8
    by: tuple[str, ...] | None = None


def question(
    plan: Plan, schedulers: Sequence[str], metrics: Sequence[str], orders: int, workers: int, by: Sequence[str]
) -> Question:
    """Build a question from command-line options.

    If no schedulers are given, all are compared. If no metrics are given, the schedulers see `test_accuracy`, preceded
    by `validation_accuracy` if every point holds out validation data.

    Raises:
        SweepError: An option is invalid; the error names it.
    """
    valid = judging_schedulers()
    for name in schedulers:
        if name not in valid:
            raise SweepError("", "--scheduler", choices(name, valid))
    held_out = all(cell.point.validation_fraction for cell in plan.cells)
    seen = tuple(dict.fromkeys(metrics)) or ((NOISY, CLEAN) if held_out else (CLEAN,))
    asked = Question(tuple(dict.fromkeys(schedulers)) or valid, seen, orders, workers, tuple(by) or None)
    settings_of(asked, max(plan.horizons.values()))
    return asked


def settings_of(asked: Question, horizon: int) -> dict[str, list[EarlyStopping]]:
    """Return the settings to compare for each metric: those of every scheduler, with one option changed at a time.

    Raises:
        SweepError: A metric is unknown, or has no direction that is better.
    """
    values = {"grace_period": _graces(horizon), "reduction_factor": FACTORS, "brackets": (BRACKETS,)}
    settings: dict[str, list[EarlyStopping]] = {}
    for metric in asked.metrics:
        given = {"metric": metric, **({} if sense(metric) else {"mode": _better(metric)})}
        candidates = [
            of_scheduler("", {"scheduler": scheduler, **given, **options}, within="--")
            for scheduler in asked.schedulers
            for options in [{name: value} for name in SCHEDULERS[scheduler].settings for value in values.get(name, ())]
            or [{}]
        ]
        distinct = dict.fromkeys(candidates)  # every option at its default gives the same candidate
        settings[metric] = [stopping for stopping in distinct if stopping.brackets <= rungs(stopping, horizon)]
        for stopping in settings[metric]:
            check_times(stopping, horizon, within="--")
    return settings


def i_epochs(metric: str, horizon: int, members: int) -> dict[str, IEpoch]:
    """Return the rules that train all members for i epochs and then only the best k, keyed by their names."""
    mode = sense(metric) or _better(metric)
    rules = {}
    for epochs in _graces(horizon):
        spent = f"{epochs} epoch{'s' if epochs > 1 else ''}"
        for part in KEPT:
            keep = max(1, round(members / part)) if part else 1
            words = f"top 1 in {part}" if part else "top 1"
            rules[f"i-epoch({metric} {mode}, {spent}, {words})"] = IEpoch(metric, mode, epochs, keep)
    return rules


def _graces(horizon: int) -> list[int]:
    return [grace for grace in GRACES if 3 * grace <= horizon] or [1]


def _better(metric: str) -> Mode:
    better = {name: about.better for name, about in ALL_MEASURES.items() if about.better}
    if metric not in better:
        raise SweepError("", "--metric", f"has to be recorded, and to have a better end; {choices(metric, better)}")
    return "max" if better[metric] == "higher" else "min"
