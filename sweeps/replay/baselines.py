"""What any scheduler has to beat: no stopping, a few epochs of all and the rest of the best, chance, and hindsight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeps.replay.clock import Stops
from sweeps.replay.curves import Curves, better
from sweeps.spec.stopping import Mode


@dataclass(frozen=True)
class IEpoch:
    """Train all for `epochs` epochs, then the `keep` best of them to their horizons.

    The best by their last value up to there; of equals the first in the sweep. What reached its horizon by then has
    finished, what broke is out. Bohdal et al. and Egele et al., arXiv 2307.15422; arXiv 2404.04111: successive halving
    often adds little to it.
    """

    metric: str
    mode: Mode
    epochs: int
    keep: int

    def words(self) -> str:
        spent = f"{self.epochs} epoch{'s' if self.epochs > 1 else ''}"
        return f"i-epoch({self.metric} {self.mode}, {spent}, top {self.keep})"

    def stops(self, curves: Curves) -> Stops:
        ranked = ranking(curves, self.metric, self.mode, self.epochs)
        return _kept(curves, self.epochs, ranked[: self.keep])


def ranking(curves: Curves, metric: str, mode: Mode, epoch: int) -> np.ndarray:
    """Numbers of the trainings that are alive and unfinished after this epoch, the best by the metric first."""
    alive = np.flatnonzero((curves.lengths > epoch) & ~((curves.broke > 0) & (curves.broke <= epoch)))
    score = better(last_value(curves, metric, epoch), mode)[alive]
    return alive[np.argsort(-np.where(np.isnan(score), -np.inf, score), kind="stable")]


def last_value(curves: Curves, metric: str, epoch: int) -> np.ndarray:
    """[n]: of the latest evaluation up to this epoch that has the metric, NaN without one."""
    values = curves.measures[metric][:, curves.epochs <= epoch]
    if not values.shape[1]:
        return np.full(len(curves.ids), np.nan)
    there = ~np.isnan(values)
    latest = values.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
    return np.where(there.any(axis=1), values[np.arange(len(values)), latest], np.nan)


def as_many_as(curves: Curves, metric: str, mode: Mode, epochs: int, budget: float) -> IEpoch:
    """The i-epoch rule that keeps as many as `budget`, a number of epochs over all trainings, pays for; at least 1."""
    ranked = ranking(curves, metric, mode, epochs)
    spent = np.minimum(curves.lengths, epochs).sum() + np.cumsum(curves.lengths[ranked] - epochs)
    return IEpoch(metric, mode, epochs, max(1, int(np.searchsorted(spent, budget, side="right"))))


def no_stopping(curves: Curves) -> Stops:
    return _kept(curves, 0, np.arange(len(curves.ids)))


def hindsight(curves: Curves, metric: str, mode: Mode) -> Stops:
    """The least that keeps the best: it alone is trained, the others not begun. Of equals, the shortest training."""
    score = better(curves.final(metric), mode)
    best = np.flatnonzero(score == np.nanmax(score)) if not np.isnan(score).all() else np.empty(0, np.int64)
    return _kept(curves, 0, best[np.argsort(curves.horizons[best], kind="stable")][:1])


def at_random(curves: Curves, stops: Stops, order: int) -> Stops:
    """The stop epochs of another rule dealt out anew, among trainings with the same horizon: its budget, by chance.

    What diverges sooner than it is dealt stops there, so that the budget can be a little smaller.
    """
    rng = np.random.default_rng([order, 0xD1CE])
    dealt = np.empty_like(stops.epochs)
    for horizon in np.unique(curves.horizons):
        same = np.flatnonzero(curves.horizons == horizon)
        dealt[same] = stops.epochs[rng.permutation(same)]
    dealt = np.minimum(dealt, curves.lengths)
    return Stops(dealt, (dealt >= curves.horizons) & (curves.broke == 0))


def _kept(curves: Curves, epochs: int, kept: np.ndarray) -> Stops:
    """All for these epochs at most, `kept` as long as they last."""
    stops = np.minimum(curves.lengths, epochs)
    stops[kept] = curves.lengths[kept]
    return Stops(stops, (stops >= curves.horizons) & (curves.broke == 0))
