"""Compute the sizes of networks, and find the width whose parameter count is nearest to a given count.

The sizes of built-in families are computed without torch. A `width` or `depth` of None means the family's default. A
shape is that of one example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from lightning_modules.errors import ModelError
from lightning_modules.models.families import AnyFamily, check
from lightning_modules.models.layers import Shape, Size

TOLERANCE_PERCENT = 10
"""The maximum deviation of a network's parameter count from the requested count."""


@dataclass(frozen=True)
class Resolved:
    """The size of a network. A width or depth of None is not used by the family, or is chosen by its function."""

    width: int | None
    depth: int | None
    parameter_count: int


def parameter_count(model: str, shape: Shape, classes: int, width: int | None = None, depth: int | None = None) -> int:
    """Count the trainable parameters."""
    return size(model, shape, classes, width, depth).parameters


def forward_flops(model: str, shape: Shape, classes: int, width: int | None = None, depth: int | None = None) -> int:
    """Count the operations of a forward pass per example: two per multiply-add of a matrix product or convolution."""
    return size(model, shape, classes, width, depth).flops


def activation_floats(
    model: str, shape: Shape, classes: int, width: int | None = None, depth: int | None = None
) -> int:
    """Estimate the floats kept per example for the backward pass, within a factor of two."""
    return size(model, shape, classes, width, depth).activations


@lru_cache(maxsize=65536)
def size(model: str, shape: Shape, classes: int, width: int | None = None, depth: int | None = None) -> Size:
    """Compute the parameters, operations and activations of a network. Raises ModelError like `resolve`."""
    family = check(model, shape, classes, width, depth)
    return family.size(shape, classes, width, depth)


@lru_cache(maxsize=65536)
def resolve(
    model: str,
    shape: Shape,
    classes: int,
    *,
    parameter_count: int | None = None,
    width: int | None = None,
    depth: int | None = None,
) -> Resolved:
    """Choose the width and depth to build, and count their parameters.

    The width is `width` if given, else the width whose parameter count is nearest to `parameter_count` (the smaller of
    two equally near widths) if given, else the family's default.

    Raises:
        ModelError: "model" for an unknown family or a shape that the family cannot use, "parameter_count" if no width
            comes within 10 % or a width is also given, "width" or "depth" if below 1 or not used by the family.
    """
    family = check(model, shape, classes, width, depth)
    chosen_depth = family.default_depth if depth is None else depth
    if parameter_count is None:
        chosen_width = family.default_width if width is None else width
        return Resolved(chosen_width, chosen_depth, size(model, shape, classes, width, depth).parameters)
    if width is not None:
        raise ModelError("parameter_count", f"given {parameter_count} together with width {width}; give one of the two")
    if parameter_count < 1:
        raise ModelError("parameter_count", f"given {parameter_count}; must be at least 1")
    if not family.takes_width:
        count = size(model, shape, classes, None, depth).parameters
        _within(family, shape, parameter_count, [(None, count)])
        return Resolved(None, chosen_depth, count)
    counts = _neighbours(model, shape, classes, depth, parameter_count)
    _within(family, shape, parameter_count, counts)
    nearest = min(counts, key=lambda item: (abs(item[1] - parameter_count), item[0]))
    return Resolved(nearest[0], chosen_depth, nearest[1])


def _neighbours(model: str, shape: Shape, classes: int, depth: int | None, asked: int) -> list[tuple[int, int]]:
    """Find the widest network of at most `asked` parameters and the next wider one; return (width, count) pairs.

    If even the narrowest network has at least `asked` parameters, only its pair is returned. Each unit has at least one
    parameter, so the search ends at width `asked`.
    """

    def count(width: int) -> int:
        return size(model, shape, classes, width, depth).parameters

    if count(1) >= asked:
        return [(1, count(1))]
    low, high = 1, 2
    while high < asked and count(high) <= asked:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= asked else (low, middle)
    return [(low, count(low)), (high, count(high))]


def _within(family: AnyFamily, shape: Shape, asked: int, counts: Sequence[tuple[int | None, int]]) -> None:
    if any(100 * abs(count - asked) <= TOLERANCE_PERCENT * asked for _, count in counts):
        return
    nearest = " and ".join(f"{count}" + (f" (width {width})" if width else "") for width, count in counts)
    start = f"given {asked}; unreachable within {TOLERANCE_PERCENT} % by {family.name} on data of shape {shape}: "
    raise ModelError("parameter_count", start + f"nearest {'are' if len(counts) > 1 else 'is'} {nearest}")
