"""Parsing of early-stopping settings in sweep files or on the command line, and checks against the sweep."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from lightning_modules.errors import choices, quoted
from lightning_modules.measures.catalogue import ALL_MEASURES, COLUMNS_ON_DEMAND, measure_of
from sweeps.errors import SweepError
from sweeps.spec.point import Point, training_form
from sweeps.spec.stopping import SCHEDULERS, EarlyStopping, Mode, Onset, Plateau, StopWhen, sense

if TYPE_CHECKING:
    from sweeps.spec.evaluation import Evaluation, Measurement

EARLY_STOPPING = "early_stopping"
STOP_WHEN = "stop_when"
RULES = ("interpolated", "plateau", "memorization_onset", "budget")

MOST = 1_000_000_000
"""The largest whole number of a setting: no sweep has more epochs, evaluations or trainings."""

_Check = tuple[Callable[[Any], bool], str]


def _whole(noun: str) -> _Check:
    return lambda value: type(value) is int and 1 <= value <= MOST, f"{noun} of at least 1 and at most {MOST:,}"


_WHOLE = _whole("a whole number")
# A factor close to 1 would give millions of rungs.
_FACTOR: _Check = (
    lambda value: _is_real(value) and 1.01 <= value <= 10**6,
    "a number of at least 1.01 and at most 1,000,000",
)
_TOLERANCE: _Check = (
    lambda value: _is_real(value) and 0 <= value <= 10**6,
    "a number of at least 0 and at most 1,000,000",
)
_NUMBERS = {"grace_period": _WHOLE, "reduction_factor": _FACTOR, "brackets": _WHOLE, "min_samples": _WHOLE}


def parse(source: str, content: Mapping[str, Any]) -> EarlyStopping | None:
    """Parse the keys early_stopping and stop_when of a sweep file, or return None without them. Raises SweepError."""
    if EARLY_STOPPING not in content and STOP_WHEN not in content:
        return None
    rules = _stop_when(source, content[STOP_WHEN]) if STOP_WHEN in content else None
    if EARLY_STOPPING not in content:
        return EarlyStopping(stop_when=rules)
    return of_scheduler(source, content[EARLY_STOPPING], rules, f"{EARLY_STOPPING}.")


def of_scheduler(source: str, given: Any, rules: StopWhen | None = None, within: str = "") -> EarlyStopping:
    """Parse a mapping with the keys `scheduler`, `metric`, ... Settings that are not given keep their defaults.

    Args:
        source: The name of the file, for error messages.
        given: The mapping.
        rules: The rules of `stop_when`, which are added to the result.
        within: The prefix of the keys in error messages.

    Raises:
        SweepError: If a key or value is unknown, or if the scheduler does not have one of the settings.
    """
    if not isinstance(given, Mapping):
        raise SweepError(
            source, within.rstrip("."), f"given {quoted(given)}; valid: a mapping with scheduler, metric, ..."
        )
    scheduler = given.get("scheduler")
    if not isinstance(scheduler, str) or scheduler not in SCHEDULERS:
        raise SweepError(source, f"{within}scheduler", choices(scheduler, SCHEDULERS))
    own = ("scheduler", "metric", "mode", *SCHEDULERS[scheduler].settings) if scheduler != "none" else ("scheduler",)
    for key in given:
        if key in own:
            continue
        if key in _NUMBERS or key in ("metric", "mode"):
            problem = f"but {scheduler} has no such setting; it has {', '.join(own[1:]) or 'none'}"
            raise SweepError(source, f"{within}{key}", f"given {quoted(given[key])}, {problem}")
        raise SweepError(source, f"{within}{key}", f"unknown key; {choices(key, own)}")
    if scheduler == "none":
        return EarlyStopping(stop_when=rules)
    metric = _metric(source, f"{within}metric", given.get("metric"))
    mode = _mode(source, f"{within}mode", metric, given.get("mode"))
    numbers = {name: given[name] for name in SCHEDULERS[scheduler].settings if name in given}
    for name, value in numbers.items():
        _require(source, f"{within}{name}", value, _NUMBERS[name])
    return EarlyStopping(scheduler, metric, mode, stop_when=rules, **numbers)


def _stop_when(source: str, given: Any) -> StopWhen:
    if not isinstance(given, Mapping) or not given:
        raise SweepError(source, STOP_WHEN, f"given {quoted(given)}; valid: a mapping with some of {', '.join(RULES)}")
    for key in given:
        if key not in RULES:
            raise SweepError(source, f"{STOP_WHEN}.{key}", f"unknown key; {choices(key, RULES)}")
    if "interpolated" in given:
        share: _Check = (lambda value: _is_real(value) and 0 < value <= 1, "a train_accuracy above 0 and at most 1")
        _require(source, f"{STOP_WHEN}.interpolated", given["interpolated"], share)
    if "budget" in given:
        _require(source, f"{STOP_WHEN}.budget", given["budget"], _whole("a whole number of epochs"))
    return StopWhen(
        interpolated=given.get("interpolated"),
        plateau=_plateau(source, given["plateau"]) if "plateau" in given else None,
        memorization_onset=_onset(source, given["memorization_onset"]) if "memorization_onset" in given else None,
        budget=given.get("budget"),
    )


def _plateau(source: str, given: Any) -> Plateau:
    where = f"{STOP_WHEN}.plateau"
    given = _keys(source, where, given, ("metric", "mode", "patience", "tolerance"), ("metric", "patience"))
    metric = _metric(source, f"{where}.metric", given["metric"])
    _require(source, f"{where}.patience", given["patience"], _whole("a number of evaluations"))
    tolerance = given.get("tolerance", 0.0)
    _require(source, f"{where}.tolerance", tolerance, _TOLERANCE)
    mode = _mode(source, f"{where}.mode", metric, given.get("mode"))
    return Plateau(metric, mode, given["patience"], float(tolerance))


def _onset(source: str, given: Any) -> Onset:
    where = f"{STOP_WHEN}.memorization_onset"
    if type(given) is int:
        given = {"evaluations": given}
    given = _keys(source, where, given, ("evaluations", "metric"), ("evaluations",))
    _require(source, f"{where}.evaluations", given["evaluations"], _WHOLE)
    metric = _metric(source, f"{where}.metric", given.get("metric", Onset.metric))
    if sense(metric) is None:
        raise SweepError(source, f"{where}.metric", f"given {quoted(metric)}; valid: an accuracy or a loss")
    return Onset(given["evaluations"], metric)


def _keys(source: str, where: str, given: Any, valid: Sequence[str], needed: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise SweepError(source, where, f"given {quoted(given)}; valid: a mapping with {', '.join(valid)}")
    for key in given:
        if key not in valid:
            raise SweepError(source, f"{where}.{key}", f"unknown key; {choices(key, valid)}")
    for key in needed:
        if key not in given:
            raise SweepError(source, where, f"has no {key}, which it needs; its keys: {', '.join(valid)}")
    return given


def _metric(source: str, where: str, given: Any) -> str:
    if given is None:
        raise SweepError(source, where, f"is needed; valid: {', '.join(sorted(ALL_MEASURES))}")
    if not isinstance(given, str) or given not in ALL_MEASURES:
        raise SweepError(source, where, f"unknown measure; {choices(given, ALL_MEASURES)}")
    return given


def _mode(source: str, where: str, metric: str, given: Any) -> Mode:
    found = given if given is not None else sense(metric)
    if found in get_args(Mode):
        return cast(Mode, found)
    needed = f"is needed: {metric} does not say by itself which way is better"
    why = needed if given is None else f"given {quoted(given)}"
    raise SweepError(source, where, f"{why}; valid: max, min")


def _require(source: str, where: str, value: Any, check: _Check) -> None:
    holds, valid = check
    if not holds(value):
        raise SweepError(source, where, f"given {quoted(value)}; valid: {valid}")


def _is_real(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def check(
    settings: EarlyStopping, source: str, points: Collection[Point], evaluation: Evaluation, measurement: Measurement
) -> None:
    """Check that the points can be judged: all have the metrics, and the settings fit into the longest horizon.

    Raises:
        SweepError: If the points cannot be judged. The error names the key.
    """
    horizon = max(point.epochs for point in points)
    if settings.metric:
        _check_recorded(f"{EARLY_STOPPING}.metric", settings.metric, source, points, evaluation, measurement)
        check_times(settings, horizon, source, f"{EARLY_STOPPING}.")
    rules = settings.stop_when or StopWhen()
    if rules.plateau:
        key = f"{STOP_WHEN}.plateau.metric"
        _check_recorded(key, rules.plateau.metric, source, points, evaluation, measurement)
    if rules.memorization_onset:
        key = f"{STOP_WHEN}.memorization_onset"
        if not any(point.label_noise for point in points):
            raise SweepError(source, key, "needs label_noise above 0 on some points, and all have 0")
        metric = rules.memorization_onset.metric
        _check_recorded(f"{key}.metric", metric, source, points, evaluation, measurement)
    if rules.budget is not None and rules.budget >= horizon:
        given = f"given {rules.budget}, which stops nothing before the horizon of {horizon} epochs"
        raise SweepError(source, f"{STOP_WHEN}.budget", f"{given}; valid: fewer than {horizon} epochs")


def check_times(settings: EarlyStopping, horizon: int, source: str = "", within: str = "") -> None:
    """Check that the grace period ends by the horizon, and that every bracket has a rung.

    Raises:
        SweepError: If one of the checks fails. The key of the error begins with `within`.
    """
    if "grace_period" in SCHEDULERS[settings.scheduler].settings and settings.grace_period > horizon:
        given = f"given {settings.grace_period}, beyond the horizon of {horizon} epochs"
        raise SweepError(source, f"{within}grace_period", f"{given}; valid: 1 to {horizon}")
    if settings.scheduler == "asha" and settings.brackets > (most := rungs(settings, horizon)):
        given = f"given {settings.brackets}, but there are {most} rungs up to the horizon of {horizon} epochs"
        problem = f"{given}, and a bracket without a rung stops nothing; valid: 1 to {most}"
        raise SweepError(source, f"{within}brackets", problem)


def rungs(settings: EarlyStopping, horizon: int) -> int:
    """Return the number of rungs in asha's first bracket: grace_period · reduction_factor^k up to the horizon.

    Ray counts the rungs in the same way.
    """
    return int(np.log(horizon / settings.grace_period) / np.log(settings.reduction_factor) + 1)


def _check_recorded(
    key: str, metric: str, source: str, points: Iterable[Point], evaluation: Evaluation, measurement: Measurement
) -> None:
    def refuse(problem: str) -> None:
        raise SweepError(source, key, f"given {metric}, {problem}")

    if metric in COLUMNS_ON_DEMAND:
        measure = measure_of(metric)
        if measure not in measurement.epochs:
            refuse(f"which is recorded only where the sweep asks for it; write measure: [{{{measure}: [epochs]}}]")
        asked: dict[str, set[int]] = {}
        for point in points:
            asked.setdefault(training_form(point), set()).add(point.epochs)
        for epochs in {tuple(sorted(each)) for each in asked.values()}:
            measured = measurement.at(epochs)
            lacking = [
                str(epoch)
                for epoch in evaluation.epochs(epochs[-1], {*epochs, *measured})
                if epoch and measure not in measured.get(epoch, ())
            ]
            if lacking:
                few = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
                refuse(
                    f"but the sweep does not measure {measure} at the evaluated epochs {few}; name them under measure"
                )
        return
    needs = ALL_MEASURES[metric].needs
    for point in points:
        if needs == "held_out" and not point.validation_fraction:
            refuse(
                "but points have validation_fraction 0; hold a part of the training data out, or take another metric"
            )
        if needs == "corrupted" and not point.label_noise:
            refuse("but points have label_noise 0, where it is not defined; take another metric")
