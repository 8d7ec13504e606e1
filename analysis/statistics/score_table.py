"""Table of memorization and influence scores per training example, computed from many trainings together."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.statistics.scores import correctness_matrix, influence, memorization_scores, score_error_bound
from analysis.tables.cells import varying

COLUMNS = ("example_id", "epoch", "memorization", "memorization_error", "seen", "left_out", "correct_seen",
           "correct_left_out", "most_influenced", "influence")  # fmt: skip


def score_table(points: pd.DataFrame, examples: pd.DataFrame) -> pd.DataFrame:
    """Compute the scores of every training example, pooling the trainings that differ only in their seed.

    Args:
        points: The points of trainings on random subsets (`subset_fraction` below 1).
        examples: The per-example table, with the measure `correct`.

    Returns:
        A table with one row per example, epoch and setting. Its columns are the fields that vary, followed by

        - `memorization`: mem(i), -1..1 (Feldman & Zhang 2020, arXiv 2008.03703), and `memorization_error`: an upper
          bound on its standard error, from the same paper;
        - `seen`, `left_out`: the number of trainings with and without the example; `correct_seen`, `correct_left_out`:
          the fraction of these trainings that predict the example's given label (`correct_left_out` is the C-score at
          the subset fraction of the trainings, Jiang et al. 2021, arXiv 2002.03206);
        - `most_influenced`: the test example j with the largest infl(i, j), and `influence`: its infl(i, j), -1..1.

    Raises:
        AnalysisError: No training leaves examples out, or no left-out example was measured.
    """
    fields = [field for field in varying(points) if field != "epochs"]
    trainings = points.drop_duplicates("trajectory_id")
    measured = examples[examples["measure"] == "correct"]
    if not (measured["split"] == "left_out").any():
        raise AnalysisError(
            "examples",
            "examples: no training was measured on examples that it had not seen; valid is a sweep with "
            "`subset_fraction` below 1 and `measure: [example_correctness]`",
        )
    tables = []
    for setting, group in trainings.groupby(fields, dropna=False) if fields else [((), trainings)]:
        own = measured[measured["trajectory_id"].astype(str).isin(group["trajectory_id"].astype(str))]
        for epoch in sorted(own["epoch"].unique()):
            table = _scores(own, int(epoch))
            tables.append(table.assign(**dict(zip(fields, setting, strict=True))))
    return pd.concat(tables, ignore_index=True)[[*fields, *COLUMNS]]


def _scores(examples: pd.DataFrame, epoch: int) -> pd.DataFrame:
    train = correctness_matrix(examples, "train", epoch=epoch)
    test = correctness_matrix(examples, "test", epoch=epoch, trajectories=train.trajectories)
    seen = train.included.sum(0)
    known = ~np.isnan(train.correct)
    left_out = (~train.included & known).sum(0)
    hits = np.where(known, train.correct, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        correct_seen = (hits * train.included).sum(0) / seen
        correct_left_out = (hits * ~train.included).sum(0) / left_out
    influences = influence(train.included, test.correct)
    # The influence of an example that was never seen or never left out cannot be measured.
    most = np.where(np.isnan(influences), -np.inf, influences).argmax(1)
    share = float(left_out.sum() / known.sum())
    return pd.DataFrame(
        {
            "example_id": train.example_ids,
            "epoch": epoch,
            "memorization": memorization_scores(train.correct, train.included),
            "memorization_error": score_error_bound(len(train.trajectories), share),
            "seen": seen,
            "left_out": left_out,
            "correct_seen": correct_seen,
            "correct_left_out": correct_left_out,
            "most_influenced": test.example_ids[most],
            "influence": influences[np.arange(len(most)), most],
        }
    )
