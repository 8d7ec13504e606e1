"""Metrics derived from stored measures: the generalization gap, the best accuracies, and the epochs to reach a level.

Measures are known only at evaluated epochs, so the first epoch at a level is interval-censored: the level was reached
after one evaluated epoch and no later than the next one. `first_epochs` returns both epochs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.tables.cells import check_columns
from analysis.words import DERIVED

REACHED = {"epochs_to_90": 0.9, "epochs_to_100": 1.0}
"""Maps each column to the training accuracy (on the labels as given) to reach."""

FROM_CURVES = ("train_accuracy", "test_accuracy", "validation_accuracy", "train_loss", "test_loss")
"""The columns of the curves from which `DERIVED` is computed, besides trajectory_id and epoch."""

BEST = {"best_test_accuracy": "test_accuracy", "best_validation_accuracy": "validation_accuracy"}


def with_derived(points: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Append the columns of `DERIVED` to the points, with NaN where a value is undefined.

    The gap and the best values are NaN for a point that did not finish, since a best value over fewer epochs is not
    comparable. The epoch at which a level was reached is kept even if the training did not finish.

    Args:
        points: One row per point, with trajectory_id, epochs, outcome, train_accuracy and test_accuracy.
        curves: One row per training and evaluated epoch, with trajectory_id, epoch and the accuracies. Only epochs up
            to a point's `epochs` count, so points that share a training can have different values.

    Raises:
        AnalysisError: A column is missing.
    """
    derived = with_gap(points)
    for name, level in REACHED.items():
        derived[name] = first_epochs(points, curves, "train_accuracy", level)["by"]
    finished = points["outcome"] == "finished"
    for name, column in BEST.items():
        derived[name] = _best(points, curves, column).where(finished)
    return derived[[*points.columns.difference([*DERIVED], sort=False), *DERIVED]]


def with_gap(rows: pd.DataFrame) -> pd.DataFrame:
    """Add `generalization_gap` (see `DERIVED`) to points or curves, with NaN in rows that did not finish."""
    check_columns(rows, ("train_accuracy", "test_accuracy", "outcome"), "points")
    train, test = (_numbers(rows, name) for name in ("train_accuracy", "test_accuracy"))
    return rows.assign(generalization_gap=(train - test).where(rows["outcome"] == "finished"))


def first_epochs(points: pd.DataFrame, curves: pd.DataFrame, column: str, level: float) -> pd.DataFrame:
    """Find the epoch at which `column` first reached `level`, per point.

    Returns:
        A frame with the index of `points`. `by` is the first evaluated epoch, up to the point's `epochs`, at which the
        column was at least `level`, or NaN if there is none. `after` is the last evaluated epoch before `by`, or 0. The
        true first epoch lies in (after, by], or is 0 if the level was already reached before training (epoch 0).
    """
    known = _evaluated(points, curves, column)
    first = np.flatnonzero(known.values >= level)
    trainings, places = np.unique(known.trainings[first], return_index=True)
    first = first[places]
    begins = np.append(True, known.trainings[1:] != known.trainings[:-1])[: len(known.trainings)]
    before = np.where(begins, 0.0, np.roll(known.epochs, 1))
    # The last row, which stays NaN, is for points without a curve.
    reached = pd.DataFrame(np.nan, index=range(len(known.ids) + 1), columns=["after", "by"])
    reached.loc[trainings, "after"], reached.loc[trainings, "by"] = before[first], known.epochs[first]
    reached = reached.iloc[known.ids.get_indexer(_names(points))].set_index(points.index)
    return reached.where(reached["by"] <= _horizon(points))


def _best(points: pd.DataFrame, curves: pd.DataFrame, column: str) -> pd.Series:
    if column not in curves:
        return pd.Series(np.nan, points.index)
    known = _evaluated(points, curves, column)
    running = pd.Series(known.values).groupby(known.trainings).cummax().to_numpy()
    trainings, horizon = known.ids.get_indexer(_names(points)), _horizon(points).to_numpy()
    # Combine training and epoch in one number, since searchsorted takes a single key.
    room = 1 + max(known.epochs.max(initial=0.0), np.nanmax(horizon, initial=0.0))
    place = np.searchsorted(known.trainings * room + known.epochs, trainings * room + horizon, side="right") - 1
    there = (place >= 0) & (trainings >= 0) & ~np.isnan(horizon)
    there[there] = known.trainings[place[there]] == trainings[there]
    best = np.full(len(points), np.nan)
    best[there] = running[place[there]]
    return pd.Series(best, points.index)


@dataclass(frozen=True)
class _Evaluated:
    """The values of a column at epochs with finite losses, ordered by training and then by epoch."""

    ids: pd.Index
    trainings: np.ndarray
    """The position of each value's training in `ids`."""
    epochs: np.ndarray
    values: np.ndarray


def _evaluated(points: pd.DataFrame, curves: pd.DataFrame, column: str) -> _Evaluated:
    check_columns(points, ("trajectory_id", "epochs", "outcome"), "points")
    check_columns(curves, ("trajectory_id", "epoch", column), "curves")
    losses = curves[[name for name in ("train_loss", "test_loss") if name in curves]].astype(float)
    epochs, values = _numbers(curves, "epoch").to_numpy(), _numbers(curves, column).to_numpy()
    trainings, ids = pd.factorize(curves["trajectory_id"])
    sound = (trainings >= 0) & np.isfinite(losses).all(axis=1).to_numpy() & ~np.isnan(epochs) & ~np.isnan(values)
    trainings, epochs, values = trainings[sound], epochs[sound], values[sound]
    order = np.lexsort((epochs, trainings))
    trainings, epochs, values = trainings[order], epochs[order], values[order]
    # A curve may occur several times, once per point of its training.
    first = np.append(True, (trainings[1:] != trainings[:-1]) | (epochs[1:] != epochs[:-1]))[: len(trainings)]
    return _Evaluated(pd.Index(ids).astype(str), trainings[first], epochs[first], values[first])


def _names(rows: pd.DataFrame) -> pd.Series:
    return rows["trajectory_id"].astype(str)


def _horizon(points: pd.DataFrame) -> pd.Series:
    """Return the last epoch that counts for each row: `epoch` if the row has one, else `epochs`."""
    if "epoch" not in points:
        return _numbers(points, "epochs")
    return _numbers(points, "epoch").fillna(_numbers(points, "epochs"))


def _numbers(rows: pd.DataFrame, column: str) -> pd.Series:
    return pd.to_numeric(rows[column]).astype(float)
