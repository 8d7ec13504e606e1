"""An invented sweep: smooth, seeded numbers that depend on label noise and capacity as real ones do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

BASE: dict[str, Any] = {
    "data": "mnist1d", "data_digest": "", "dataset_size": None, "validation_fraction": 0.0,
    "subset_fraction": 1.0, "data_seed": None, "complexity": 1,
    "label_noise": 0.0, "label_noise_kind": "uniform", "input_noise": 0.0, "input_noise_kind": "gaussian",
    "rotation": 0.0, "augment_noise": 0.0, "color_jitter": 0.0, "crop_flip": 0, "shift": 0, "scale": 0.0,
    "model": "mlp", "model_digest": "", "parameter_count": None, "width": None, "depth": None, "dropout": 0.0,
    "optimizer": "sgd", "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.0, "lr_schedule": "constant",
    "lr_decay_epochs": 15, "lr_decay_factor": 0.5, "lr_decay_updates": 512, "batch_size": 128, "epochs": 100,
    "precision": "float32", "seed": 0,
}  # fmt: skip
Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]
EPOCHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)


def measures(point: Mapping[str, Any], epoch: int) -> dict[str, float]:
    rng = np.random.default_rng([point["seed"], int(point["label_noise"] * 100), point["parameter_count"] or 0])
    q, size = point["label_noise"], float(point["parameter_count"] or 3000)
    capacity = 1 / (1 + (4000 * (0.3 + q) / size) ** 1.4) * (1 - 0.7 * point["dropout"])
    learnt = 1 - np.exp(-epoch / 4)
    fitted = 1 / (1 + (22 * (1 + q) / epoch) ** 2.2)
    jitter = 0.015 * rng.standard_normal(4)
    memorized = np.clip(0.03 + 0.97 * capacity * fitted + jitter[0], 0, 1)
    clean = np.clip(0.1 + 0.85 * learnt * (1 - 0.5 * q) + 0.1 * capacity * fitted + jitter[1], 0, 1)
    test = np.clip(0.1 + (0.62 - 0.45 * q) * learnt - 0.35 * q * memorized + jitter[2], 0, 1)
    recovered = np.clip((1 - memorized) * test + jitter[3], 0, 1)
    train = (1 - 0.9 * q) * clean + 0.9 * q * memorized
    return {
        "train_loss": -np.log(np.clip(train, 1e-4, 1)), "train_accuracy": train,
        "test_loss": 1.2 * (1 - test) ** 2 + 0.4 + 2 * memorized * q, "test_accuracy": test,
        "clean_accuracy": clean, "memorized_fraction": memorized if q else np.nan,
        "recovered_fraction": recovered if q else np.nan, "bits_memorized": 4000 * q * 3.3 * memorized,
        "validation_loss": np.nan, "validation_accuracy": np.nan,
    }  # fmt: skip


def sweep(
    lost: Mapping[tuple[tuple[str, Any], ...], str] | None = None, **axes: Sequence[Any]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Build (points, curves) of the product of the axes; `lost` maps settings to the outcome of all their points."""
    key = repr((lost, axes))
    if key not in _MADE:
        _MADE[key] = _sweep(lost or {}, axes)
    points, curves = _MADE[key]
    return points.copy(), curves.copy()


_MADE: dict[str, tuple[pd.DataFrame, pd.DataFrame]] = {}


def _sweep(
    lost: Mapping[tuple[tuple[str, Any], ...], str], axes: Mapping[str, Sequence[Any]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    points, curves = [], []
    for values in product(*axes.values()):
        point = {**BASE, **dict(zip(axes, values, strict=True))}
        training = {key: value for key, value in point.items() if key != "epochs"}
        ids = {
            "point_id": hashlib.blake2b(repr(point).encode(), digest_size=10).hexdigest(),
            "trajectory_id": hashlib.blake2b(repr(training).encode(), digest_size=10).hexdigest(),
        }
        outcome = next((end for when, end in lost.items() if all(point[k] == v for k, v in when)), "finished")
        parameters = (point["parameter_count"] or 3000) * 1.01 // 1
        finished = outcome == "finished"
        final = measures(point, point["epochs"])
        row = final if finished else dict.fromkeys(final, np.nan)
        points.append({**ids, **point, "parameters": parameters if outcome != "missing" else np.nan,
                       "epoch": point["epochs"] if finished else np.nan, **row, "outcome": outcome})  # fmt: skip
        if outcome != "missing":
            last = point["epochs"] if finished else point["epochs"] // 10
            curves += [
                {**ids, **point, "parameters": parameters, "epoch": epoch, **measures(point, epoch), "outcome": outcome}
                for epoch in EPOCHS if epoch <= last
            ]  # fmt: skip
    evaluated = pd.DataFrame(curves, columns=None if curves else [*points[0]])
    return pd.DataFrame(points), evaluated.drop_duplicates(["trajectory_id", "epoch"], ignore_index=True)


@pytest.fixture(name="sweep", scope="session")
def sweep_fixture() -> Sweep:
    return sweep
