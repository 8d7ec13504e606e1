"""Curves made by hand or at random, without a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from sweeps.replay.curves import Curves

MakeCurves = Callable[..., Curves]


@pytest.fixture(scope="session")
def make_curves() -> MakeCurves:
    """Of rows of scores, one a training; NaN where it was not evaluated.

    epochs: of the columns, by default 1, 2, 3, ... broke: training -> the epoch it diverged in. more: other measures.
    """

    def make(
        scores: Sequence[Sequence[float]] | np.ndarray, *, epochs: Sequence[int] | None = None,
        horizons: Sequence[int] | None = None, broke: dict[int, int] | None = None,
        seconds: Sequence[float] | None = None, **more: np.ndarray,
    ) -> Curves:  # fmt: skip
        values = np.array(scores, float)
        at = np.array(epochs if epochs is not None else range(1, values.shape[1] + 1))
        ends = np.zeros(len(values), int)
        for index, epoch in (broke or {}).items():
            ends[index] = epoch
        return Curves(
            tuple(f"t{i}" for i in range(len(values))),
            np.array(horizons if horizons is not None else [at[-1]] * len(values)),
            at,
            {"score": values, **{name: np.array(each, float) for name, each in more.items()}},
            ends,
            np.array(seconds if seconds is not None else np.ones(len(values)), float),
        )

    return make
