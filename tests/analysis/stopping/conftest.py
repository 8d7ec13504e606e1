"""Fixtures that build curves and stops by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

FIELDS: dict[str, Any] = {"data": "mnist1d", "model": "mlp", "label_noise": 0.0, "learning_rate": 0.1, "width": 8}
Curves = Callable[..., pd.DataFrame]
Stops = Callable[..., pd.DataFrame]


def curves_of(
    runs: Mapping[str, Sequence[float]],
    fields: Mapping[str, Mapping[str, Any]] | None = None,
    metric: str = "test_accuracy",
    epochs: Sequence[int] | None = None,
    horizon: int | None = None,
    **others: Mapping[str, Sequence[float]],
) -> pd.DataFrame:
    """Build one row per training and epoch (1, 2, ...; NaN: no row), with more measures in `others`."""
    rows = []
    for name, values in runs.items():
        at = list(epochs or range(1, len(values) + 1))
        for place, (epoch, value) in enumerate(zip(at, values, strict=True)):
            if np.isnan(value):
                continue
            more = {measure: float(table[name][place]) for measure, table in others.items()}
            given = {**FIELDS, "seed": 0, **(fields or {}).get(name, {})}
            rows.append({"trajectory_id": name, "epoch": epoch, "outcome": "finished", "epochs": horizon or at[-1],
                         **given, "train_accuracy": 0.5, "test_accuracy": 0.5, metric: value, **more})  # fmt: skip
    return pd.DataFrame(rows)


def stops_of(
    stopped: Mapping[str, int], horizon: int, scheduler: str = "asha", signal: str = "test_accuracy", order: int = 0
) -> pd.DataFrame:
    """Build one row per training with the epoch at which it was stopped."""
    return pd.DataFrame(
        [
            {"signal": signal, "scheduler": scheduler, "setting": scheduler, "order": order, "trajectory_id": name,
             "stop_epoch": epoch, "finished": epoch == horizon, "horizon": horizon}
            for name, epoch in stopped.items()
        ]
    )  # fmt: skip


@pytest.fixture(name="curves_of", scope="session")
def curves_of_fixture() -> Curves:
    return curves_of


@pytest.fixture(name="stops_of", scope="session")
def stops_of_fixture() -> Stops:
    return stops_of


@pytest.fixture(scope="session")
def study() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Build curves of 2 noise levels x 3 widths x 2 rates x 3 seeds over 12 epochs, and stops of four schedulers."""
    rng = np.random.default_rng(0)
    runs, fields, more = {}, {}, {}
    for noise in (0.0, 0.4):
        for width in (4, 8, 16, 32):
            for rate in (0.1, 0.2):
                for seed in range(3):
                    name = f"n{noise}w{width}r{rate}s{seed}"
                    epoch = np.arange(1, 13)
                    dip = 0.3 * np.exp(-(((epoch - 6) / 1.5) ** 2)) * (width == 32)
                    end = (0.4 + 0.1 * np.log2(width / 4)) * (1 - noise) - 0.2 * (width == 16)
                    runs[name] = np.clip(
                        0.1 + end * (1 - np.exp(-epoch * rate * 4)) - dip + 0.01 * rng.standard_normal(12), 0, 1
                    )
                    memorized = np.clip(width / 32 * epoch / 12, 0, 1) if noise else np.full(12, np.nan)
                    fields[name] = {"label_noise": noise, "width": width, "learning_rate": rate, "seed": seed}
                    more[name] = (np.clip(runs[name] * (1 - noise) + 0.02 * rng.standard_normal(12), 0, 1), memorized)
    curves = curves_of(
        runs, fields, validation_accuracy={k: v[0] for k, v in more.items()},
        memorized_fraction={k: v[1] for k, v in more.items()},
    )  # fmt: skip
    parts = []
    for signal in ("validation_accuracy", "test_accuracy"):
        for order in range(2):
            for scheduler, least in (("none", 12), ("i-epoch", 3), ("asha", 1), ("median", 6)):
                stop = {
                    name: 12 if least == 12 or rng.random() < 0.3 else int(rng.integers(least, 12)) for name in runs
                }
                parts.append(stops_of(stop, 12, scheduler, signal, order))
    return curves, pd.concat(parts, ignore_index=True)
