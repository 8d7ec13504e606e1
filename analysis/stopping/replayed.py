"""Summary of a replay: the epochs that each rule trains, its regret, and how often it keeps the best training."""

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
    """A mean with its 95 % interval, whose ends are None if there is only one value."""

    mean: float
    low: float | None
    high: float | None

    def words(self, show: Callable[[float], str]) -> str:
        if self.low is None or self.high is None:
            return show(self.mean)
        return f"{show(self.mean)} [{show(self.low)}, {show(self.high)}]"


@dataclass(frozen=True)
class Line:
    """The results of one rule over the orders of arrival.

    Attributes:
        setting: The rule with its settings, in words.
        scheduler: The name of the scheduler or baseline.
        orders: The number of orders of arrival.
        budget: Epochs trained, as a fraction of the epochs trained without stopping.
        regret: The best final value of all trainings minus that of the trainings that finished (with the opposite
            sign if lower is better), in the metric's unit, at least 0. None if no training finished in any order.
        kept: The fraction of the orders in which a best training finished.
        finished: The mean number of trainings that reached their horizon.
        without: The number of orders in which no training finished, and which therefore have no regret.
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
    """Build early-stopping settings from command-line options, ignoring options that are None.

    Raises:
        SweepError: An option is invalid; the error names it.
    """
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
    """Read the recorded curves of the metrics that the settings use.

    Args:
        plan: The plan of the recorded sweep.
        store: The store to read.
        settings: The settings to replay.
        run: The command that trains missing points, for error messages.

    Raises:
        ReplayError: The sweep cannot be replayed (see `Curves.read`).
    """
    return Curves.read(plan, store, metrics_of([settings]), run)


def lines(curves: Curves, replays: Sequence[Replay], settings: EarlyStopping) -> list[Line]:
    """Summarize replays, one line per rule, in the order of the replays.

    Args:
        curves: The recorded curves.
        replays: The replays, over all orders of arrival.
        settings: Settings with a scheduler; their metric determines which training is best.

    Raises:
        ReplayError: Every training diverged.
    """
    metric, mode = settings.metric, settings.mode
    assert metric is not None
    assert mode is not None
    score = better(curves.final(metric), mode)
    if np.isnan(score).all():
        raise ReplayError(f"{metric}: no training reached its horizon, so that none can be called the best")
    best, whole = np.nanmax(score), curves.lengths.sum()
    groups: dict[tuple[str, str], list[Replay]] = {}
    for replay in replays:
        groups.setdefault((replay.setting, replay.scheduler), []).append(replay)
    rows: list[Line] = []
    for (setting, scheduler), group in groups.items():
        handed = [np.max(score[replay.stops.finished], initial=-np.inf) for replay in group]
        regrets = [best - value for value in handed if value > -np.inf]
        kept = sum(value == best for value in handed)
        rows.append(
            Line(
                setting,
                scheduler,
                len(group),
                mean([replay.stops.epochs.sum() / whole for replay in group]),
                mean(regrets) if regrets else None,
                share(kept, len(group)),
                float(np.mean([replay.stops.finished.sum() for replay in group])),
                len(group) - len(regrets),
            )
        )
    return rows


def mean(values: Sequence[float]) -> Estimate:
    """Average values over the orders, with Student's t interval."""
    centre, low, high = t_interval(values)
    return Estimate(centre, None, None) if len(values) < 2 else Estimate(centre, low, high)


def share(count: int, total: int) -> Estimate:
    """Estimate a proportion, with Wilson's interval."""
    return Estimate(count / total, *(wilson(count, total) if total > 1 else (None, None)))


def for_machines(lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [asdict(line) for line in lines]


def table(lines: Sequence[Line]) -> Table:
    """Render the lines as a table for the terminal."""
    printed = Table(box=None, pad_edge=False)
    for heading in ("rule", "epochs trained", "regret", "kept the best", "finished", "orders"):
        printed.add_column(heading, justify="left" if heading == "rule" else "right", no_wrap=heading != "rule")
    for line in lines:
        regret = line.regret.words(lambda value: f"{value:.4f}") if line.regret else "none finished"
        printed.add_row(
            line.setting,
            line.budget.words(lambda value: f"{value:.1%}"),
            regret + (f" ({line.without} without)" if line.regret and line.without else ""),
            line.kept.words(lambda value: f"{value:.0%}"),
            f"{line.finished:,.1f}",
            str(line.orders),
        )
    return printed
