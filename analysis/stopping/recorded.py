"""The two tables behind a study of early stopping: recorded curves, and the epochs at which replays stop trainings.

`curves` has one row per training and evaluated epoch; the trainings ran to their horizon. `stops` has one row per
(signal, setting, order, trajectory_id) of a replay, with the columns of `STOPS`.

A *search* is the set of trainings among which one scheduler decides. They share the seed and the problem, which is the
data with their noise: it is given to a practitioner, not chosen. The seeds are the sample, and the orders of arrival
are repeated measurements of the same search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError, unknown
from analysis.statistics.regime_rules import Rule
from analysis.statistics.regimes import name_regimes
from analysis.tables.cells import check_columns, levels
from analysis.words import AXES, METRICS, setting
from lightning_modules.settings import problem_fields

STOPS = {
    "signal": "the metric that the scheduler saw",
    "scheduler": "asha, hyperband, median, or a baseline: i-epoch, random, none, oracle",
    "setting": "the scheduler with its settings, in words",
    "order": "number of the order of arrival",
    "trajectory_id": "the training",
    "stop_epoch": "last epoch trained; 0: never begun",
    "finished": "whether it reached its horizon",
    "horizon": "epochs that the sweep asks of it",
}
"""The meaning of each column of a table of stops."""


@dataclass(frozen=True)
class Recorded:
    """Unstopped curves, divided into searches.

    Attributes:
        curves: One row per training and evaluated epoch.
        members: One row per training (index: `trajectory_id`), with its fields, `search` (a number), `problem` (in
            words; "" if there is only one), `horizon`, and `regime` (at the horizon; NaN for a training without a row
            at the horizon, such as one that diverged).
        by: The fields that separate searches.
        epochs: The evaluated epochs, ascending.
    """

    curves: pd.DataFrame
    members: pd.DataFrame
    by: tuple[str, ...]
    epochs: np.ndarray

    @property
    def problems(self) -> list[str]:
        """The problems in words, ordered by the values of their fields."""
        return list(dict.fromkeys(self.members.sort_values("search")["problem"]))

    @property
    def samples(self) -> pd.DataFrame:
        """The `search`, `problem` and `seed` of each member; the seed is 0 if a search contains all seeds."""
        seed = self.members["seed"] if "seed" in self.by else 0
        return self.members[["search", "problem"]].assign(seed=seed)

    def has(self, column: str) -> bool:
        """Return whether a measure was recorded. One that does not apply, such as of corrupted labels, is null."""
        return column in self.curves and bool(self.curves[column].notna().any())

    def values(self, metric: str) -> pd.DataFrame:
        """Return a metric in its stored unit, with one row per member and one column per evaluated epoch.

        Values that were not measured are NaN.

        Raises:
            AnalysisError: The metric was not recorded.
        """
        about = METRICS.get(metric)
        column = (about.complement or metric) if about else metric
        if about is None or not self.has(column):
            raise unknown("metric", metric, [name for name in METRICS if self.has(name)])
        taken = pd.to_numeric(self.curves[column]).astype(float).replace([np.inf, -np.inf], np.nan)
        table = taken.set_axis(pd.MultiIndex.from_frame(self.curves[["trajectory_id", "epoch"]])).unstack()
        table = table.reindex(index=self.members.index, columns=self.epochs)
        return 1 - table if about.complement else table

    def final(self, metric: str) -> pd.Series:
        """Return the metric at each member's horizon; NaN for a member without a row at that epoch."""
        return at_epoch(self.values(metric), self.members["horizon"])

    def until(self, metric: str, epochs: pd.Series) -> pd.Series:
        """Return the last value of a metric at or before each epoch; NaN if there is no such value.

        Args:
            metric: The metric.
            epochs: The epochs (index: `trajectory_id`, which may repeat).
        """
        table = self.values(metric).ffill(axis=1).to_numpy()
        rows = self.members.index.get_indexer(epochs.index)
        columns = np.searchsorted(self.epochs, epochs.to_numpy(), side="right") - 1
        values = np.where((columns >= 0) & (epochs.to_numpy() > 0), table[rows, np.maximum(columns, 0)], np.nan)
        return pd.Series(values, epochs.index)


