"""Learning-rate schedules."""

from __future__ import annotations

import numpy as np

from lightning_modules.settings import Settings


def learning_rates(member: Settings, updates: np.ndarray, updates_per_epoch: int) -> np.ndarray:
    """Compute the learning rates, float64 [len(updates)], at the given updates, which are counted from 0.

    `constant` keeps the rate. `step` multiplies it by lr_decay_factor every lr_decay_epochs epochs. `inverse_sqrt` is
    rate / √(1 + ⌊t / lr_decay_updates⌋) (Nakkiran et al. 2019). `cosine` decreases at every update, from the rate to 0
    at the horizon (Loshchilov & Hutter 2017).
    """
    shape = {
        "constant": lambda t: np.ones(len(t)),
        "step": lambda t: member.lr_decay_factor ** (t // updates_per_epoch // member.lr_decay_epochs),
        "inverse_sqrt": lambda t: 1 / np.sqrt(1 + t // member.lr_decay_updates),
        "cosine": lambda t: 0.5 * (1 + np.cos(np.pi * t / (updates_per_epoch * member.epochs))),
    }[member.lr_schedule]
    return member.learning_rate * shape(updates)
