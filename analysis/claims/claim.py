"""A claim, the contrasts that test it, and the findings of the data.

The verdict of a contrast follows the same rule for every claim:

1. Every point that the contrast reads must be trained and measured. Until then the contrast is undecided, since anyone
   could otherwise obtain a verdict by stopping at the right moment. A training that diverged counts as measured; its
   seed has no number and is left out, which the finding mentions.
2. Each seed gives one number (`effects`, `choices`). The effect is the mean of these numbers, with a 95 % t interval
   that requires at least three seeds (`estimates`).
3. The contrast is supported if the interval lies wholly inside the claimed range, contradicted if it lies wholly
   outside, and undecided otherwise (`rule`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from analysis.claims.effects import Effect
from analysis.claims.rows import Evidence, drawn
from analysis.claims.rule import Claimed, Verdict, together
from analysis.errors import AnalysisError
from analysis.statistics.estimates import FEWEST, MOST, Effects, Estimate, mean_over_seeds, seeds_needed

WAITING = ("missing", "failed")
MOST_LISTED = 20
"""The largest number of seeds for which a command that trains more seeds is suggested."""


@dataclass(frozen=True)
class Source:
    """The paper behind a claim: its authors and year, the figure or table, and the arXiv number."""

    paper: str
    figure: str
    arxiv: str

    @property
    def words(self) -> str:
        return f"{self.paper}{', ' + self.figure if self.figure else ''} (arXiv {self.arxiv})"


@dataclass(frozen=True)
class Contrast:
    """One comparison that tests a claim.

    Attributes:
        words: A description of what is compared.
        measured: The measured quantity, as the axis label of the contrast's picture.
        unit: The unit of the effect.
        claimed: The range of the effect if the claim holds.
        effect: How the effect is measured.
        published: The result in the paper, in words or numbers.
    """

    words: str
    measured: str
    unit: str
    claimed: Claimed
    effect: Effect
    published: str

    @property
    def rule(self) -> str:
        """The condition under which the contrast is supported, in words."""
        return f"supported if the whole 95 % interval of the effect is {self.side}"

    @property
    def side(self) -> str:
        two_sided = math.isfinite(self.claimed.low) and math.isfinite(self.claimed.high)
        return f"{'within ' if two_sided else ''}{self.claimed.words(self.unit)}"


@dataclass(frozen=True)
class Claim:
    """A statement from a paper, tested by contrasts on the data of a preset.

    `digest` is True for the ten claims with which the project started.
    """

    key: str
    statement: str
    source: Source
    preset: str
    contrasts: tuple[Contrast, ...]
    digest: bool = False


@dataclass(frozen=True)
class Finding:
    """The verdict on one contrast, and the numbers behind the verdict in the contrast's unit.

    Attributes:
        effect: The effect; NaN if it could not be measured.
        low: Lower end of the 95 % interval of the effect; NaN without an interval.
        high: Upper end of the interval.
        n: The number of units averaged.
        of: The units averaged, in words.
        how: The kind of interval, in words.
        detail: Remarks.
        missing: What is still needed for a verdict; empty if the contrast is decided.
        command: The command that trains what is missing; empty if there is no such command.
        per_seed: The number of each seed.
    """

    contrast: Contrast
    verdict: Verdict
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    of: str = "seeds"
    how: str = ""
    detail: str = ""
    missing: str = ""
    command: str = ""
    per_seed: Mapping[Hashable, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """A claim, the name of the sweep that provided the data, and one finding per contrast, in order."""

    claim: Claim
    sweep: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        return together(finding.verdict for finding in self.findings)


def decide(claim: Claim, evidence: Evidence, sweep: str = "", run: str = "") -> Decision:
    """Decide a claim. This is a pure function.

    Args:
        claim: The claim.
        evidence: The tables of a sweep.
        sweep: The name of the sweep, if it is not the claim's preset.
        run: The command that trains missing points.
    """
    command = run or f"memsweep run {sweep or claim.preset}"
    findings = tuple(find(contrast, evidence, command) for contrast in claim.contrasts)
    return Decision(claim, sweep or claim.preset, findings)


def find(contrast: Contrast, evidence: Evidence, run: str) -> Finding:
    """Judge one contrast by the rule in the docstring of this module."""
    rows = contrast.effect.rows(evidence.points)
    rows = rows[~rows.index.duplicated()]
    if rows.empty:
        return Finding(contrast, "undecided", missing="the sweep has no such points")
    waiting = _waiting(rows, contrast.effect.needs)
    if waiting:
        count = f"{waiting:,} of {rows['trajectory_id'].nunique():,} trainings"
        again = " --retry-failed" if (rows["outcome"] == "failed").any() else ""
        return Finding(contrast, "undecided", missing=f"{count} to run or measure", command=f"{run}{again}")
    try:
        measured = contrast.effect.measure(evidence)
    except AnalysisError as error:
        return Finding(contrast, "undecided", missing=str(error), command=run)
    estimate = mean_over_seeds(measured) if isinstance(measured, Effects) else measured
    verdict = contrast.claimed.verdict(estimate.low, estimate.high)
    asked = sorted(rows["seed"].unique())
    lost = len(asked) - estimate.n if estimate.of == "seeds" else 0
    left_out = f"{lost} of {len(asked)} seeds have no number" if lost else ""
    detail = "; ".join(part for part in (estimate.note, left_out, _diverged(rows)) if part)
    return Finding(
        contrast, verdict, estimate.value, estimate.low, estimate.high, estimate.n, estimate.of, estimate.how, detail,
        *(_lacking(contrast.claimed, estimate, asked, run) if verdict == "undecided" else ("", "")), estimate.per_seed,
    )  # fmt: skip


def _waiting(rows: pd.DataFrame, needs: Sequence[str]) -> int:
    """Count the trainings that were not run, that failed, or that lack a required metric."""
    finished = rows["outcome"] == "finished"
    waits = rows["outcome"].isin(WAITING)
    # A row that several readings share may lack the metrics of some readings. It waits only if it lacks every metric.
    known = [drawn(rows, name).notna() if name in rows or name.endswith("_error") else None for name in needs]
    if known:
        has = pd.concat([k if k is not None else pd.Series(False, rows.index) for k in known], axis=1).any(axis=1)
        waits |= finished & ~has
    return int(rows.loc[waits, "trajectory_id"].nunique())


def _diverged(rows: pd.DataFrame) -> str:
    count = rows.loc[rows["outcome"] == "diverged", "trajectory_id"].nunique()
    return f"{count} training{'s' if count > 1 else ''} diverged" if count else ""


def _lacking(claimed: Claimed, estimate: Estimate, asked: Sequence[int], run: str) -> tuple[str, str]:
    """Return a description of what would make a verdict more likely, and the command that trains it."""
    if estimate.of != "seeds":
        return f"a narrower interval: more {estimate.of} or trainings", ""
    if estimate.n < FEWEST:
        return f"numbers of at least {FEWEST} seeds, here of {estimate.n}", ""
    spread = estimate.sd
    distance = claimed.distance(estimate.value)
    if estimate.ratio:  # the interval is computed from logarithms, so the distance to the margin must be too
        ends = [end for end in (claimed.low, claimed.high) if math.isfinite(end) and end > 0]
        distance = min((abs(math.log(estimate.value / end)) for end in ends), default=math.nan)
    needed = seeds_needed(spread, distance)
    if needed is None:
        return f"more than {MOST} seeds, if mean and spread stay: the effect is too near the margin", ""
    more = max(needed, len(asked) + 1)
    command = f"{run} --set 'seed=[{', '.join(map(str, range(more)))}]'" if more <= MOST_LISTED else ""
    return f"about {more} seeds, if mean and spread stay", command
