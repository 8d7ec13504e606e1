"""Check that an on-demand measure can be computed for a training. Planning uses the checks, so they avoid torch."""

from __future__ import annotations

from lightning_modules.data.applicability import AUGMENTATIONS
from lightning_modules.data.dataset import Facts
from lightning_modules.data.split_sizes import split_sizes
from lightning_modules.errors import InputError
from lightning_modules.models import families as models
from lightning_modules.models import layers
from lightning_modules.models.family import Family
from lightning_modules.models.layers import Layer
from lightning_modules.settings import Settings

MAX_UNROLLED_UPDATES = 1000
"""The maximum number of updates for the loss sensitivity, whose cost is quadratic in the number of updates."""


def updates(settings: Settings, facts: Facts, epochs: int) -> int:
    """Return the number of updates that a training makes in `epochs` epochs."""
    return split_sizes(settings, facts.train_size).updates(settings.batch_size) * epochs


def check_presented(settings: Settings, facts: Facts, epoch: int) -> None:
    """Raise InputError for epoch 0, at which no example has been presented yet."""
    if epoch < 1:
        raise InputError(
            "epochs", "given epoch 0, before which no example was presented; this measure takes epochs of at least 1"
        )


def check_unrolled(settings: Settings, facts: Facts, epoch: int) -> None:
    """Raise InputError for a training that `unrolled.LossSensitivity` cannot differentiate through."""
    check_presented(settings, facts, epoch)
    if settings.optimizer != "sgd":
        raise InputError("optimizer", f"given {settings.optimizer}; loss_sensitivity differentiates through sgd alone")
    for name in ("dropout", *AUGMENTATIONS):
        if strength := getattr(settings, name):
            raise InputError(name, f"given {strength}; loss_sensitivity takes trainings without it: use 0")
    family = models.find(settings.model)
    if isinstance(family, Family) and _normalises(
        family.network(facts.shape, facts.classes, settings.width, settings.depth)
    ):
        raise InputError(
            "model",
            f"given {settings.model} for data of shape {facts.shape}, whose BatchNorm keeps running statistics; "
            "loss_sensitivity takes networks of parameters alone",
        )
    through = updates(settings, facts, epoch)
    if through > MAX_UNROLLED_UPDATES:
        raise InputError(
            "epochs",
            f"given epoch {epoch:,}, which is {through:,} updates; loss_sensitivity goes through at most "
            f"{MAX_UNROLLED_UPDATES:,}: measure an earlier epoch, or take fewer examples or larger batches",
        )


def _normalises(layer: Layer) -> bool:
    """Return whether a layer contains a BatchNorm."""
    match layer:
        case layers.Chain(parts):
            return any(map(_normalises, parts))
        case layers.Residual(body, shortcut):
            return _normalises(body) or (shortcut is not None and _normalises(shortcut))
    return isinstance(layer, layers.BatchNorm)
