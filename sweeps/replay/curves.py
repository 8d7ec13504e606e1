"""Recorded curves of a sweep's trainings, as a scheduler would have seen them during training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lightning_modules.errors import choices
from lightning_modules.measures.catalogue import ALL_MEASURES, COLUMNS_ON_DEMAND, measure_of
from sweeps.errors import ReplayError
from sweeps.planning.plan import Plan
from sweeps.spec.stopping import EarlyStopping, Mode
from sweeps.store.records import Outcome
from sweeps.store.store import Store

SECONDS = "wall_seconds"


@dataclass(frozen=True)
class Curves:
    """The measures of n trainings at e epochs. Not every training is evaluated at every one of these epochs.

    Attributes:
        ids: The trainings in the order of the sweep, which is arrival order 0.
        horizons: [n], the last epoch that the sweep requests for the training.
        epochs: [e], all evaluated epochs except 0, ascending.
        measures: A mapping from name to values, [n, e], which are NaN if not computed or not defined.
        broke: [n], the epoch in which the training diverged, or 0 if it did not diverge.
        seconds: [n], the wall seconds per epoch, above 0.
        evaluated: [n, e], whether the training was evaluated at the epoch; by default, whether it has any measure.
    """

    ids: tuple[str, ...]
    horizons: np.ndarray
    epochs: np.ndarray
    measures: dict[str, np.ndarray]
    broke: np.ndarray
    seconds: np.ndarray
    evaluated: np.ndarray = field(default_factory=lambda: np.empty((0, 0), bool))

    def __post_init__(self) -> None:
        if not self.evaluated.size:
            there = np.logical_or.reduce([~np.isnan(values) for values in self.measures.values()])
            object.__setattr__(self, "evaluated", there)

    @property
    def lengths(self) -> np.ndarray:
        """Return the number of epochs, [n], of each training if it is not stopped: to divergence, or to the horizon."""
        return np.where(self.broke > 0, self.broke, self.horizons)

    def final(self, metric: str) -> np.ndarray:
        """Return the metric's value at each horizon, [n], or NaN for trainings that diverged."""
        at = np.searchsorted(self.epochs, self.horizons)
        values = self.measures[metric][np.arange(len(self.ids)), at]
        return np.where(self.broke > 0, np.nan, values)

    def of_horizon(self) -> dict[str, int]:
        """Return a mapping from training id to horizon."""
        return dict(zip(self.ids, self.horizons.tolist(), strict=True))

    @classmethod
    def read(cls, plan: Plan, store: Store, metrics: Sequence[str], run: str = "memsweep run") -> Curves:
        """Read the curves of these measures from a store.

        Args:
            plan: The plan of the sweep.
            store: The store.
            metrics: The names of the measures.
            run: The command that trains missing points, for error messages.

        Raises:
            ReplayError: If a metric was not recorded, or if trainings are missing, failed or were stopped early.
        """
        for metric in metrics:
            if metric not in ALL_MEASURES:
                raise ReplayError(f"--metric: unknown measure; {choices(metric, ALL_MEASURES)}")
        contents = store.read([*dict.fromkeys((*metrics, SECONDS))])
        ids = (*plan.horizons,)
        horizons = np.array([*plan.horizons.values()], np.int64)
        numbers = pc.index_in(contents.table["trajectory_id"], pa.array(ids, pa.string()))
        table = contents.table.filter(numbers.is_valid())
        number = numbers.drop_null().to_numpy()
        epoch = table["epoch"].to_numpy().astype(np.int64)
        outcome = table["outcome"].to_numpy()
        finished = (outcome == Outcome.FINISHED) & (epoch <= horizons[number])
        broke = np.zeros(len(ids), np.int64)
        diverged = (outcome == Outcome.DIVERGED) & (epoch <= horizons[number])
        broke[number[diverged]] = epoch[diverged]
        _require_whole(plan, number, epoch, outcome, broke, run)
        epochs = np.unique(epoch[finished & (epoch > 0)])
        rows = np.flatnonzero(finished & (epoch > 0))
        place = number[rows], np.searchsorted(epochs, epoch[rows])
        measures = {}
        for metric in metrics:
            measures[metric] = np.full((len(ids), len(epochs)), np.nan)
            measures[metric][place] = _numbers(table[metric])[rows]
        evaluated = np.zeros((len(ids), len(epochs)), bool)
        evaluated[place] = True
        timed = np.flatnonzero((outcome == Outcome.FINISHED) | (outcome == Outcome.DIVERGED))
        seconds = _seconds(_numbers(table[SECONDS])[timed], number[timed], epoch[timed], len(ids))
        made = cls(ids, horizons, epochs, measures, broke, seconds, evaluated)
        for metric in metrics:
            _require_recorded(metric, made, run)
        return made


