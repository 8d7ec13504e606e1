"""Interpreter of `layers` that builds each layer as an ordinary `nn.Module` with torch's default initialisation.

All modules run under `torch.func.vmap` and compute the same bits in a stack as alone, because they do not branch on
data, their only nonlinearity is ReLU, and attention consists of plain matrix products. Dropout layers are always
`nn.Dropout`, so that the training can replace them.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_modules.models import layers
from lightning_modules.models.layers import Layer, Shape

_CONV: dict[int, type[nn.Conv1d] | type[nn.Conv2d]] = {2: nn.Conv1d, 3: nn.Conv2d}
_BATCH_NORM: dict[int, type[nn.BatchNorm1d] | type[nn.BatchNorm2d]] = {2: nn.BatchNorm1d, 3: nn.BatchNorm2d}


def module(layer: Layer, shape: Shape) -> nn.Module:
    """Build the module of a layer for inputs [batch, *shape], initialised from torch's global generator."""
    match layer:
        case layers.Chain(parts):
            modules = []
            for part in parts:
                modules.append(module(part, shape))
                shape = part.size(shape).shape
            return nn.Sequential(*modules)
        case layers.Residual(body, shortcut):
            return Residual(module(body, shape), nn.Identity() if shortcut is None else module(shortcut, shape))
        case layers.Reshape(out):
            return nn.Sequential(nn.Flatten(), nn.Unflatten(1, out))
        case layers.Flatten():
            return nn.Flatten()
        case layers.Linear(outputs):
            return nn.Linear(shape[-1], outputs)
        case layers.Conv(channels, kernel, stride, padding, bias):
            return _CONV[len(shape)](shape[0], channels, kernel, stride, padding, bias=bias)
        case layers.ReLU():
            return nn.ReLU()
        case layers.Dropout():
            return nn.Dropout()
        case layers.BatchNorm():
            return _BATCH_NORM[len(shape)](shape[0])
        case layers.LayerNorm():
            return nn.LayerNorm(shape[-1])
        case layers.MaxPool(block):
            return nn.MaxPool1d(block[0]) if len(block) == 1 else nn.MaxPool2d((block[0], block[1]))
        case layers.Mean(axes):
            return Mean(axes)
        case layers.Patches(block):
            return Patches(shape, block)
        case layers.Position():
            return Position(shape)
        case layers.Attention(heads):
            return Attention(shape[-1], heads, layer.inner(shape) // heads)
    raise TypeError(f"{type(layer).__name__} has no torch module; lightning_modules/models/modules.py makes them")


class Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.shortcut(x) + self.body(x)
        return total


class Mean(nn.Module):
    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self.axes = [axis + 1 for axis in axes]

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=self.axes)


class Patches(nn.Module):
    """Rearranges [batch, channels, *sides] into [batch, blocks, channels * block]."""

    def __init__(self, shape: Shape, block: Shape) -> None:
        super().__init__()
        counts = [-(-side // size) for side, size in zip(shape[1:], block, strict=True)]
        rests = [count * size - side for count, size, side in zip(counts, block, shape[1:], strict=True)]
        self.padding = [value for rest in reversed(rests) for value in (0, rest)]
        self.split = [shape[0], *(value for pair in zip(counts, block, strict=True) for value in pair)]
        axes = range(2, 2 + 2 * len(counts), 2)
        self.order = [0, *axes, 1, *(axis + 1 for axis in axes)]
        self.tokens = [prod(counts), shape[0] * prod(block)]

    def forward(self, x: Tensor) -> Tensor:
        if any(self.padding):
            x = functional.pad(x, self.padding)
        return x.reshape(-1, *self.split).permute(self.order).reshape(-1, *self.tokens)


class Position(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(shape))
        nn.init.normal_(self.vectors, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.vectors


class Attention(nn.Module):
    """Self-attention as explicit matrix products, because fused kernels may sum in a different order in a stack."""

    def __init__(self, features: int, heads: int, units: int) -> None:
        super().__init__()
        self.heads = heads
        self.units = units
        self.project = nn.Linear(features, 3 * heads * units)
        self.back = nn.Linear(heads * units, features)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.shape[-2]
        query, key, value = (
            self.project(x).reshape(-1, tokens, 3, self.heads, self.units).permute(2, 0, 3, 1, 4).unbind(0)
        )
        weights = torch.softmax(query @ key.transpose(-2, -1) * self.units**-0.5, dim=-1)
        mixed: Tensor = self.back((weights @ value).transpose(1, 2).reshape(-1, tokens, self.heads * self.units))
        return mixed
