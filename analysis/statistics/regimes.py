"""Regimes, such as memorizing or generalizing, assigned to trainings by a rule with explicit thresholds.

There are three rules: memsweep's own (`RelativeRule`) and two published ones (`DoshiRule`, `LiuRule`). A rule is a
frozen dataclass with configurable thresholds. Its `words` describe the rule in full, and `name_regimes` applies it to
stored measures. A training that diverged has the regime `diverged`. A training that is missing, that failed, or that
the rule cannot decide has no regime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from analysis.errors import unknown
from analysis.statistics.regime_rules import DoshiRule, Evidence, LiuRule, Rule, check_shares, choose, percent
from analysis.tables.cells import metric_values

DIVERGED = "diverged"

SAME_DATA_AND_MODEL = ("data", "data_digest", "complexity", "model", "model_digest")
"""Points that agree in these fields share one best clean test accuracy."""


@dataclass(frozen=True)
class RelativeRule:
    """memsweep's own rule, based on whether a training learned the rule behind the data and whether it fits the noise.

    A training *learned the rule* if its clean test accuracy is at least chance + `learned` (best - chance) and at least
    chance + `margin`, where best is the highest clean test accuracy among the finished points of the same data set and
    model (and in `Evidence.reference`). Since best is an accuracy on test data, regimes may be used only to describe
    trainings, never to select them. If chance is unknown, it is taken as 0.

    A training *fits the noise* if it predicts at least a fraction `fitted` of the corrupted labels as given
    (`memorized_fraction`).

    By default, each threshold is half of what is attainable: half of the highest accuracy above chance, and half of the
    corrupted labels. The regime is coexisting if both conditions hold, generalizing if only the rule was learned,
    memorizing if only the noise was fitted, and underfit if neither condition holds.

    If no label is corrupted, there is no noise to fit or to resist, so `coexisting` does not occur. A training that
    learned the rule is then generalizing. One that did not is memorizing if (train - test accuracy) / (1 - test
    accuracy) is at least `fitted`, that is, if it fits at least this share of the examples it would misclassify unseen.
    """

    learned: float = 0.5
    fitted: float = 0.5
    margin: float = 0.1
    regimes: ClassVar[tuple[str, ...]] = ("generalizing", "coexisting", "memorizing", "underfit")

    def __post_init__(self) -> None:
        check_shares(learned=self.learned, fitted=self.fitted, margin=self.margin)

    @property
    def words(self) -> str:
        return (
            f"learned the rule: clean test accuracy at least {percent(self.learned)} of the way from chance to the "
            f"best of this data set and model, and {100 * self.margin:g} points above chance; fits the noise: at least "
            f"{percent(self.fitted)} of the corrupted labels memorized (without corrupted labels: of what would be "
            "wrong unseen, that part right in training); generalizing: the rule alone, coexisting: both, memorizing: "
            "the noise alone, underfit: neither"
        )

    def decide(self, points: pd.DataFrame, evidence: Evidence) -> pd.Series:
        test = metric_values(points, "test_accuracy")
        memorized = _measured(points, "memorized_fraction")
        no_noise = (metric_values(points, "train_accuracy") - test) / (1 - test).where(test < 1)
        corrupted = memorized.notna()
        rule = test >= self._needed(points, evidence)
        noise = memorized.where(corrupted, no_noise) >= self.fitted
        known = test.notna() & (rule | corrupted | no_noise.notna())
        return choose(
            known,
            (rule & ~(corrupted & noise), "generalizing"),
            (rule, "coexisting"),
            (noise, "memorizing"),
            (known, "underfit"),
        )

    def stated(self, points: pd.DataFrame, evidence: Evidence) -> str:
        best, needed = _best(points, evidence), self._needed(points, evidence)
        if best.isna().all():
            return ""
        chance = "chance not known, taken as 0" if evidence.chance is None else f"chance {percent(evidence.chance)}"
        return f"best clean test accuracy {_span(best)}, needed {_span(needed)}, {chance}"

    def _needed(self, points: pd.DataFrame, evidence: Evidence) -> pd.Series:
        chance = evidence.chance or 0.0
        best = _best(points, evidence)
        return (chance + self.learned * (best - chance)).clip(lower=chance + self.margin)


RULES: dict[str, Rule] = {"relative": RelativeRule(), "doshi2024": DoshiRule(), "liu2022": LiuRule()}
"""The rules by name, with default thresholds."""


def find_rule(rule: str | Rule) -> Rule:
    """Look up a rule by name; a rule object is returned unchanged.

    Raises:
        AnalysisError: The name is not in `RULES`.
    """
    if not isinstance(rule, str):
        return rule
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    return RULES[rule]


def name_regimes(
    points: pd.DataFrame,
    rule: str | Rule = "relative",
    *,
    chance: float | None = None,
    reference: pd.DataFrame | None = None,
    curves: pd.DataFrame | None = None,
    full_size: int | None = None,
) -> pd.Series:
    """Name the regime of each point.

    The rule `relative` computes the best clean test accuracy over `points` and `reference`. Therefore pass all points
    of a sweep and select from the result, or pass the whole sweep as `reference`.

    Args:
        points: One row per point.
        rule: A rule, or the name of one in `RULES`.
        chance: See `Evidence`.
        reference: See `Evidence`.
        curves: See `Evidence`.
        full_size: See `Evidence`.

    Returns:
        A categorical series with the index of `points`. Its categories are the rule's regimes in order, then
        `diverged`. The value is NaN if the point is missing or failed, or if it finished but the rule cannot decide.

    Raises:
        AnalysisError: The rule is unknown, or it needs evidence that was not given.
    """
    chosen = find_rule(rule)
    evidence = Evidence(chance, reference, curves, full_size)
    named = chosen.decide(points, evidence).where(points["outcome"] == "finished", None)
    named = named.mask(points["outcome"] == DIVERGED, DIVERGED)
    return pd.Series(pd.Categorical(named, [*chosen.regimes, DIVERGED]), points.index, name="regime")


def pool(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables, keeping only the columns that determine the best clean test accuracy per data and model."""
    keys = [key for key in SAME_DATA_AND_MODEL if all(key in frame for frame in frames)]
    return pd.concat([frame[[*keys, "outcome", "test_accuracy"]] for frame in frames])


def _best(points: pd.DataFrame, evidence: Evidence) -> pd.Series:
    """Return the best clean test accuracy for each point's data set and model; NaN if none of their points finished."""
    rows = pool([points] if evidence.reference is None else [points, evidence.reference])
    rows = rows.assign(best=metric_values(rows, "test_accuracy"))
    keys = [key for key in SAME_DATA_AND_MODEL if key in rows]
    if not keys:
        return pd.Series(rows["best"].max(), points.index)
    return rows.groupby(keys, dropna=False)["best"].transform("max").iloc[: len(points)]


def _measured(points: pd.DataFrame, name: str) -> pd.Series:
    return metric_values(points, name) if name in points else pd.Series(np.nan, points.index)


def _span(values: pd.Series) -> str:
    low, high = values.min(), values.max()
    return percent(low) if np.isclose(low, high) else f"{percent(low)} to {percent(high)}"
