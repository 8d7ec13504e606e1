"""A replay in numbers: what each rule spends, what it costs, and how often it keeps the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.table import Table

from analysis.intervals import t_interval, wilson
from sweeps.errors import ReplayError, SweepError
from sweeps.planning.plan import Plan
from sweeps.replay.curves import Curves, better, metrics_of
from sweeps.replay.replay import Replay
from sweeps.spec.stopping import EarlyStopping
from sweeps.spec.stopping_file import check_times, of_scheduler
from sweeps.store.store import Store

DEFAULT_METRIC = "validation_accuracy"


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; none of one value alone."""

    mean: float
    low: float | None
    high: float | None

    def words(self, show: Callable[[float], str]) -> str:
        if self.low is None or self.high is None:
            return show(self.mean)
        return f"{show(self.mean)} [{show(self.low)}, {show(self.high)}]"


@dataclass(frozen=True)
class Line:
    """Of one rule, over the orders of arrival.

    budget: epochs trained, as a part of what no stopping trains. regret: the best final value of all trainings, less
    that of those that finished (for a metric that is to be low, the other way round), in the metric's unit, at least 0;
    None where no order finished any. kept: the part of the orders in which one that is best of all finished. finished:
    trainings that reached their horizon. without: orders in which none did, which have no regret.
    """

    setting: str
    scheduler: str
    orders: int
    budget: Estimate
    regret: Estimate | None
    kept: Estimate
    finished: float
    without: int


def settings_from(options: Mapping[str, Any], plan: Plan) -> EarlyStopping:
    """What options of a command line say, those that are None left out. Raises SweepError that names the option."""
    given = {name: value for name, value in options.items() if value is not None}
    if "metric" not in given:
        if not all(cell.point.validation_fraction for cell in plan.cells):
            problem = "is needed, since the sweep holds no validation data out; for example test_accuracy"
            raise SweepError("", "--metric", problem)
        given["metric"] = DEFAULT_METRIC
    try:
        settings = of_scheduler("", given, within="--")
        check_times(settings, max(plan.horizons.values()), within="--")
    except SweepError as error:
        raise SweepError("", error.key.replace("_", "-"), error.problem) from None
    return settings


def recorded(plan: Plan, store: Store, settings: EarlyStopping, run: str) -> Curves:
    """The curves that these settings judge. run: the command that trains what is missing. Raises ReplayError."""
    return Curves.read(plan, store, metrics_of([settings]), run)


def lines(curves: Curves, found: Sequence[Replay], settings: EarlyStopping) -> list[Line]:
    """One a rule, in the order of the replays, by the metric of these settings, which have a scheduler.

    Raises ReplayError if every training diverged.
    """
    metric, mode = settings.metric, settings.mode
    assert metric is not None
    assert mode is not None
    score = better(curves.final(metric), mode)
    if np.isnan(score).all():
        raise ReplayError(f"{metric}: no training reached its horizon, so that none can be called the best")
    best, whole = np.nanmax(score), curves.lengths.sum()
    groups: dict[tuple[str, str], list[Replay]] = {}
    for each in found:
        groups.setdefault((each.setting, each.scheduler), []).append(each)
    made = []
    for (setting, scheduler), group in groups.items():
        handed = [np.max(score[each.stops.finished], initial=-np.inf) for each in group]
        regrets = [best - value for value in handed if value > -np.inf]
        kept = sum(value == best for value in handed)
        made.append(
            Line(
                setting,
                scheduler,
                len(group),
                mean([each.stops.epochs.sum() / whole for each in group]),
                mean(regrets) if regrets else None,
                share(kept, len(group)),
                float(np.mean([each.stops.finished.sum() for each in group])),
                len(group) - len(regrets),
            )
        )
    return made


def mean(values: Sequence[float]) -> Estimate:
    """With Student's interval for the mean over the orders."""
    centre, low, high = t_interval(values)
    return Estimate(centre, None, None) if len(values) < 2 else Estimate(centre, low, high)


def share(count: int, total: int) -> Estimate:
    """With Wilson's interval."""
    return Estimate(count / total, *(wilson(count, total) if total > 1 else (None, None)))


def for_machines(found: Sequence[Line]) -> list[dict[str, Any]]:
    return [asdict(line) for line in found]


def table(found: Sequence[Line]) -> Table:
    """For a reader."""
    made = Table(box=None, pad_edge=False)
    for heading in ("rule", "epochs trained", "regret", "kept the best", "finished", "orders"):
        made.add_column(heading, justify="left" if heading == "rule" else "right", no_wrap=heading != "rule")
    for line in found:
        regret = line.regret.words(lambda value: f"{value:.4f}") if line.regret else "none finished"
        made.add_row(
            line.setting,
            line.budget.words(lambda value: f"{value:.1%}"),
            regret + (f" ({line.without} without)" if line.regret and line.without else ""),
            line.kept.words(lambda value: f"{value:.0%}"),
            f"{line.finished:,.1f}",
            str(line.orders),
        )
    return made
