"""Effects at a setting that the data choose, without letting it profit from its own luck.

The best of several settings looks better than it is, because it was chosen for looking good. So each seed is read at
the setting that the other seeds choose (leave-one-out cross-fitting): choosing and reading never share a training.
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
    """means: a row a level of the field, ascending; a column a reading; averaged over the other seeds."""

    def __call__(self, means: pd.DataFrame) -> Any:
        """One level of the index, or None where none fits."""


@dataclass(frozen=True)
class First:
    """The lowest level."""

    def __call__(self, means: pd.DataFrame) -> Any:
        return means.index[0]


@dataclass(frozen=True)
class Last:
    """The highest level."""

    def __call__(self, means: pd.DataFrame) -> Any:
        return means.index[-1]


@dataclass(frozen=True)
class Highest:
    """The level with the highest reading; beyond_first: the lowest level left out."""

    column: str = "value"
    beyond_first: bool = False

    def __call__(self, means: pd.DataFrame) -> Any:
        return (means.iloc[1:] if self.beyond_first else means)[self.column].idxmax()


@dataclass(frozen=True)
class Lowest:
    """The level with the lowest reading."""

    column: str = "value"

    def __call__(self, means: pd.DataFrame) -> Any:
        return means[self.column].idxmin()


@dataclass(frozen=True)
class Threshold:
    """The lowest level with a reading of at most this: where networks become just large enough."""

    column: str
    most: float

    def __call__(self, means: pd.DataFrame) -> Any:
        hits = means.index[means[self.column] <= self.most]
        return hits[0] if len(hits) else None


@dataclass(frozen=True)
class Below:
    """The level with the lowest reading of `value`, among those under the threshold's level: the end of the first
    descent."""

    threshold: Threshold
    column: str = "value"

    def __call__(self, means: pd.DataFrame) -> Any:
        end = self.threshold(means)
        before = means if end is None else means[means.index < end]
        return before[self.column].idxmin() if len(before) else None


@dataclass(frozen=True)
class PeakAfter:
    """The level with the highest reading from the end of the first descent on."""

    below: Below
    column: str = "value"

    def __call__(self, means: pd.DataFrame) -> Any:
        start = self.below(means)
        return None if start is None else means[means.index >= start][self.column].idxmax()


@dataclass(frozen=True)
class Cheapest:
    """Beyond the lowest level, the one with the lowest `column`, among those that cost at most `most` of `price`
    against the lowest level; the one of least cost if all cost more."""

    column: str
    price: str
    most: float

    def __call__(self, means: pd.DataFrame) -> Any:
        cost = means[self.price].iloc[0] - means[self.price].iloc[1:]
        fair = cost.index[cost <= self.most]
        return means.loc[fair, self.column].idxmin() if len(fair) else cost.idxmin()


@dataclass(frozen=True)
class Reading:
    """A metric at these settings."""

    value: str
    where: Where = field(default_factory=dict)


@dataclass(frozen=True)
class AtChosen:
    """The reading `read` of a seed at the level `this` of a field minus that at the level `that` (none: nothing is
    taken away), levels chosen on the means of all other seeds.

    field: a field of the sweep, or `epoch`, whose levels are the epochs at which every training was evaluated.
    readings: name -> what is read at a level; other fields are averaged over, and a level counts only if every seed has
    all of it.
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
            read = [tables[self.read].loc[level, seed] if level is not None else np.nan for level in picked]
            effects[seed] = read[0] - (read[1] if len(read) > 1 else 0.0)
            used.append(tuple(picked))
        return Effects(pd.Series(effects, dtype=float), note=self._note(used))

    def _table(self, evidence: Evidence, reading: Reading) -> pd.DataFrame:
        """Level by seed; NaN where a row has no number, or the seed has fewer rows than others there."""
        rows = chosen(evidence.points, reading.where)
        if self.field == "epoch":
            rows = over_epochs(rows, evidence.curves)
        # Kinds have no order of their own: that of their names serves.
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
        """Which levels were chosen, and how often."""
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
    """The only reading."""
    return {"value": Reading(value, where or {})}
