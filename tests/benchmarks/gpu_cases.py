"""The trainings that gpu_contenders.py measures, and their data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from lightning_modules.data import sources
from lightning_modules.data.sources import Dataset
from lightning_modules.settings import Settings

Emit = Callable[..., None]
"""Writes a measurement."""


@dataclass(frozen=True)
class Case:
    """A kind of training: the fields of its members, its data set, and the largest stack to try."""

    fields: Mapping[str, Any]
    data: str
    most: int

    def settings(self, k: int, quick: bool, **more: Any) -> Settings:
        """Return the settings of member k: noise and decay vary as in the reference grid of throughput.py."""
        fields = {
            "batch_size": 128, "dropout": 0.2, **self.fields, "label_noise": (0.0, 0.15, 0.5, 1.0)[k % 4],
            "weight_decay": (0.0, 1e-3)[k // 4 % 2], "seed": k // 8, **more,
        }  # fmt: skip
        if quick:
            fields |= {"epochs": 1, "dataset_size": 40, "batch_size": 20, "width": 4, "depth": 1}
        return Settings(**fields)


CASES = {
    "mlp": Case({"model": "mlp", "width": 100, "depth": 2, "epochs": 20}, "mnist1d", 1024),
    "convnet": Case({"model": "convnet", "width": 18, "epochs": 10}, "mnist1d", 1024),
    "resnet": Case({"model": "resnet", "width": 16, "depth": 2, "epochs": 2, "dropout": 0.0}, "images", 256),
    "transformer": Case({"model": "transformer", "width": 32, "depth": 2, "epochs": 5}, "mnist1d", 1024),
}


@cache
def dataset(name: str) -> Dataset:
    """Return MNIST-1D, or 2,000 random images of the size of CIFAR-10's."""
    if name != "images":
        return sources.load(name)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2500, 3, 32, 32)).astype(np.float32)
    labels = np.arange(2500) % 10
    return Dataset.of(images[:2000], labels[:2000], images[2000:], labels[2000:])


def wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
