"""Estimation of an effect and its interval from one number per seed, as used for claims.

Points with the same seed share the initialisation, the order of examples and the nested noise. Therefore contrasts are
computed within a seed, and the seeds are the sample. Whatever the points of a seed have in common cancels, and several
settings of one seed never count as several observations.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.intervals import t_half

FEWEST = 3
"""The smallest number of seeds for a verdict. Two seeds may easily agree by chance if the numbers are epochs."""
MOST = 200
T_INTERVAL = "95 % t interval over seeds"
LOG_INTERVAL = "95 % t interval over seeds, of the logarithm"


@dataclass(frozen=True)
class Effects:
    """The numbers of all seeds, from which an effect is estimated.

    Attributes:
        per_seed: One number per seed (index: seed); NaN for a seed without a number.
        ratio: Whether the numbers are ratios, which are averaged as logarithms.
        note: A remark for the reader.
    """

    per_seed: pd.Series
    ratio: bool = False
    note: str = ""


@dataclass(frozen=True)
class Estimate:
    """An effect with its 95 % interval.

    Attributes:
        value: The effect.
        low: Lower end of the interval; NaN without an interval.
        high: Upper end of the interval.
        n: The number of units averaged.
        how: The kind of interval, in words.
        of: The units averaged, in words.
        sd: Standard deviation of the numbers over seeds (of their logarithms, for ratios).
        ratio: Whether the effect is a ratio.
        per_seed: The number of each seed; empty if the effect is not a mean over seeds.
        note: A remark for the reader.
    """

    value: float
    low: float
    high: float
    n: int
    how: str
    of: str = "seeds"
    sd: float = np.nan
    ratio: bool = False
    per_seed: Mapping[Hashable, float] = field(default_factory=dict)
    note: str = ""


def mean_over_seeds(effects: Effects) -> Estimate:
    """Average over seeds, with a t interval of n - 1 degrees of freedom (NaN with fewer than `FEWEST` seeds).

    For ratios, the result is the geometric mean, with the exponentiated interval of the mean logarithm. Ratios that are
    not above 0 are left out.
    """
    given = effects.per_seed.astype(float)
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
        per_seed={seed: float(back(number)) for seed, number in known.items()}, note=effects.note,
    )  # fmt: skip


def seeds_needed(sd: float, distance: float) -> int | None:
    """Return the smallest number of seeds at which half the width of the t interval is below `distance`.

    The standard deviation `sd` is assumed to stay. Returns None if more than `MOST` seeds are needed.
    """
    if not (sd >= 0 and distance > 0):
        return None
    n = np.arange(FEWEST, MOST + 1)
    enough = t_half(sd, n) < distance
    return int(n[enough.argmax()]) if enough.any() else None
