"""Baselines for schedulers: no stopping, i-epoch (run all briefly, continue the best), random stops and hindsight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweeps.replay.clock import Stops
from sweeps.replay.curves import Curves, better
from sweeps.spec.stopping import Mode


@dataclass(frozen=True)
class IEpoch:
    """A rule that runs all trainings for `epochs` epochs, and then continues the `keep` best ones to their horizons.

    Trainings are ranked by their last value up to that epoch, and ties keep the order of the sweep. A training that has
    already reached its horizon is finished, and one that has diverged is not continued. Successive halving often adds
    little to this rule: Bohdal et al. and Egele et al., arXiv 2307.15422; arXiv 2404.04111.
    """

    metric: str
    mode: Mode
    epochs: int
    keep: int

    def words(self) -> str:
        epochs = f"{self.epochs} epoch{'s' if self.epochs > 1 else ''}"
        return f"i-epoch({self.metric} {self.mode}, {epochs}, top {self.keep})"

    def stops(self, curves: Curves) -> Stops:
        ranked = ranking(curves, self.metric, self.mode, self.epochs)
        return _kept(curves, self.epochs, ranked[: self.keep])


def ranking(curves: Curves, metric: str, mode: Mode, epoch: int) -> np.ndarray:
    """Return the indices of the trainings that can continue after this epoch, from the best to the worst."""
    alive = np.flatnonzero((curves.lengths > epoch) & ~((curves.broke > 0) & (curves.broke <= epoch)))
    score = better(last_value(curves, metric, epoch), mode)[alive]
    return alive[np.argsort(-np.where(np.isnan(score), -np.inf, score), kind="stable")]


def last_value(curves: Curves, metric: str, epoch: int) -> np.ndarray:
    """Return each training's latest value up to this epoch, or NaN if it has none. Shape [n]."""
    values = curves.measures[metric][:, curves.epochs <= epoch]
    if not values.shape[1]:
        return np.full(len(curves.ids), np.nan)
    present = ~np.isnan(values)
    latest = values.shape[1] - 1 - np.argmax(present[:, ::-1], axis=1)
    return np.where(present.any(axis=1), values[np.arange(len(values)), latest], np.nan)


def within_budget(curves: Curves, metric: str, mode: Mode, epochs: int, budget: float) -> IEpoch:
    """Return the i-epoch rule that keeps at least 1 training, and as many as `budget`, in total epochs, allows."""
    ranked = ranking(curves, metric, mode, epochs)
    spent = np.minimum(curves.lengths, epochs).sum() + np.cumsum(curves.lengths[ranked] - epochs)
    return IEpoch(metric, mode, epochs, max(1, int(np.searchsorted(spent, budget, side="right"))))


def no_stopping(curves: Curves) -> Stops:
    return _kept(curves, 0, np.arange(len(curves.ids)))


def hindsight(curves: Curves, metric: str, mode: Mode) -> Stops:
    """Return the stops of an oracle that trains only the best training, or the shortest of several best ones."""
    score = better(curves.final(metric), mode)
    best = np.flatnonzero(score == np.nanmax(score)) if not np.isnan(score).all() else np.empty(0, np.int64)
    return _kept(curves, 0, best[np.argsort(curves.horizons[best], kind="stable")][:1])


def at_random(curves: Curves, stops: Stops, order: int) -> Stops:
    """Spend the budget of another rule at random: shuffle its stop epochs among trainings with the same horizon.

    A training that diverges before its new stop epoch ends early, so the epochs spent can be slightly fewer.
    """
    rng = np.random.default_rng([order, 0xD1CE])
    shuffled = np.empty_like(stops.epochs)
    for horizon in np.unique(curves.horizons):
        same = np.flatnonzero(curves.horizons == horizon)
        shuffled[same] = stops.epochs[rng.permutation(same)]
    shuffled = np.minimum(shuffled, curves.lengths)
    return Stops(shuffled, (shuffled >= curves.horizons) & (curves.broke == 0))


def _kept(curves: Curves, epochs: int, kept: np.ndarray) -> Stops:
    """Return the stops when trainings in `kept` run to their end, and all others for at most `epochs` epochs."""
    stops = np.minimum(curves.lengths, epochs)
    stops[kept] = curves.lengths[kept]
    return Stops(stops, (stops >= curves.horizons) & (curves.broke == 0))