def metrics_of(settings: Sequence[EarlyStopping]) -> tuple[str, ...]:
    """Return the distinct measures that these settings use."""
    return tuple(dict.fromkeys(metric for each in settings for metric in each.metrics))


def better(values: np.ndarray, mode: Mode) -> np.ndarray:
    """Return the values, negated if smaller values are better, so that larger results are always better."""
    return values if mode == "max" else -values


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(float)


def _seconds(wall: np.ndarray, number: np.ndarray, epoch: np.ndarray, count: int) -> np.ndarray:
    """Return the seconds per epoch of each training, computed from its last row, or 1 if no time was recorded."""
    order = np.lexsort((epoch, number))
    spent = wall[order] / np.maximum(epoch[order], 1)
    found = np.full(count, np.nan)
    found[number[order]] = spent  # the last row of a training overwrites the others
    return np.where(found > 0, found, 1.0)


def _require_whole(
    plan: Plan, number: np.ndarray, epoch: np.ndarray, outcome: np.ndarray, broke: np.ndarray, run: str
) -> None:
    """Raise ReplayError unless every training has a row at its horizon or diverged before it."""
    horizons = np.array([*plan.horizons.values()])
    whole = broke > 0
    whole[number[(outcome == Outcome.FINISHED) & (epoch == horizons[number])]] = True
    if whole.all():
        return
    total = f"of the {len(whole):,} trainings of {plan.name}"
    stopped = np.zeros(len(whole), bool)
    stopped[number[outcome == Outcome.STOPPED]] = True
    if (stopped & ~whole).any():
        raise ReplayError(
            f"{(stopped & ~whole).sum():,} {total} were themselves stopped early, and what they would have done is not "
            f"known; take early_stopping and stop_when out of the sweep and train them to their end: {run}"
        )
    failed = np.zeros(len(whole), bool)
    failed[number[outcome == Outcome.FAILED]] = True
    count = (failed & ~whole).sum()
    again = f"; {count:,} failed: {run} --retry-failed" if count else ""
    raise ReplayError(
        f"{(~whole).sum():,} {total} are not recorded up to their last epoch, and a replay needs all; train them: "
        f"{run}{again}"
    )


def _require_recorded(metric: str, curves: Curves, run: str) -> None:
    """Raise ReplayError if a training has reached its horizon but lacks the metric there, so it cannot be compared."""
    lacking = np.isnan(curves.final(metric)) & (curves.broke == 0)
    if not lacking.any():
        return
    if metric in COLUMNS_ON_DEMAND:
        what = f"measure: [{{{measure_of(metric)}: [epochs]}}] in the sweep, its last epoch among them"
    else:
        what = {
            "held_out": "validation_fraction above 0",
            "corrupted": "label_noise above 0, and below 1 for clean examples",
            "clean": "label_noise above 0, and below 1 for clean examples",
            None: "another store, for this one was written before it was measured",
        }[ALL_MEASURES[metric].needs]
    raise ReplayError(
        f"--metric {metric}: not recorded at the last epoch of {lacking.sum():,} of {len(lacking):,} trainings; what "
        f"records it is {what}: {run}"
    )
