"""Augmentation of the batches of K members at once.

The parameters of a member's transformations are functions of its seed, the index of the update and the example's place
in the batch, so they do not depend on the other members. The transformations are then applied to the examples of all
members as one batch. Each output depends on one example only, so its bits do not depend on the batch either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from lightning_modules.data.applicability import AUGMENTATIONS, check_applicable
from lightning_modules.data.upload import upload
from lightning_modules.draws import Elements, half_normal, normal, uniform, update_keys
from lightning_modules.settings import Settings
from lightning_modules.streams import stream_seed

Parameters = Callable[[Tensor, Tensor], Tensor]
"""(numbers [K, B, ...] drawn for the examples, strengths [K, 1, ...] of the same dtype) -> parameters [K, B, ...]."""

Apply = Callable[[Tensor, Tensor], Tensor]
"""(inputs [N, *shape], parameters [N, ...] of the same dtype) -> inputs [N, *shape]."""


@dataclass(frozen=True)
class Operation:
    """A transformation whose strength is the setting named `field`; 0 turns it off."""

    field: str
    numbers: tuple[int, ...] | None
    """The shape of the numbers that are drawn for one example, uniform in [0, 1) and float64. None: a normal number for
    each element of an input."""
    parameters: Parameters
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
        self._seeds = [stream_seed(member.seed, "augmentation") for member in members]
        self._steps: list[_Step] = []
        for operation in OPERATIONS:
            strengths = {k: s for k, member in enumerate(members) if (s := float(getattr(member, operation.field)))}
            if strengths:
                self._steps.append(_Step(operation, strengths, len(members), shape, self.device, dtype))
        self.keys = torch.empty(0, len(members), 2, dtype=torch.int32, device=self.device)
        """The keys of each update of the epoch, on the device."""

    @property
    def active(self) -> bool:
        """True if any member uses an operation."""
        return bool(self._steps)

    def begin_epoch(self, first_updates: Sequence[int], updates: int) -> None:
        """Compute the keys of the next updates. `first_updates` holds the index of each member's next update."""
        if self.active:
            self.keys = upload(update_keys(self._seeds, first_updates, updates), self.device)
        else:
            self.keys = self.keys.new_empty(1, len(self._seeds), 2).expand(updates, -1, -1)

    def __call__(self, inputs: Tensor, keys: Tensor) -> Tensor:
        """Augment the batches of one update, given an element of `keys`.

        Returns `inputs` itself if no operation is on. The first call for a size of batch computes the constants of its
        draws.
        """
        for step in self._steps:
            parameters = step.parameters(keys, inputs.shape[1]).flatten(0, 1)
            apply, chosen = step.operation.apply, step.chosen
            if chosen is None:
                inputs = apply(inputs.flatten(0, 1), parameters).unflatten(0, inputs.shape[:2])
            else:
                changed = apply(inputs.index_select(0, chosen).flatten(0, 1), parameters)
                inputs = inputs.index_copy(0, chosen, changed.unflatten(0, (-1, inputs.shape[1])))
        return inputs


