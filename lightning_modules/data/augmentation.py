"""Augmentation of the batches of K members at once.

Each member draws the parameters of its own transformations from its own generator, and draws nothing for one that is
off: what it gets depends on nobody beside it. The transformations themselves then run on the members' examples as one
batch; every one of them computes an example from that example alone, so its bits do not depend on the batch either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_modules.data.applicability import AUGMENTATIONS, check_applicable
from lightning_modules.settings import Settings

Draw = Callable[[float, tuple[int, ...], torch.Generator], Tensor]
"""(strength, shape [B, *shape] of a member's batch, its generator) -> float64 parameters [B, ...]."""

Apply = Callable[[Tensor, Tensor], Tensor]
"""(inputs [N, *shape], parameters [N, ...] of the inputs' type) -> inputs [N, *shape]."""


@dataclass(frozen=True)
class Operation:
    """A transformation whose strength is the field of its name; 0 is off."""

    field: str
    draw: Draw
    apply: Apply


class Augmenter:
    """What the members' settings do to their batches: inputs [K, B, *shape] -> inputs [K, B, *shape].

    Operations in the order of OPERATIONS. A member whose settings have all of them off keeps its inputs' bits. Raises
    DataError(field) for an operation that inputs of this shape cannot have.
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
        """Whether any member's batches change at all."""
        return bool(self._steps)

    def __call__(self, inputs: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """A new tensor, or `inputs` itself if nothing is on. `generators` are the members', in their order."""
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
    """Uniform in [0, 1). Drawn in float64 whatever the training's precision, so that both make the same draws."""
    return torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)


def _symmetric(strength: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform in [-strength, strength)."""
    return (2 * _uniform(shape, generator) - 1) * strength


def _whole(strength: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform over the whole numbers in -strength..strength."""
    return torch.floor(_uniform(shape, generator) * (2 * strength + 1)) - strength


def _draw_crop_flip(strength: float, batch: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """[B, 3]: pixels down, pixels right, and 1 to flip."""
    moves = _whole(strength, (batch[0], 2), generator)
    flips = torch.floor(2 * _uniform((batch[0], 1), generator))
    return torch.cat([moves, flips], dim=1)


def _crop_flip(images: Tensor, parameters: Tensor) -> Tensor:
    """A crop of the image's size after padding by repeated edges, then mirrored left to right for some."""
    height, width = images.shape[-2:]
    down, right, flip = parameters.long().unbind(1)
    rows = torch.arange(height, device=images.device) + down[:, None]
    columns = torch.arange(width, device=images.device)
    columns = torch.where(flip[:, None] == 1, columns.flip(0), columns) + right[:, None]
    images = images.take_along_dim(rows.clamp(0, height - 1)[:, None, :, None], dim=2)
    return images.take_along_dim(columns.clamp(0, width - 1)[:, None, None, :], dim=3)


def _rotation(images: Tensor, degrees: Tensor) -> Tensor:
    """Anticlockwise about the centre, bilinear; beyond the picture its edges are repeated."""
    from kornia.geometry.transform import rotate

    return rotate(images, degrees, padding_mode="border")


def _draw_color_jitter(strength: float, batch: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """[B, 3]: brightness to add, and factors of contrast and saturation."""
    jitter = _symmetric(strength, (batch[0], 3), generator)
    return jitter + torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64, device=jitter.device)


def _color_jitter(images: Tensor, parameters: Tensor) -> Tensor:
    """Saturation (blended with the grey image; 3 channels only), contrast (a factor about 0), brightness (added).

    Nothing is clipped, so it does not matter whether levels lie in 0..1 or -1..1.
    """
    from kornia.color import rgb_to_grayscale
    from kornia.enhance import adjust_brightness, adjust_contrast

    brightness, contrast, saturation = parameters.unbind(1)
    if images.shape[1] == 3:
        grey = rgb_to_grayscale(images)
        images = grey + (images - grey) * saturation[:, None, None, None]
    return adjust_brightness(adjust_contrast(images, contrast, clip_output=False), brightness, clip_output=False)


def _shift(signals: Tensor, samples: Tensor) -> Tensor:
    """Later by this many samples; what leaves at the end enters at the start."""
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
"""In the order in which they are drawn and applied; noise comes last, so nothing smooths it."""
