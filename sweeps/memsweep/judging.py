"""Conclusions from a trained sweep: the regimes of its points, and the claims of papers."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memsweep.inputs import (
    DEFAULT_STORE,
    StoreLike,
    SweepLike,
    as_sweep,
    command_name,
    existing_store,
    store_option,
)
from memsweep.messages import table_text, warn_of_damage
from memsweep.missing_data import read_without_data

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from analysis.claims import Decision
    from analysis.statistics.regime_rules import Rule


class Decisions(list["Decision"]):
    """A list of claims with their verdicts. Its repr is the output of `memsweep claims`."""

    def frame(self) -> pd.DataFrame:
        """Return a table with one row per contrast: claim, experiment, contrast, effect, low, high, n, verdict, ..."""
        import pandas as pd

        rows = []
        for claim in self.figures():
            shared = {name: value for name, value in claim.items() if name != "contrasts"}
            rows += [{**shared, **contrast} for contrast in claim["contrasts"]]
        return pd.DataFrame(rows)

    def figures(self) -> list[dict[str, Any]]:
        """Return the data that `memsweep claims --json` prints."""
        from analysis.claims.wording import record

        return [record(decision) for decision in self]

    def table(self) -> Table:
        """Return a table for a terminal, with one row per contrast."""
        from analysis.report.claims_page import verdict_table

        return verdict_table(self)

    def sentence(self) -> str:
        """Return a sentence with the number of claims per verdict, and the commands that train the missing points."""
        from analysis.report.claims_page import commands, summary

        lacking = commands(self)
        return summary(self) + "".join(["\n", "\n  ".join(["to train what is missing:", *lacking])] if lacking else [])

    def write(self, out: str | Path) -> Path:
        """Write a page with a small figure of each effect to the folder `out`, and return the path of the page."""
        from analysis.report.claims_page import write_page

        return write_page(self, Path(out))[0]

    def __repr__(self) -> str:
        return f"{table_text(self.table(), 120)}\n{self.sentence()}"


def regime(points: pd.DataFrame, rule: str | Rule = "relative", **evidence: Any) -> pd.Series:
    """Name the regime of each point: generalizing, coexisting, memorizing, underfit or diverged.

    Args:
        points: the complete table from `points`, since rules compare a point with the best accuracy on its data set.
        rule: "relative", "doshi2024" or "liu2022", or a rule with custom thresholds.
        evidence: chance (the accuracy of guessing, in 0..1; by default 1/C for data of C classes), curves, reference
            and full_size, if the rule needs them.

    Returns:
        A categorical series with the index of `points`, which is NaN for points that are missing or failed.

    Raises:
        AnalysisError: if the rule is unknown, or if it needs evidence that is not given.

    Examples:
        >>> points["regime"] = ms.regime(points)
    """
    from analysis.statistics.regimes import name_regimes
    from lightning_modules.data import recalled, sources

    named = ["data", *sources.all_fields_read()]
    if "chance" not in evidence and {*named} <= {*points.columns}:
        rows = points[[*named, *points.columns.intersection(["data_digest"])]].drop_duplicates()
        facts = [recalled.known.get(getattr(row, "data_digest", "")) or sources.facts(*sources.reference(row))
                 for row in rows.itertuples(index=False)]  # fmt: skip
        classes = {of_one.classes for of_one in facts}
        evidence["chance"] = 1 / classes.pop() if len(classes) == 1 else None
    return name_regimes(points, rule, **evidence)


def decide_claims(
    sweeps: SweepLike | Sequence[SweepLike] | None = None,
    store: StoreLike = DEFAULT_STORE,
    settings: Mapping[str, Any] | Sequence[str] = (),
) -> Decisions:
    """Decide from the results in a store whether the claims of papers are supported, contradicted or undecided.

    Args:
        sweeps: the presets whose claims to decide, or sweeps with the name of a preset; by default all claims.
        store: the store that holds the results.
        settings: the fields to replace in sweeps that are given by name, as in `load_sweep`.

    Returns:
        A list of decisions, whose repr is the output of `memsweep claims`. Its `frame()` has one row per contrast.

    Raises:
        SweepError: if a sweep is given on which no claim rests.
        StoreError: if the store cannot be read.

    Examples:
        >>> ms.decide_claims("memorization", "results").frame()[["contrast", "effect", "low", "high", "verdict"]]
    """
    from analysis.claims.settled import check_claimed, default_sweeps, settle

    asked = default_sweeps() if sweeps is None else [sweeps] if isinstance(sweeps, SweepLike) else sweeps
    studies = [as_sweep(sweep, settings) for index, sweep in enumerate(asked) if sweep not in asked[:index]]
    place = existing_store(store)
    check_claimed(studies)
    contents = place.read()
    warn_of_damage(contents.damaged)
    named = [(command_name(study), study) for study in studies]
    with read_without_data(place):
        return Decisions(settle(named, place, contents, shlex.join(store_option(place))))
