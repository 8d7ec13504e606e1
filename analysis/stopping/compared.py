"""What a study of early stopping compares: schedulers at their settings, the metrics they see, and i-epoch rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_modules.errors import choices
from sweeps.errors import SweepError
from sweeps.planning.plan import Plan
from sweeps.replay.baselines import IEpoch
from sweeps.spec.stopping import EarlyStopping, Mode, Scheduler, sense
from sweeps.spec.stopping_file import check_times, of_scheduler, rungs
from sweeps.store.records import MEASURES, ON_DEMAND

SCHEDULERS: tuple[Scheduler, ...] = ("asha", "hyperband", "median")
CLEAN = "test_accuracy"
NOISY = "validation_accuracy"
GRACES = (1, 3, 9, 27)
"""Grace periods, in epochs; those are taken that leave two thirds of the horizon."""
FACTORS = (2, 3, 4)
BRACKETS = 3
KEPT = (None, 9, 3)
"""Of the i-epoch rules: the best alone, one in nine, one in three."""


@dataclass(frozen=True)
class Question:
    """What is compared. schedulers: of `SCHEDULERS`. metrics: what they see. orders: of arrival. workers: trainings
    that run at once. by: the fields that separate searches; None: those of the data that vary, and the seed."""

    schedulers: tuple[str, ...]
    metrics: tuple[str, ...]
    orders: int = 20
    workers: int = 8
    by: tuple[str, ...] | None = None


def question(
    plan: Plan, schedulers: Sequence[str], metrics: Sequence[str], orders: int, workers: int, by: Sequence[str]
) -> Question:
    """As a command line asks it: nothing named is everything, and `validation_accuracy` beside `test_accuracy`.

    Raises SweepError that names the option.
    """
    for name in schedulers:
        if name not in SCHEDULERS:
            raise SweepError("", "--scheduler", choices(name, SCHEDULERS))
    held_out = all(cell.point.validation_fraction for cell in plan.cells)
    seen = tuple(dict.fromkeys(metrics)) or ((NOISY, CLEAN) if held_out else (CLEAN,))
    asked = Question(tuple(dict.fromkeys(schedulers)) or SCHEDULERS, seen, orders, workers, tuple(by) or None)
    settings_of(asked, max(plan.horizons.values()))
    return asked


def settings_of(asked: Question, horizon: int) -> dict[str, list[EarlyStopping]]:
    """By metric: every scheduler at its settings. Raises SweepError for an unknown metric, and for one without a better
    end."""
    graces = _graces(horizon)
    judged: list[dict[str, int]] = [{"grace_period": grace} for grace in graces]
    others = [{"reduction_factor": factor} for factor in FACTORS if factor != 3]
    grid = {
        "asha": [*judged, *others, {"brackets": BRACKETS}],  # one setting is changed at a time
        "hyperband": [{"reduction_factor": factor} for factor in FACTORS],
        "median": judged,
    }
    found: dict[str, list[EarlyStopping]] = {}
    for metric in asked.metrics:
        given = {"metric": metric, **({} if sense(metric) else {"mode": _better(metric)})}
        made = [
            of_scheduler("", {"scheduler": scheduler, **given, **each}, within="--")
            for scheduler in asked.schedulers
            for each in grid[scheduler]
        ]
        found[metric] = [each for each in made if each.brackets <= rungs(each, horizon)]
        for each in found[metric]:
            check_times(each, horizon, within="--")
    return found


def i_epochs(metric: str, horizon: int, members: int) -> dict[str, IEpoch]:
    """Under their names in words: the rules that train all for i epochs, then the best k of them."""
    mode = sense(metric) or _better(metric)
    made = {}
    for epochs in _graces(horizon):
        spent = f"{epochs} epoch{'s' if epochs > 1 else ''}"
        for part in KEPT:
            keep = max(1, round(members / part)) if part else 1
            words = f"top 1 in {part}" if part else "top 1"
            made[f"i-epoch({metric} {mode}, {spent}, {words})"] = IEpoch(metric, mode, epochs, keep)
    return made


def _graces(horizon: int) -> list[int]:
    return [grace for grace in GRACES if 3 * grace <= horizon] or [1]


def _better(metric: str) -> Mode:
    from analysis.words import METRICS

    better = {name: METRICS[name].better for name in (*MEASURES, *ON_DEMAND) if name in METRICS}
    if better.get(metric) is None:
        problem = (
            f"has to be recorded, and to have a better end; {choices(metric, [n for n, b in better.items() if b])}"
        )
        raise SweepError("", "--metric", problem)
    return "max" if better[metric] == "higher" else "min"
