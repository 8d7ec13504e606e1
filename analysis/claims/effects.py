"""Effects, each of which computes one number per seed from the tables of a sweep.

An effect defines which points it reads (`rows`), which metrics these points must have once finished (`needs`), and how
the numbers are computed (`measure`). A seed has a number only if all of its points have a value. Otherwise, points that
are missing from a single seed would shift the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import pandas as pd

from analysis.claims.rows import Evidence, Where, chosen, drawn
from analysis.errors import AnalysisError
from analysis.statistics.estimates import Effects, Estimate
from analysis.statistics.scores import correctness_matrix, overdispersion
from analysis.tables.cells import varying
from analysis.tables.derived import first_epochs


class Effect(Protocol):
    """A comparison that can be measured on the tables of a sweep."""

    def rows(self, points: pd.DataFrame) -> pd.DataFrame:
        """Select the points that the effect reads, regardless of their outcome."""

    @property
    def needs(self) -> Sequence[str]:
        """The metrics that every finished point must have."""

    def measure(self, evidence: Evidence) -> Effects | Estimate:
        """Return one number per seed, or an estimate with its own interval.

        This method is called only after every point has finished or diverged.

        Raises:
            AnalysisError: The evidence lacks a required measure.
        """


@dataclass(frozen=True)
class Level:
    """The mean, lowest or highest value of a metric over the points of a seed."""

    value: str
    where: Where = field(default_factory=dict)
    across: Literal["mean", "min", "max"] = "mean"

    @property
    def needs(self) -> Sequence[str]:
        return (self.value,)

    def rows(self, points: pd.DataFrame) -> pd.DataFrame:
        return chosen(points, self.where)

    def measure(self, evidence: Evidence) -> Effects:
        rows = self.rows(evidence.points)
        numbers = drawn(rows, self.value).groupby(rows["seed"])
        return Effects(numbers.agg(self.across).where(numbers.apply(lambda of_seed: of_seed.notna().all())))


@dataclass(frozen=True)
class Difference:
    """A metric at `this` minus the same metric at `that`, averaged over the pairs of a seed.

    The two points of a pair agree in the seed and in every field except those in `this` and `that`.

    Attributes:
        value: The metric.
        this: The settings of the first point of a pair.
        that: The settings of the second point.
        where: The settings of both points.
        ratio: Whether to compute the ratio instead of the difference.
        censored: Whether the metric is the epoch at which a level is first reached. If the first point of a pair never
            reaches the level, its last epoch is used, which makes the effect a lower bound. If the second point never
            reaches the level, the pair has no number.
    """

    value: str
    this: Where
    that: Where
    where: Where = field(default_factory=dict)
    ratio: bool = False
    censored: bool = False

    @property
    def needs(self) -> Sequence[str]:
        return () if self.censored else (self.value,)

    def rows(self, points: pd.DataFrame) -> pd.DataFrame:
        return pd.concat(self._sides(points))

    def _sides(self, points: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        common = chosen(points, self.where)
        return chosen(common, self.this), chosen(common, self.that)

    def measure(self, evidence: Evidence) -> Effects:
        sides = self._sides(evidence.points)
        compared = {*self.this, *self.that}
        both = pd.concat(sides)
        keys = [name for name in varying(both) if name not in compared]
        numbers = []
        for side, censored in zip(sides, (self.censored, False), strict=True):
            values = drawn(side, self.value)
            if censored:
                values = values.fillna(side["epochs"].where(side["outcome"] == "finished").astype(float))
            index = pd.MultiIndex.from_frame(side[["seed", *keys]].astype(object).fillna("unset"))
            numbers.append(pd.Series(values.to_numpy(), index))
        this, that = numbers
        pairs = pd.DataFrame({"this": this, "that": that})
        if self.ratio:
            effect = np.log(pairs["this"]) - np.log(pairs["that"])
            return Effects(np.exp(_complete_mean(effect)), ratio=True)
        return Effects(_complete_mean(pairs["this"] - pairs["that"]))


def _complete_mean(effect: pd.Series) -> pd.Series:
    """Average per seed (the first level of the index); NaN for a seed with a missing number."""
    grouped = effect.groupby(level=0)
    return grouped.mean().where(grouped.apply(lambda of_seed: bool(np.isfinite(of_seed).all())))


@dataclass(frozen=True)
class FirstAt:
    """The first evaluated epoch at which the column reaches `level`.

    With `of_best`, the level is a fraction of the column's highest value in the training.
    """

    column: str
    level: float
    of_best: bool = False

    def epochs(self, rows: pd.DataFrame, curves: pd.DataFrame) -> pd.Series:
        if not self.of_best:
            return first_epochs(rows, curves, self.column, self.level)["by"]
        best = curves.groupby("trajectory_id")[self.column].transform("max")
        return first_epochs(rows, curves.assign(share=curves[self.column] / best), "share", self.level)["by"]


@dataclass(frozen=True)
class PeakOf:
    """The first evaluated epoch at which the column is at its maximum."""

    column: str

    def epochs(self, rows: pd.DataFrame, curves: pd.DataFrame) -> pd.Series:
        best = curves.groupby("trajectory_id")[self.column].transform("max")
        return first_epochs(rows, curves.assign(share=(curves[self.column] == best).astype(float)), "share", 1.0)["by"]


Event = FirstAt | PeakOf


@dataclass(frozen=True)
class Sooner:
    """The epoch of the event `late` divided by the epoch of the event `early` in the same training.

    The number of a seed is the geometric mean of this ratio over its trainings. Epochs count from 1, so the epoch of an
    event that already holds before training is 1. If the event `late` does not occur, its epoch is the last one, which
    makes the ratio a lower bound. If the event `early` does not occur in some training, its seed has no number.
    """

    early: Event
    late: Event
    where: Where = field(default_factory=dict)

    @property
    def needs(self) -> Sequence[str]:
        return ()

    def rows(self, points: pd.DataFrame) -> pd.DataFrame:
        return chosen(points, self.where)

    def measure(self, evidence: Evidence) -> Effects:
        rows = self.rows(evidence.points)
        curves = evidence.curves[evidence.curves["trajectory_id"].isin(rows["trajectory_id"])]
        finished = rows["outcome"] == "finished"
        early, late = (event.epochs(rows, curves).where(finished) for event in (self.early, self.late))
        late = late.fillna(rows["epochs"].astype(float).where(finished))
        ratio = np.log(late.clip(lower=1)) - np.log(early.clip(lower=1))
        return Effects(np.exp(_complete_mean(ratio.set_axis(rows["seed"]))), ratio=True)


@dataclass(frozen=True)
class Slope:
    """The least-squares slope of a metric against the number of parameters, with an intercept, fitted per seed.

    All other fields must be fixed.

    Attributes:
        value: The metric.
        below: A metric and a ceiling. Only network sizes at which the mean of this metric over seeds is below the
            ceiling are used, so that saturation does not flatten the line. All seeds use the same sizes (at least 3).
        where: The settings of the points.
    """

    value: str
    below: tuple[str, float]
    where: Where = field(default_factory=dict)

    @property
    def needs(self) -> Sequence[str]:
        return (self.value, self.below[0])

    def rows(self, points: pd.DataFrame) -> pd.DataFrame:
        return chosen(points, self.where)

    def measure(self, evidence: Evidence) -> Effects:
        rows = self.rows(evidence.points)
        table = rows.assign(y=drawn(rows, self.value), x=rows["parameters"].astype(float))
        column, ceiling = self.below
        free = table.assign(limit=drawn(rows, column)).groupby("x")["limit"].mean() < ceiling
        sizes = free.index[free]
        kept = table[table["x"].isin(sizes)]
        fits = {
            seed: np.polyfit(of_seed["x"], of_seed["y"], 1)[0]
            if of_seed["x"].nunique() == len(sizes) >= 3 and of_seed["y"].notna().all()
            else np.nan
            for seed, of_seed in kept.groupby("seed")
        }
        return Effects(pd.Series(fits, dtype=float), note=f"over {len(sizes)} of {len(free)} network sizes")


@dataclass(frozen=True)
class Spread:
    """Overdispersion of the rates at which trainings with different seeds misclassify each example at an epoch.

    The interval is the bootstrap interval over examples of `analysis.statistics.scores.overdispersion`.
    """

    where: Where
    epoch: int = 1

    @property
    def needs(self) -> Sequence[str]:
        return ()

    def rows(self, points: pd.DataFrame) -> pd.DataFrame:
        return chosen(points, self.where)

    def measure(self, evidence: Evidence) -> Estimate:
        rows = self.rows(evidence.points)
        ids = rows.loc[rows["outcome"] == "finished", "trajectory_id"].astype(str).unique()
        correct = correctness_matrix(evidence.examples, "train", epoch=self.epoch, trajectories=sorted(ids)).correct
        unmeasured = int(np.isnan(correct).any(axis=1).sum())
        if unmeasured:
            problem = f"{unmeasured} of {len(ids)} trainings lack predictions of single examples at epoch {self.epoch}"
            raise AnalysisError("examples", problem)
        spread = overdispersion(1 - correct)
        note = f"{spread.runs} trainings, each example wrong in {100 * spread.p:.0f} % of them on average"
        how = "95 % bootstrap interval over examples"
        return Estimate(spread.value, spread.low, spread.high, spread.examples, how, "examples", note=note)
