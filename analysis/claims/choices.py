"""Effects at settings that are chosen from the data, without the bias of choosing and measuring on the same trainings.

The best of several settings looks better than it is, because it was chosen for its good results. Therefore each seed is
measured at the setting that is chosen on the other seeds (leave-one-out cross-fitting), so that no training is used
both for choosing and for measuring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd

from analysis.claims.rows import Evidence, Where, chosen, drawn
from analysis.statistics.estimates import Effects
from analysis.tables.cells import over_epochs
from analysis.words import value_labels


class Choice(Protocol):
    """A rule that chooses one level of a field."""

    def __call__(self, means: pd.DataFrame) -> Any:
        """Choose a level.

        Args:
            means: Means over the other seeds, with one row per level of the field, ascending, and one column per
                reading.

        Returns:
            One of the levels in the index, or None if no level satisfies the rule.
        """


@dataclass(frozen=True)
class First:
    """Choose the lowest level."""

    def __call__(self, means: pd.DataFrame) -> Any:
        return means.index[0]


@dataclass(frozen=True)
class Last:
    """Choose the highest level."""

    def __call__(self, means: pd.DataFrame) -> Any:
        return means.index[-1]


@dataclass(frozen=True)
class Highest:
    """Choose the level with the highest value of `column`, excluding the lowest level if `beyond_first`."""

    column: str = "value"
    beyond_first: bool = False

    def __call__(self, means: pd.DataFrame) -> Any:
        return (means.iloc[1:] if self.beyond_first else means)[self.column].idxmax()


@dataclass(frozen=True)
class Lowest:
    """Choose the level with the lowest value of `column`."""

    column: str = "value"

    def __call__(self, means: pd.DataFrame) -> Any:
        return means[self.column].idxmin()


@dataclass(frozen=True)
class Threshold:
    """Choose the lowest level at which `column` is at most `most`, such as the smallest width that fits the labels."""

    column: str
    most: float

    def __call__(self, means: pd.DataFrame) -> Any:
        hits = means.index[means[self.column] <= self.most]
        return hits[0] if len(hits) else None


@dataclass(frozen=True)
class Below:
    """Choose the level with the lowest `column` among those below the threshold: the end of the first descent."""

    threshold: Threshold
    column: str = "value"

    def __call__(self, means: pd.DataFrame) -> Any:
        end = self.threshold(means)
        before = means if end is None else means[means.index < end]
        return before[self.column].idxmin() if len(before) else None


@dataclass(frozen=True)
class PeakAfter:
    """Choose the level with the highest value of `column` at or after the level chosen by `below`."""

    below: Below
    column: str = "value"

    def __call__(self, means: pd.DataFrame) -> Any:
        start = self.below(means)
        return None if start is None else means[means.index >= start][self.column].idxmax()


@dataclass(frozen=True)
class Cheapest:
    """Choose the level with the lowest value of `column` among the affordable levels, excluding the lowest level.

    The cost of a level is the value of `price` at the lowest level minus its value at this level. A level is affordable
    if its cost is at most `most`. If no level is affordable, the one with the lowest cost is chosen.
    """

    column: str
    price: str
    most: float

    def __call__(self, means: pd.DataFrame) -> Any:
        cost = means[self.price].iloc[0] - means[self.price].iloc[1:]
        fair = cost.index[cost <= self.most]
        return means.loc[fair, self.column].idxmin() if len(fair) else cost.idxmin()


@dataclass(frozen=True)
class Reading:
    """A metric, averaged over the points that satisfy the conditions `where`."""

    value: str
    where: Where = field(default_factory=dict)


@dataclass(frozen=True)
class AtChosen:
    """The difference between two levels of a field, each chosen on the means of all other seeds.

    The number of a seed is the reading named `read` at the level chosen by `this`, minus the same reading at the level
    chosen by `that`.

    Attributes:
        field: A field of the sweep, or `epoch`, whose levels are the epochs at which every training was evaluated.
        this: The choice of the first level.
        that: The choice of the second level; None subtracts nothing.
        readings: The readings by name, averaged over all other fields. A level must have all points of every seed.
        read: The name of the reading that is compared.
    """

    field: str
    this: Choice
    that: Choice | None
    readings: Mapping[str, Reading]
    read: str = "value"

    @property
    def needs(self) -> Sequence[str]:
        return () if self.field == "epoch" else tuple(reading.value for reading in self.readings.values())

    def rows(self, points: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([chosen(points, reading.where) for reading in self.readings.values()])

    def measure(self, evidence: Evidence) -> Effects:
        tables = {name: self._table(evidence, reading) for name, reading in self.readings.items()}
        seeds = sorted(set.intersection(*(set(table.columns) for table in tables.values())))
        whole = [table[seeds].dropna().index for table in tables.values()]
        shared = [level for level in whole[0] if all(level in index for index in whole)]
        effects, used = {}, []
        for seed in seeds:
            others = [other for other in seeds if other != seed]
            if not others or not shared:
                effects[seed] = np.nan
                continue
            means = pd.DataFrame({name: table.loc[shared, others].mean(axis=1) for name, table in tables.items()})
            picked = [choice(means) for choice in (self.this, self.that) if choice is not None]
            values = [tables[self.read].loc[level, seed] if level is not None else np.nan for level in picked]
            effects[seed] = values[0] - (values[1] if len(values) > 1 else 0.0)
            used.append(tuple(picked))
        return Effects(pd.Series(effects, dtype=float), note=self._note(used))

    def _table(self, evidence: Evidence, reading: Reading) -> pd.DataFrame:
        """Tabulate a reading by level and seed; NaN if the seed lacks a point or a point has no value."""
        rows = chosen(evidence.points, reading.where)
        if self.field == "epoch":
            rows = over_epochs(rows, evidence.curves)
        # Categories have no natural order, so they are sorted by name.
        codes, names = pd.factorize(rows[self.field], sort=True, use_na_sentinel=False)
        work = pd.DataFrame(
            {"level": codes, "seed": rows["seed"].to_numpy(), "number": drawn(rows, reading.value).to_numpy()}
        )
        grouped = work.groupby(["level", "seed"])["number"]
        mean = grouped.mean().where(grouped.count() == grouped.size()).unstack()
        size = grouped.size().unstack()
        table = mean.where(size.eq(size.max(axis=1), axis=0))
        return table.set_axis(pd.Index(names).take(table.index), axis=0)

    def _note(self, used: Sequence[tuple[Any, ...]]) -> str:
        """List the chosen levels, and how often each was chosen."""
        if not used:
            return ""
        parts = []
        for side in zip(*used, strict=True):
            counts = pd.Series([value for value in side if value is not None], dtype=object).value_counts(sort=False)
            labels = value_labels(self.field, list(counts.index)) if len(counts) else []
            often = [f" ({count}×)" if len(counts) > 1 else "" for count in counts]
            parts.append(", ".join(label + times for label, times in zip(labels, often, strict=True)) or "none")
        return f"{'epoch' if self.field == 'epoch' else self.field} {' against '.join(parts)}"


def one(value: str, where: Where | None = None) -> Mapping[str, Reading]:
    """Return readings with a single entry: the name "value", mapped to the reading of this metric."""
    return {"value": Reading(value, where or {})}