class _Step:
    """An operation, for those of `count` members that use it. `strengths` holds their strengths by index."""

    def __init__(
        self, operation: Operation, strengths: dict[int, float], count: int, shape: tuple[int, ...],
        device: torch.device, dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self.operation = operation
        self.chosen = None if len(strengths) == count else torch.tensor(list(strengths), device=device)
        """The indices of the members; None for all."""
        self._dtype = dtype
        normals = operation.numbers is None
        self._quantiles = half_normal().to(device, dtype) if normals else None
        self._shape = shape if operation.numbers is None else operation.numbers
        # Uniform numbers are computed with in float64, so that both precisions move an image by the same whole pixels.
        values = torch.tensor([*strengths.values()], dtype=dtype if normals else torch.float64, device=device)
        self._strengths = values.view(-1, *(1,) * (1 + len(self._shape)))
        self._draws: dict[int, tuple[Elements, Tensor]] = {}
        """For each size of batch, the elements and the memory for their words."""

    def parameters(self, keys: Tensor, batch: int) -> Tensor:
        """Draw the parameters, [members, B, ...]."""
        if batch not in self._draws:
            self._draws[batch] = self._allocate(batch, keys.device)
        elements, words = self._draws[batch]
        elements.draw(keys if self.chosen is None else keys.index_select(0, self.chosen), words)
        numbers = uniform(words) if self._quantiles is None else normal(words, self._quantiles)
        numbers = numbers.unflatten(1, (batch, *self._shape))
        return self.operation.parameters(numbers, self._strengths).to(self._dtype)

    def _allocate(self, batch: int, device: torch.device) -> tuple[Elements, Tensor]:
        words_of_a_number = 1 if self._quantiles is None else 2
        blocks = [f"{self.operation.field}/{i}" for i in range(words_of_a_number)]
        elements = Elements(dict.fromkeys(blocks, batch * math.prod(self._shape)), device)
        return elements, torch.empty(len(self._strengths), len(elements), dtype=torch.int32, device=device)


def _symmetric(numbers: Tensor, strengths: Tensor) -> Tensor:
    """Map [0, 1) to [-strength, strength)."""
    return (2 * numbers - 1) * strengths


def _whole(numbers: Tensor, strengths: Tensor) -> Tensor:
    """Map [0, 1) to the integers -strength..strength, with equal shares."""
    return torch.floor(numbers * (2 * strengths + 1)) - strengths


def _moves(numbers: Tensor, strengths: Tensor) -> Tensor:
    """Return [K, B, 3]: pixels down, pixels right, and 1 to flip or 0 not to flip."""
    return torch.cat([_whole(numbers[..., :2], strengths), torch.floor(2 * numbers[..., 2:])], dim=-1)


def _jitter(numbers: Tensor, strengths: Tensor) -> Tensor:
    """Return [K, B, 3]: the brightness to add, the contrast factor and the saturation factor."""
    jitter = _symmetric(numbers, strengths)
    return torch.cat([jitter[..., :1], 1 + jitter[..., 1:]], dim=-1)


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
    height, width = images.shape[-2:]
    radians = degrees.deg2rad()[:, None, None]
    cos, sin = radians.cos(), radians.sin()
    # Pixels down and to the right of the centre. Each is read where the opposite rotation moves it.
    down = (torch.arange(height, device=images.device, dtype=images.dtype) - (height - 1) / 2)[:, None]
    right = torch.arange(width, device=images.device, dtype=images.dtype) - (width - 1) / 2
    x, y = right * cos - down * sin, right * sin + down * cos
    grid = torch.stack([x * (2 / width), y * (2 / height)], dim=-1)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)


def _color_jitter(images: Tensor, parameters: Tensor) -> Tensor:
    """Change saturation (blend with the grey image; 3 channels only), contrast (scale about 0) and brightness (add).

    Values are not clipped, so inputs may be scaled to 0..1 or to -1..1.
    """
    brightness, contrast, saturation = parameters[:, :, None, None, None].unbind(1)
    if images.shape[1] == 3:
        red, green, blue = images.split(1, dim=1)
        grey = 0.299 * red + 0.587 * green + 0.114 * blue
        images = grey + (images - grey) * saturation
    return images * contrast + brightness


def _shift(signals: Tensor, samples: Tensor) -> Tensor:
    """Roll each signal to later times by its number of samples. The end wraps around to the start."""
    length = signals.shape[-1]
    index = (torch.arange(length, device=signals.device) - samples.long()[:, None]) % length
    return signals.take_along_dim(index[:, None, :], dim=2)


OPERATIONS: tuple[Operation, ...] = (
    Operation("crop_flip", (3,), _moves, _crop_flip),
    Operation("rotation", (), _symmetric, _rotation),
    Operation("color_jitter", (3,), _jitter, _color_jitter),
    Operation("shift", (), _whole, _shift),
    Operation("scale", (), lambda n, s: 1 + _symmetric(n, s), lambda x, gain: x * gain[:, None, None]),
    Operation("augment_noise", None, torch.mul, torch.add),
)
"""The operations in the order in which they are applied. Noise is last, so no other operation smooths it."""
