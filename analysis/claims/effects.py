"""What is compared with what: each effect turns the tables of a sweep into one number a seed.

An effect answers three questions: which points it reads (`rows`), which columns a finished point of them must have
(`needs`), and the numbers (`measure`). A seed has a number only if all of its rows do: cells that were lost in one seed
alone would otherwise move the mean by their absence.
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
from analysis.tables.cells import UNSEEDED
from analysis.tables.derived import first_epochs


class Effect(Protocol):
    def rows(self, points: pd.DataFrame) -> pd.DataFrame:
        """The points it reads, whatever became of them."""

    @property
    def needs(self) -> Sequence[str]:
        """Metrics that every finished row has, once it is measured."""

    def measure(self, evidence: Evidence) -> Effects | Estimate:
        """One number a seed, or an estimate that brings its own interval. Every row is there, or diverged.

        Raises AnalysisError for a measure that the evidence lacks.
        """


@dataclass(frozen=True)
class Level:
    """A metric, over the rows of a seed: their mean, or the lowest or highest of them."""

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
    """A metric at `this` minus the same at `that`: pairs that agree in the seed and every other field, averaged over
    the pairs of a seed.

    ratio: the quotient instead. censored: a level that `this` did not reach counts as reached at its last epoch, which
    makes the effect a lower bound; a pair whose `that` did not reach it has no number.
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
        held = chosen(points, self.where)
        return chosen(held, self.this), chosen(held, self.that)

    def measure(self, evidence: Evidence) -> Effects:
        sides = self._sides(evidence.points)
        compared = {*self.this, *self.that}
        both = pd.concat(sides)
        keys = [
            name for name in UNSEEDED if name in both and name not in compared and both[name].nunique(dropna=False) > 1
        ]
        numbers = []
        for side, last in zip(sides, (self.censored, False), strict=True):
            given = drawn(side, self.value)
            if last:
                given = given.fillna(side["epochs"].where(side["outcome"] == "finished").astype(float))
            index = pd.MultiIndex.from_frame(side[["seed", *keys]].astype(object).fillna("unset"))
            numbers.append(pd.Series(given.to_numpy(), index))
        this, that = numbers
        pairs = pd.DataFrame({"this": this, "that": that})
        if self.ratio:
            effect = np.log(pairs["this"]) - np.log(pairs["that"])
            return Effects(np.exp(_complete_mean(effect)), ratio=True)
        return Effects(_complete_mean(pairs["this"] - pairs["that"]))


def _complete_mean(effect: pd.Series) -> pd.Series:
    """Mean of each seed (the first level of the index), NaN where one of its numbers is missing."""
    grouped = effect.groupby(level=0)
    return grouped.mean().where(grouped.apply(lambda of_seed: bool(np.isfinite(of_seed).all())))


@dataclass(frozen=True)
class FirstAt:
    """The first evaluated epoch with the column at `level`, or at this part of its highest value in the training."""

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
    """The evaluated epoch at which the column is highest; the first of several."""

    column: str

    def epochs(self, rows: pd.DataFrame, curves: pd.DataFrame) -> pd.Series:
        best = curves.groupby("trajectory_id")[self.column].transform("max")
        return first_epochs(rows, curves.assign(share=(curves[self.column] == best).astype(float)), "share", 1.0)["by"]


Event = FirstAt | PeakOf


@dataclass(frozen=True)
class Sooner:
    """How many times later `late` comes than `early` in the same training: a ratio of epochs, the geometric mean over
    the trainings of a seed. Epochs count from 1: what holds before training counts as there after the first.

    A `late` that did not come counts as come at the last epoch, which makes the ratio a lower bound; without `early`
    there is no number.
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
    """The least-squares slope of a metric against the parameters of the network, with an intercept, a fit a seed.

    below: only networks that stay under this value of a metric, so that a ceiling does not flatten the line; the same
    for all seeds (by the mean over them), at least three. Every other field must be held.
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
    """Overdispersion over examples of how often trainings of different seeds misclassify them at an epoch: see
    `analysis.statistics.scores.overdispersion`, whose bootstrap interval over examples it takes."""

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
        found = overdispersion(1 - correct)
        note = f"{found.runs} trainings, each example wrong in {100 * found.p:.0f} % of them on average"
        how = "95 % bootstrap interval over examples"
        return Estimate(found.value, found.low, found.high, found.examples, how, "examples", note=note)
