"""The memorization phase of a training (Arpit et al. 2017, figures 7 and 8).

With noisy labels, the accuracy on clean data first peaks and then falls while the noise is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RISE = 0.05
"""The smallest increase of the memorized fraction after the peak that counts as a phase (0..1)."""


@dataclass(frozen=True)
class Phase:
    """A memorization phase, from the epoch of the best clean test accuracy to the last evaluated epoch.

    Attributes:
        start: The first epoch of the phase.
        end: The last epoch of the phase.
        rise: The increase of the memorized fraction over the phase.
        fall: The decrease of the clean test accuracy over the phase (at least 0).
    """

    start: float
    end: float
    rise: float
    fall: float


def memorization_phase(
    epochs: Sequence[float], test_accuracy: Sequence[float], memorized_fraction: Sequence[float], rise: float = RISE
) -> Phase | None:
    """Find the memorization phase of one training, or of the mean over seeds.

    The phase starts at the first epoch at which `test_accuracy` is at its maximum and ends at the last epoch. There is
    no phase if the maximum is at the last epoch, or if the memorized fraction increases by less than `rise` from the
    start to the end. Since a phase is found from test data, it may describe a training but must not select one.

    Args:
        epochs: The evaluated epochs, ascending.
        test_accuracy: Clean test accuracy, 0..1. Epochs at which either curve is NaN are left out.
        memorized_fraction: The memorized fraction of the corrupted labels, 0..1.
        rise: The smallest increase of the memorized fraction that counts as a phase.

    Returns:
        The phase, or None if there is none.
    """
    at = np.asarray(epochs, dtype=float)
    test, memorized = np.asarray(test_accuracy, dtype=float), np.asarray(memorized_fraction, dtype=float)
    known = ~(np.isnan(test) | np.isnan(memorized))
    at, test, memorized = at[known], test[known], memorized[known]
    if at.size < 2:
        return None
    peak = int(np.argmax(test))
    gain = float(memorized[-1] - memorized[peak])
    if peak == at.size - 1 or gain < rise:
        return None
    return Phase(float(at[peak]), float(at[-1]), gain, float(test[peak] - test[-1]))
