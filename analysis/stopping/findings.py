"""What a study of early stopping found."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.stopping.descent import epoch_wise, model_wise
from analysis.stopping.looks import representatives
from analysis.stopping.outcomes import CLEAN, outcomes, summary, wide
from analysis.stopping.ranks import rank_correlations
from analysis.stopping.recorded import Recorded
from analysis.stopping.whom import memorized_at_stop, never_saw, stopped_by


@dataclass(frozen=True)
class Findings:
    """Everything measured. outcomes: a row a search and order. summary, by_problem: a row a setting, see
    `outcomes.wide`. regimes, sides: of `whom.stopped_by`; sides None without a peak along `capacity`. unseen,
    memorized: of `whom`, None where no run descends twice, or no label is corrupted. ranks: of `ranks`. chosen: the
    setting that stands for each scheduler."""

    outcomes: pd.DataFrame
    summary: pd.DataFrame
    by_problem: pd.DataFrame
    regimes: pd.DataFrame
    unseen: pd.DataFrame | None
    sides: pd.DataFrame | None
    capacity: str
    memorized: pd.DataFrame | None
    ranks: pd.DataFrame
    chosen: pd.DataFrame


def findings(found: Recorded, stops: pd.DataFrame) -> Findings:
    """All measures of the study. Double descent is that of clean test accuracy. Raises AnalysisError as they do."""
    table = outcomes(found, stops)
    unseen = never_saw(found, stops, epoch_wise(found, CLEAN))
    sides = model_wise(found, CLEAN)
    corrupted = "memorized_fraction" in found.curves and found.curves["memorized_fraction"].notna().any()
    return Findings(
        outcomes=table,
        summary=wide(summary(table)),
        by_problem=wide(summary(table, by_problem=True)),
        regimes=stopped_by(found, stops, found.members["regime"]),
        unseen=unseen if len(unseen) else None,
        sides=stopped_by(found, stops, sides[1]) if sides else None,
        capacity=sides[0] if sides else "",
        memorized=memorized_at_stop(found, stops) if corrupted else None,
        ranks=rank_correlations(found),
        chosen=representatives(table),
    )
