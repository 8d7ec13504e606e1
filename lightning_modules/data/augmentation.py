"""Augmentation of the batches of K members at once.

Each member draws the parameters of its transformations from its own generator, and draws nothing for a transformation
that is off, so its draws do not depend on the other members. The transformations are then applied to the examples of
all members as one batch. Each output depends on one example only, so its bits do not depend on the batch either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_modules.data.applicability import AUGMENTATIONS, check_applicable
from lightning_modules.settings import Settings

Draw = Callable[[float, tuple[int, ...], torch.Generator], Tensor]
"""(strength, shape [B, *shape] of one member's batch, its generator) -> float64 parameters [B, ...]."""

Apply = Callable[[Tensor, Tensor], Tensor]
"""(inputs [N, *shape], parameters [N, ...] of the same dtype) -> inputs [N, *shape]."""


@dataclass(frozen=True)
class Operation:
    """A transformation whose strength is the setting named `field`; 0 turns it off."""

    field: str
    draw: Draw
    apply: Apply


class Augmenter:
    """A callable that applies each member's augmentation: inputs [K, B, *shape] -> inputs [K, B, *shape].

    Applies the operations in the order of OPERATIONS. The inputs of a member that uses no operation are not changed.
    Raises DataError(field) for an operation that does not apply to inputs of this shape.
    """

    def __init__(
        self, members: Sequence[Settings], shape: tuple[int, ...], device: torch.device | str, dtype: torch.dtype
    ) -> None:
        self.shape = shape
        self.device = torch.device(device)
        self.dtype = dtype
        for member in members:
            check_applicable({field: getattr(member, field) for field in AUGMENTATIONS}, shape)
        self._steps: list[tuple[Operation, dict[int, float], Tensor]] = []
        for operation in OPERATIONS:
            strengths = {k: s for k, member in enumerate(members) if (s := float(getattr(member, operation.field)))}
            if strengths:
                self._steps.append((operation, strengths, torch.tensor(list(strengths), device=self.device)))

    @property
    def active(self) -> bool:
        """True if any member uses an operation."""
        return bool(self._steps)

    def __call__(self, inputs: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Augment the batches with one generator per member. Returns `inputs` itself if no operation is on."""
        batch = inputs.shape[1:]
        for operation, strengths, chosen in self._steps:
            drawn = torch.stack([operation.draw(s, tuple(batch), generators[k]) for k, s in strengths.items()])
            parameters = drawn.to(self.device, self.dtype).flatten(0, 1)
            if len(strengths) == len(inputs):
                inputs = operation.apply(inputs.flatten(0, 1), parameters).unflatten(0, inputs.shape[:2])
                continue
            changed = operation.apply(inputs[chosen].flatten(0, 1), parameters).unflatten(0, (-1, batch[0]))
            inputs = inputs.index_copy(0, chosen, changed)
        return inputs


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw uniformly from [0, 1), always in float64 so that trainings of both precisions draw the same numbers."""
    return torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)


def _symmetric(strength: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw uniformly from [-strength, strength)."""
    return (2 * _uniform(shape, generator) - 1) * strength


def _whole(strength: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw uniformly from the integers -strength..strength."""
    return torch.floor(_uniform(shape, generator) * (2 * strength + 1)) - strength


def _draw_crop_flip(strength: float, batch: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw [B, 3]: pixels down, pixels right, and 1 to flip or 0 not to flip."""
    moves = _whole(strength, (batch[0], 2), generator)
    flips = torch.floor(2 * _uniform((batch[0], 1), generator))
    return torch.cat([moves, flips], dim=1)


def _crop_flip(images: Tensor, parameters: Tensor) -> Tensor:
    """Pad by repeating the edges, crop to the original size, then flip the chosen images left to right."""
    height, width = images.shape[-2:]
    down, right, flip = parameters.long().unbind(1)
    rows = torch.arange(height, device=images.device) + down[:, None]
    columns = torch.arange(width, device=images.device)
    columns = torch.where(flip[:, None] == 1, columns.flip(0), columns) + right[:, None]
    images = images.take_along_dim(rows.clamp(0, height - 1)[:, None, :, None], dim=2)
    return images.take_along_dim(columns.clamp(0, width - 1)[:, None, None, :], dim=3)


def _rotation(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate anticlockwise about the centre, with bilinear interpolation and border padding."""
    from kornia.geometry.transform import rotate

    return rotate(images, degrees, padding_mode="border")


def _draw_color_jitter(strength: float, batch: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw [B, 3]: the brightness to add, the contrast factor and the saturation factor."""
    jitter = _symmetric(strength, (batch[0], 3), generator)
    return jitter + torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64, device=jitter.device)


def _color_jitter(images: Tensor, parameters: Tensor) -> Tensor:
    """Change saturation (blend with the grey image; 3 channels only), contrast (scale about 0) and brightness (add).

    Values are not clipped, so inputs may be scaled to 0..1 or to -1..1.
    """
    from kornia.color import rgb_to_grayscale
    from kornia.enhance import adjust_brightness, adjust_contrast

    brightness, contrast, saturation = parameters.unbind(1)
    if images.shape[1] == 3:
        grey = rgb_to_grayscale(images)
        images = grey + (images - grey) * saturation[:, None, None, None]
    return adjust_brightness(adjust_contrast(images, contrast, clip_output=False), brightness, clip_output=False)


def _shift(signals: Tensor, samples: Tensor) -> Tensor:
    """Roll each signal to later times by its number of samples. The end wraps around to the start."""
    length = signals.shape[-1]
    index = (torch.arange(length, device=signals.device) - samples.long()[:, None]) % length
    return signals.take_along_dim(index[:, None, :], dim=2)


def _draw_noise(strength: float, batch: tuple[int, ...], generator: torch.Generator) -> Tensor:
    normal = torch.empty(batch, dtype=torch.float64, device=generator.device).normal_(generator=generator)
    return normal * strength


OPERATIONS: tuple[Operation, ...] = (
    Operation("crop_flip", _draw_crop_flip, _crop_flip),
    Operation("rotation", lambda s, batch, g: _symmetric(s, batch[:1], g), _rotation),
    Operation("color_jitter", _draw_color_jitter, _color_jitter),
    Operation("shift", lambda s, batch, g: _whole(s, batch[:1], g), _shift),
    Operation("scale", lambda s, batch, g: 1 + _symmetric(s, batch[:1], g), lambda x, gain: x * gain[:, None, None]),
    Operation("augment_noise", _draw_noise, torch.add),
)
"""The operations in the order in which they are drawn and applied. Noise is last, so no other operation smooths it."""
