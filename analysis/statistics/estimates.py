"""From one number per seed to an effect with its interval. The only statistics of the claims.

Points that differ in one field share the seed, and with it initialisation, order of examples and nested noise. So a
contrast is taken inside a seed first, and the seeds are the sample: what seeds have in common cancels, and several
settings of one seed never count as several observations.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.intervals import t_half

FEWEST = 3
"""Seeds below which there is no verdict: two agree by accident too easily where epochs are counted."""
MOST = 200
T_INTERVAL = "95 % t interval over seeds"
LOG_INTERVAL = "95 % t interval over seeds, of the logarithm"


@dataclass(frozen=True)
class Effects:
    """each: one number a seed (index: seed), NaN where it has none. ratio: they are ratios, averaged as logarithms."""

    each: pd.Series
    ratio: bool = False
    note: str = ""


@dataclass(frozen=True)
class Estimate:
    """value: the effect; low, high: its 95 % interval, NaN where there is none; n: what it is averaged over (`of`).

    each: the number of every seed; empty where the effect is not a mean over seeds. sd: of those (of their
    logarithms, for ratios). how: the kind of interval, in words.
    """

    value: float
    low: float
    high: float
    n: int
    how: str
    of: str = "seeds"
    sd: float = np.nan
    ratio: bool = False
    each: Mapping[Hashable, float] = field(default_factory=dict)
    note: str = ""


def mean_over_seeds(effects: Effects) -> Estimate:
    """The mean and its t interval with n - 1 degrees of freedom; NaN interval below `FEWEST` seeds.

    Ratios: the geometric mean, and the interval of the mean logarithm, exponentiated; a ratio that is not above 0
    counts as no number.
    """
    given = effects.each.astype(float)
    if effects.ratio:
        given = np.log(given.where(given > 0))
    known = given[np.isfinite(given)].sort_index()
    n = len(known)
    mean = float(known.mean()) if n else np.nan
    sd = float(known.std(ddof=1)) if n > 1 else np.nan
    half = t_half(sd, n) if n >= FEWEST else np.nan
    back = np.exp if effects.ratio else float
    return Estimate(
        value=float(back(mean)), low=float(back(mean - half)), high=float(back(mean + half)), n=n,
        how=LOG_INTERVAL if effects.ratio else T_INTERVAL, sd=sd, ratio=effects.ratio,
        each={seed: float(back(number)) for seed, number in known.items()}, note=effects.note,
    )  # fmt: skip


def seeds_needed(sd: float, distance: float) -> int | None:
    """How many seeds make the half-width of the t interval smaller than the distance to the margin, if mean and sd
    stay; None for more than `MOST`."""
    if not (sd >= 0 and distance > 0):
        return None
    n = np.arange(FEWEST, MOST + 1)
    enough = t_half(sd, n) < distance
    return int(n[enough.argmax()]) if enough.any() else None
