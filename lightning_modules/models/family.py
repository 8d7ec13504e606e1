"""Family: an architecture whose size is set by a width and a depth. torch is imported only to build a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from lightning_modules.errors import ModelError
from lightning_modules.models.layers import Layer, NothingLeft, Shape, Size, largest

if TYPE_CHECKING:
    from torch import nn


Layout = Callable[[Shape, int, int, int], Layer]
"""A function that maps (shape, classes, width, depth) to a network."""

RANKS = {1: "(features,)", 2: "(channels, length)", 3: "(channels, height, width)"}


@dataclass(frozen=True)
class Family:
    """An architecture. If a default is None, the architecture does not use that setting (`linear` has no width)."""

    name: str
    summary: str
    layout: Layout
    default_width: int | None
    default_depth: int | None
    ranks: tuple[int, ...] = (1, 2, 3)
    """The numbers of axes that an example may have."""

    @property
    def takes_width(self) -> bool:
        return self.default_width is not None

    @property
    def takes_depth(self) -> bool:
        return self.default_depth is not None

    def network(self, shape: Shape, classes: int, width: int | None, depth: int | None) -> Layer:
        """Return the network as layers. A width or depth of None means the default.

        Raises ModelError("model", ...) for a shape that the architecture cannot use.
        """
        if len(shape) not in self.ranks:
            takes = " or ".join(RANKS[rank] for rank in self.ranks)
            raise ModelError("model", f"given {self.name} for data of shape {shape}; it takes {takes}")
        return self.layout(shape, classes, width or self.default_width or 0, depth or self.default_depth or 0)

    def size(self, shape: Shape, classes: int, width: int | None, depth: int | None) -> Size:
        try:
            size = self.network(shape, classes, width, depth).size(shape)
        except NothingLeft as reason:
            raise ModelError("model", self._refusal(str(reason), shape, classes, width, depth)) from None
        return replace(size, activations=size.activations + prod(shape))

    def _refusal(self, reason: str, shape: Shape, classes: int, width: int | None, depth: int | None) -> str:
        def fits(depth: int) -> bool:
            try:
                self.network(shape, classes, width, depth).size(shape)
            except NothingLeft:
                return False
            return True

        chosen = depth or self.default_depth or 1
        most = largest(fits, chosen - 1)
        hint = f"; the largest depth for this shape is {most}" if most else ""
        return f"{self.name} cannot use data of shape {shape} with depth={chosen}: {reason}{hint}"

    def build(self, shape: Shape, classes: int, width: int | None, depth: int | None) -> nn.Module:
        from lightning_modules.models.modules import module

        return module(self.network(shape, classes, width, depth), shape)
