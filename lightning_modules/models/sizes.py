"""How big a network is, and which width comes nearest to a parameter count.

No torch for the package's own families. `width` and `depth` of None mean the family's default everywhere here; shapes
are those of one example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from lightning_modules.errors import ModelError
from lightning_modules.models.families import AnyFamily, check
from lightning_modules.models.layers import Shape, Size

TOLERANCE_PERCENT = 10
"""How far from the parameters asked for a network may be."""


@dataclass(frozen=True)
class Resolved:
    """What will be built. None where the family has no such choice, or makes it itself."""

    width: int | None
    depth: int | None
    parameter_count: int


def parameter_count(model: str, shape: Shape, classes: int, width: int | None = None, depth: int | None = None) -> int:
    """Trainable numbers."""
    return size(model, shape, classes, width, depth).parameters


def forward_flops(model: str, shape: Shape, classes: int, width: int | None = None, depth: int | None = None) -> int:
    """Operations of one example's forward pass: two for each multiply-add of a matrix product or convolution."""
    return size(model, shape, classes, width, depth).flops


def activation_floats(
    model: str, shape: Shape, classes: int, width: int | None = None, depth: int | None = None
) -> int:
    """Floats that one example leaves for the backward pass, within a factor of two."""
    return size(model, shape, classes, width, depth).activations


@lru_cache(maxsize=65536)
def size(model: str, shape: Shape, classes: int, width: int | None = None, depth: int | None = None) -> Size:
    """All three at once. Raises ModelError as `resolve` does."""
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
    """The width and depth to build, and their count.

    The width is as given, or the one whose count is nearest to `parameter_count` (the smaller of two equally near), or
    the family's default.

    Raises ModelError, blaming "model" for an unknown family or a shape that it cannot use, "parameter_count" when no
    width comes within 10 % or a width is given too, "width" or "depth" when it is below 1 or the family has none.
    """
    family = check(model, shape, classes, width, depth)
    deep = family.default_depth if depth is None else depth
    if parameter_count is None:
        wide = family.default_width if width is None else width
        return Resolved(wide, deep, size(model, shape, classes, width, depth).parameters)
    if width is not None:
        raise ModelError("parameter_count", f"given {parameter_count} together with width {width}; give one of the two")
    if parameter_count < 1:
        raise ModelError("parameter_count", f"given {parameter_count}; must be at least 1")
    if not family.takes_width:
        count = size(model, shape, classes, None, depth).parameters
        _within(family, shape, parameter_count, [(None, count)])
        return Resolved(None, deep, count)
    counts = _neighbours(model, shape, classes, depth, parameter_count)
    _within(family, shape, parameter_count, counts)
    nearest = min(counts, key=lambda item: (abs(item[1] - parameter_count), item[0]))
    return Resolved(nearest[0], deep, nearest[1])


def _neighbours(model: str, shape: Shape, classes: int, depth: int | None, asked: int) -> list[tuple[int, int]]:
    """The widest network of at most `asked` parameters and the next wider one, as (width, count).

    Just the narrowest if that is too big already. Each unit has a parameter, so no width above `asked` is looked at.
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
    said = " and ".join(f"{count}" + (f" (width {width})" if width else "") for width, count in counts)
    start = f"given {asked}; unreachable within {TOLERANCE_PERCENT} % by {family.name} on data of shape {shape}: "
    raise ModelError("parameter_count", start + (f"nearest are {said}" if len(counts) > 1 else f"nearest is {said}"))