def recorded(
    curves: pd.DataFrame,
    by: Sequence[str] | None = None,
    *,
    chance: float | None = None,
    rule: str | Rule = "relative",
) -> Recorded:
    """Divide curves into searches.

    Args:
        curves: The columns `trajectory_id`, `epoch`, every field, and the measures. A training's horizon is its
            `epochs`.
        by: The fields that separate searches; by default the fields of the problem that vary, and `seed`.
        chance: See `regimes.name_regimes`.
        rule: See `regimes.name_regimes`.

    Raises:
        AnalysisError: The curves have no rows, or a field is unknown.
    """
    if curves.empty:
        raise AnalysisError("curves", "curves: given none, as no training has been evaluated; run the sweep first")
    curves = curves.assign(trajectory_id=curves["trajectory_id"].astype(str)).sort_values(["trajectory_id", "epoch"])
    curves = curves.drop_duplicates(["trajectory_id", "epoch"], ignore_index=True)
    fields = [name for name in AXES if name in curves and name not in ("epoch", "parameters", "randomization")]
    members = curves.drop_duplicates("trajectory_id").set_index("trajectory_id")[fields]
    parameters = curves.groupby("trajectory_id")["parameters"].max() if "parameters" in curves else None
    members = members.assign(horizon=members["epochs"].astype(int), parameters=parameters)
    separate = tuple(dict.fromkeys([*_varying(members, problem_fields()), "seed"] if by is None else by))
    for name in separate:
        if name not in members:
            raise unknown("by", name, fields)
    codes = [pd.factorize(members[name], sort=True, use_na_sentinel=False)[0] for name in separate]
    members["search"] = pd.factorize(pd.MultiIndex.from_arrays(codes), sort=True)[0] if codes else 0
    told = [name for name in _varying(members, separate) if name != "seed"]
    phrases = [[setting(name, value) for value in members[name]] for name in told]
    members["problem"] = [", ".join(words) for words in zip(*phrases, strict=True)] if told else ""
    members["regime"] = _regimes(curves, members, chance, rule)
    return Recorded(curves, members, separate, np.sort(curves["epoch"].unique()))


def at_epoch(table: pd.DataFrame, epochs: pd.Series) -> pd.Series:
    """Pick each member's value at its own epoch.

    Args:
        table: One row per member and one column per epoch.
        epochs: The epoch of each member.

    Returns:
        One value per row of `table`; NaN if the row's epoch has no column.
    """
    columns = table.columns.get_indexer(epochs.reindex(table.index))
    values = np.where(columns >= 0, table.to_numpy()[np.arange(len(table)), columns], np.nan)
    return pd.Series(values, table.index)


def check_stops(stops: pd.DataFrame, unstopped: Recorded) -> pd.DataFrame:
    """Check a table of stops, and add its members' `search`, `problem` and `seed` (see `Recorded.samples`).

    Raises:
        AnalysisError: A column is missing, a training was not recorded, or a stop epoch is not in 0..horizon.
    """
    check_columns(stops, STOPS, "stops")
    if stops.empty:
        raise AnalysisError("stops", "stops: given a table without rows; valid is one row a replayed training")
    strange = set(stops["trajectory_id"].astype(str)) - set(unstopped.members.index)
    if strange:
        raise AnalysisError(
            "trajectory_id", f"trajectory_id: given {len(strange)} that have no curve, such as {min(strange)}"
        )
    beyond = stops[(stops["stop_epoch"] > stops["horizon"]) | (stops["stop_epoch"] < 0)]
    if len(beyond):
        first = beyond.iloc[0]
        given = f"given {first['stop_epoch']} of {first['trajectory_id']}; valid: 0 to {first['horizon']}"
        raise AnalysisError("stop_epoch", f"stop_epoch: {given}")
    stops = stops.assign(trajectory_id=stops["trajectory_id"].astype(str))
    return stops.join(unstopped.samples, on="trajectory_id")


def sign(metric: str) -> float:
    """Return 1 if higher values of a metric are better, and -1 if lower values are better.

    Raises:
        AnalysisError: The metric is unknown, or neither direction is better.
    """
    better = METRICS[metric].better if metric in METRICS else None
    if better is None:
        raise unknown("metric", metric, [name for name, about in METRICS.items() if about.better])
    return 1.0 if better == "higher" else -1.0


def _varying(members: pd.DataFrame, names: Sequence[str]) -> list[str]:
    return [name for name in names if name in members and len(levels(members, name)) > 1]


def _regimes(curves: pd.DataFrame, members: pd.DataFrame, chance: float | None, rule: str | Rule) -> pd.Series:
    ends = curves[curves["epoch"].to_numpy() == members["horizon"].reindex(curves["trajectory_id"]).to_numpy()]
    named = name_regimes(ends.assign(outcome="finished"), rule, chance=chance, curves=curves)
    return named.set_axis(ends["trajectory_id"]).reindex(members.index)
