"""The parameters of K networks as one matrix [K, P], so that an optimizer changes all of them in a few calls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

_ALIGNMENT = 64
"""Every parameter begins at a multiple of this number of bytes."""


@dataclass(frozen=True)
class Layout:
    """The columns of each parameter in a matrix [K, width]. The columns between parameters contain zeros."""

    shapes: Mapping[str, tuple[int, ...]]
    starts: Mapping[str, int]
    width: int

    @classmethod
    def of(cls, parameters: Mapping[str, Tensor]) -> Layout:
        """Lay out parameters, each [K, ...], in their order."""
        starts, width = {}, 0
        for name, value in parameters.items():
            step = max(1, _ALIGNMENT // value.element_size())
            starts[name] = width
            width += -(-math.prod(value.shape[1:]) // step) * step
        return cls({name: tuple(value.shape[1:]) for name, value in parameters.items()}, starts, width)

    def views(self, matrix: Tensor) -> dict[str, Tensor]:
        """Return the columns of each parameter as a view [K, *shape] of a matrix [K, width]."""
        return {
            name: matrix[:, start : start + math.prod(self.shapes[name])].unflatten(1, self.shapes[name])
            if self.shapes[name]
            else matrix[:, start]
            for name, start in self.starts.items()
        }

    def filled(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return a matrix that contains the parameters."""
        first = next(iter(parameters.values()))
        matrix = first.new_zeros(len(first), self.width)
        for name, view in self.views(matrix).items():
            view.copy_(parameters[name])
        return matrix

    def runs(self, names: Sequence[str]) -> list[slice]:
        """Return the columns of some parameters, given in the order of the layout, as few slices."""
        chosen, order = {*names}, [*self.starts]
        ends = [*(self.starts[name] for name in order[1:]), self.width]
        runs: list[slice] = []
        for name, end in zip(order, ends, strict=True):
            if name not in chosen:
                continue
            if runs and runs[-1].stop == self.starts[name]:
                runs[-1] = slice(runs[-1].start, end)
            else:
                runs.append(slice(self.starts[name], end))
        return runs
