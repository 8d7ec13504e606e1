"""The memorization phase of a training, after Arpit et al. 2017, figures 7 and 8: with noisy labels the accuracy on
clean data peaks first, and falls while the noise is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RISE = 0.05
"""How much more of the corrupted labels must be memorized after the peak to speak of a phase (a fraction, 0..1)."""


@dataclass(frozen=True)
class Phase:
    """From the epoch of the best clean test accuracy to the last one evaluated.

    rise: what the memorized fraction gained over it. fall: what the clean test accuracy lost over it (at least 0).
    """

    start: float
    end: float
    rise: float
    fall: float


def memorization_phase(
    epochs: Sequence[float], test_accuracy: Sequence[float], memorized_fraction: Sequence[float], rise: float = RISE
) -> Phase | None:
    """The phase of one training, or of the mean over seeds; epochs ascending, the rest in 0..1, NaN where unknown.

    It starts at the first epoch at which `test_accuracy` is at its maximum and ends at the last epoch. There is none if
    the maximum is at the last epoch, or if the memorized fraction at the end is not at least `rise` above that at the
    start. Epochs at which either is NaN are left out. Nothing is chosen by it: it is found with the test data in hand.
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
