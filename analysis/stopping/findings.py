"""The results of a study of early stopping, computed from the recorded curves and the stops."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.stopping.descent import epoch_wise, model_wise
from analysis.stopping.looks import representatives
from analysis.stopping.outcomes import CLEAN, outcomes, summary, wide
from analysis.stopping.ranks import rank_correlations
from analysis.stopping.recorded import Recorded
from analysis.stopping.stopped import memorized_at_stop, stopped_before_descent, stopped_by


@dataclass(frozen=True)
class Findings:
    """The results of a study.

    Attributes:
        outcomes: One row per search and order (see `outcomes.outcomes`).
        summary: One row per setting (see `outcomes.wide`).
        by_problem: One row per setting and problem.
        regimes: The share stopped per regime (see `stopped.stopped_by`).
        unseen: The share stopped before the second descent (see `stopped.stopped_before_descent`). None if no training
            has a double descent.
        sides: The share stopped per side of the double-descent peak. None if there is no peak along `capacity`.
        capacity: The capacity field of `sides`; empty without it.
        memorized: See `stopped.memorized_at_stop`. None if no label is corrupted.
        ranks: See `ranks.rank_correlations`.
        chosen: The setting that represents each scheduler (see `looks.representatives`).
    """

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


def measure_findings(recorded: Recorded, stops: pd.DataFrame) -> Findings:
    """Compute all results of a study. Double descent is detected in clean test accuracy.

    Raises:
        AnalysisError: One of the tables is invalid.
    """
    table = outcomes(recorded, stops)
    unseen = stopped_before_descent(recorded, stops, epoch_wise(recorded, CLEAN))
    sides = model_wise(recorded, CLEAN)
    return Findings(
        outcomes=table,
        summary=wide(summary(table)),
        by_problem=wide(summary(table, by_problem=True)),
        regimes=stopped_by(recorded, stops, recorded.members["regime"]),
        unseen=unseen if len(unseen) else None,
        sides=stopped_by(recorded, stops, sides[1]) if sides else None,
        capacity=sides[0] if sides else "",
        memorized=memorized_at_stop(recorded, stops) if recorded.has("memorized_fraction") else None,
        ranks=rank_correlations(recorded),
        chosen=representatives(table),
    )
