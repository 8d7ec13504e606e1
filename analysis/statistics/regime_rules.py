"""The interface of regime rules, and the two published rules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.tables.cells import metric_values
from analysis.tables.derived import first_epochs
from lightning_modules.data.split_sizes import SplitSizes


@dataclass(frozen=True)
class Evidence:
    """Data that a rule may need in addition to the points.

    Attributes:
        chance: The accuracy of guessing, 1/C for C classes.
        reference: Additional rows to include when the best clean test accuracy is computed.
        curves: One row per training and evaluated epoch.
        full_size: The number of training examples in the data set, for points whose `dataset_size` is unset.
    """

    chance: float | None = None
    reference: pd.DataFrame | None = None
    curves: pd.DataFrame | None = None
    full_size: int | None = None


class Rule(Protocol):
    """A rule that assigns a regime to each point.

    Attributes:
        regimes: The names of the regimes, in legend order.
        words: A full description of the rule, with its thresholds and its source.
    """

    regimes: ClassVar[tuple[str, ...]]

    @property
    def words(self) -> str: ...

    def decide(self, points: pd.DataFrame, evidence: Evidence) -> pd.Series:
        """Return one of `regimes` per point, or None if the rule cannot decide.

        The caller ignores the results for points that did not finish.
        """

    def stated(self, points: pd.DataFrame, evidence: Evidence) -> str:
        """Describe the numbers behind relative thresholds; empty if `words` already contains every number."""


@dataclass(frozen=True)
class DoshiRule:
    """The rule of Doshi et al. 2024 (arXiv 2310.13061), for a corrupted fraction ξ and final accuracies.

    If clean test accuracy is at least `level`, the regime depends on the training accuracy on the labels as given:
    coexistence if it is at least `level`, partial inversion if it is at least 1 + `slack` - ξ, and full inversion if it
    is lower. Otherwise the regime is memorization (training accuracy at least `level`) or confusion. ξ is the expected
    fraction of wrong training labels. If `label_noise` is q, ξ is q for noise kinds that draw only wrong classes, and
    q (1 - 1/C) for `uniform`, which draws among all C classes. Without noise, "full inversion" only means that test
    accuracy reached `level` and training accuracy did not.
    """

    level: float = 0.9
    slack: float = 0.05
    regimes: ClassVar[tuple[str, ...]] = (
        "full inversion", "partial inversion", "coexistence", "memorization", "confusion",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_shares(level=self.level, slack=self.slack)

    @property
    def words(self) -> str:
        level = percent(self.level)
        return (
            f"rule of Doshi et al. 2024, ξ: fraction of wrong training labels; clean test accuracy at least {level}: "
            f"coexistence (training accuracy at least {level}), partial inversion (at least {percent(1 + self.slack)} "
            f"- ξ), full inversion (below); test accuracy below {level}: memorization (training accuracy at least "
            f"{level}), confusion (below)"
        )

    def decide(self, points: pd.DataFrame, evidence: Evidence) -> pd.Series:
        test, train = metric_values(points, "test_accuracy"), metric_values(points, "train_accuracy")
        generalizes, fits = test >= self.level, train >= self.level
        # The published bound is inclusive, and the tolerance allows for rounding (1.05 - 0.4 is above 0.65).
        inverts_partly = train >= 1 + self.slack - self._corrupted(points, evidence) - 1e-9
        return choose(
            test.notna() & train.notna(),
            (generalizes & fits, "coexistence"),
            (generalizes & inverts_partly, "partial inversion"),
            (generalizes, "full inversion"),
            (fits, "memorization"),
            (~generalizes, "confusion"),
        )

    def stated(self, points: pd.DataFrame, evidence: Evidence) -> str:
        return ""

    def _corrupted(self, points: pd.DataFrame, evidence: Evidence) -> pd.Series:
        noise = pd.to_numeric(points["label_noise"]).astype(float)
        uniform = (points["label_noise_kind"] == "uniform") & (noise > 0)
        if uniform.any() and evidence.chance is None:
            raise AnalysisError(
                "chance",
                "chance: not given; the rule of Doshi et al. needs 1/classes, as uniform noise leaves that part true",
            )
        return noise.where(~uniform, noise * (1 - (evidence.chance or 0.0)))


@dataclass(frozen=True)
class LiuRule:
    """The phases of Liu et al. 2022 (arXiv 2205.10343), from the first steps at which accuracies reach `level`.

    - Comprehension: both accuracies reach `level`, test accuracy at most `gap_steps` updates after training accuracy.
    - Grokking: both accuracies reach `level`, but test accuracy more than `gap_steps` updates after training accuracy.
    - Memorization: only training accuracy reaches `level`.
    - Confusion: neither accuracy reaches `level`.

    If only test accuracy reaches `level` (with noisy labels, training accuracy may stay low), the paper defines no
    phase, and the point has no regime.

    A step is an evaluated epoch times the updates per epoch, so the first step is known only to within the interval
    between evaluations. The number of training examples is `dataset_size` (or `Evidence.full_size`) minus the examples
    that are held out or left out.
    """

    level: float = 0.9
    gap_steps: float = 1000
    regimes: ClassVar[tuple[str, ...]] = ("comprehension", "grokking", "memorization", "confusion")

    def __post_init__(self) -> None:
        check_shares(level=self.level)
        if not self.gap_steps >= 0:
            raise AnalysisError("gap_steps", f"gap_steps: given {self.gap_steps}; valid is a number of at least 0")

    @property
    def words(self) -> str:
        level = percent(self.level)
        return (
            f"rule of Liu et al. 2022, first evaluated step with accuracy of at least {level}: comprehension (training "
            f"and clean test, test at most {self.gap_steps:g} updates later), grokking (both, test later than that), "
            "memorization (training only), confusion (neither); test only: no name"
        )

    def decide(self, points: pd.DataFrame, evidence: Evidence) -> pd.Series:
        if evidence.curves is None:
            raise AnalysisError("curves", "curves: not given; the rule of Liu et al. needs the evaluated epochs")
        train = first_epochs(points, evidence.curves, "train_accuracy", self.level)["by"]
        test = first_epochs(points, evidence.curves, "test_accuracy", self.level)["by"]
        evaluated = points["trajectory_id"].astype(str).isin(evidence.curves["trajectory_id"].astype(str))
        both = train.notna() & test.notna()
        soon = pd.Series(False, points.index)
        if both.any():
            soon[both] = ((test - train) * _updates_per_epoch(points, evidence))[both] <= self.gap_steps
        return choose(
            evaluated & (train.notna() | test.isna()),
            (both & soon, "comprehension"),
            (both, "grokking"),
            (train.notna(), "memorization"),
            (test.isna(), "confusion"),
        )

    def stated(self, points: pd.DataFrame, evidence: Evidence) -> str:
        return ""


SHARES = {"validation_fraction": 0.0, "subset_fraction": 1.0}
"""The fields that split the training examples, with their defaults."""


def _updates_per_epoch(points: pd.DataFrame, evidence: Evidence) -> pd.Series:
    size = pd.to_numeric(points["dataset_size"]).astype(float)
    if size.isna().any() and evidence.full_size is None:
        raise AnalysisError(
            "full_size",
            "full_size: not given, and dataset_size is unset; give the number of training examples of the data set",
        )
    if evidence.full_size is not None:
        size = size.fillna(evidence.full_size)
    shares = [points.get(name, pd.Series(default, points.index)) for name, default in SHARES.items()]
    rows = zip(size, *shares, points["batch_size"], strict=True)
    return pd.Series([_updates(*map(float, row)) for row in rows], points.index, dtype=float)


@lru_cache(maxsize=4096)
def _updates(size: float, validation: float, subset: float, batch: float) -> int:
    return SplitSizes.of(int(size), validation, subset).updates(int(batch))


def choose(known: pd.Series, *cases: tuple[pd.Series, str]) -> pd.Series:
    """Return for each row the name of the first case that is True, or None if `known` is False."""
    names = np.select([case.to_numpy() for case, _ in cases], [name for _, name in cases], default="")
    return pd.Series(names, known.index, dtype=object).where(known, None)


def check_shares(**given: float) -> None:
    """Raise AnalysisError if a threshold is outside 0..1."""
    for key, value in given.items():
        if not 0 <= value <= 1:
            raise AnalysisError(key, f"{key}: given {value}; valid is a number of 0 to 1")


def percent(share: float) -> str:
    """Format a share as a percentage, such as "90 %"."""
    return f"{100 * share:.3g} %"
