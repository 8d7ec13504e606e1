"""Check which augmentations apply to which inputs. The check needs no torch, so planning can refuse a sweep early."""

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
"""The augmentation settings, each with the numbers of input dimensions to which it applies."""


def check_applicable(settings: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    """Raise DataError(field) if an enabled augmentation does not apply to inputs of this shape.

    Args:
        settings: Values by field. An augmentation is off if its value is absent or 0. Other fields are ignored.
        shape: The shape of one input.
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
