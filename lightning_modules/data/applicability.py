"""Which augmentation is for which inputs. Without torch, so that planning can refuse a sweep before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_modules.errors import DataError

VECTORS, SIGNALS, IMAGES = 1, 2, 3
"""The number of dimensions of one input."""

KIND = {VECTORS: "vectors", SIGNALS: "signals (channels, length)", IMAGES: "images (channels, height, width)"}

AUGMENTATIONS: dict[str, frozenset[int]] = {
    "rotation": frozenset({IMAGES}),
    "color_jitter": frozenset({IMAGES}),
    "crop_flip": frozenset({IMAGES}),
    "shift": frozenset({SIGNALS}),
    "scale": frozenset({SIGNALS}),
    "augment_noise": frozenset({VECTORS, SIGNALS, IMAGES}),
}
"""The fields of a training that vary its batches, and the dimensions of the inputs that each is for."""


def check_applicable(settings: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    """Raise DataError(field) for an augmentation that is on and that inputs of this shape cannot have.

    `settings` holds fields of AUGMENTATIONS by name, and may hold others; an absent one is off, as one at 0 is.
    """
    for field, dimensions in AUGMENTATIONS.items():
        strength = settings.get(field, 0)
        if not strength:
            continue
        if len(shape) not in dimensions:
            wanted = KIND[min(dimensions)]
            raise DataError(
                field,
                f"given {strength} with inputs of shape {shape}, which are {KIND[len(shape)]}; it is for {wanted}: "
                "use 0",
            )
        if field == "crop_flip" and strength >= min(shape[1:]):
            raise DataError(
                field,
                f"given {strength} with images of {shape[1]} x {shape[2]} pixels; valid is 0..{min(shape[1:]) - 1}",
            )
