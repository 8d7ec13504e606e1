"""Descriptions of layers that do not need torch. Each layer computes its own size.

A family defines its network once, as a `Chain` of layers. Two interpreters use the definition: `Layer.size` computes
parameters, operations and memory for planning, which must not import torch, and `modules.module` builds the
`torch.nn.Module`. Tests compare the two layer by layer.

A shape is that of one example, without the batch axis: (features,), (tokens, features), (channels, length) or
(channels, height, width).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Size:
    """The cost of a layer per example.

    Attributes:
        shape: shape of the output.
        parameters: number of trainable parameters.
        flops: operations of the matrix products and convolutions in a forward pass; a multiply-add counts as two.
        activations: memory kept for the backward pass, in floats (an estimate, within a factor of two for whole
            networks).
        columns: floats in the unfolded inputs of convolutions, which are computed as products.
        masked: number of activations that dropout, if it is on, multiplies by a mask.
        calls: number of torch's calls, about, each of which takes time however small the tensors are.
        needs_two: whether it cannot be trained on one example, as BatchNorm on one value per channel and example.
    """

    shape: Shape
    parameters: int = 0
    flops: int = 0
    activations: int = 0
    columns: int = 0
    masked: int = 0
    calls: int = 1
    needs_two: bool = False

    def then(self, after: Size) -> Size:
        """Return the combined cost of this layer and of the layer after it."""
        return Size(
            after.shape,
            self.parameters + after.parameters,
            self.flops + after.flops,
            self.activations + after.activations,
            self.columns + after.columns,
            self.masked + after.masked,
            self.calls + after.calls,
            self.needs_two or after.needs_two,
        )


class NothingLeft(ValueError):
    """Raised for inputs that are too small for the layers."""


class Layer(ABC):
    @abstractmethod
    def size(self, shape: Shape) -> Size:
        """Compute the cost per example for inputs of this shape."""


@dataclass(frozen=True)
class Chain(Layer):
    """Layers that run one after the other."""

    layers: tuple[Layer, ...]

    def size(self, shape: Shape) -> Size:
        total = Size(shape, calls=0)
        for layer in self.layers:
            size = layer.size(total.shape)
            if min(size.shape, default=1) < 1:
                raise NothingLeft(f"{type(layer).__name__} leaves nothing of {total.shape}")
            total = total.then(size)
        return total


def chain(*layers: Layer | Iterable[Layer]) -> Chain:
    """Build a Chain from layers and sequences of layers."""
    return Chain(tuple(layer for item in layers for layer in ([item] if isinstance(item, Layer) else item)))


@dataclass(frozen=True)
class Residual(Layer):
    """The sum shortcut(x) + body(x), or x + body(x) if there is no shortcut."""

    body: Layer
    shortcut: Layer | None = None

    def size(self, shape: Shape) -> Size:
        body = self.body.size(shape)
        body = body.then(Size(body.shape))  # the sum is a call of its own
        return body if self.shortcut is None else self.shortcut.size(shape).then(body)


@dataclass(frozen=True)
class Reshape(Layer):
    """A reshape of each example to `shape`."""

    shape: Shape

    def size(self, shape: Shape) -> Size:
        return Size(self.shape, calls=0)


@dataclass(frozen=True)
class Flatten(Layer):
    def size(self, shape: Shape) -> Size:
        return Size((prod(shape),), calls=0)


@dataclass(frozen=True)
class Linear(Layer):
    """A fully connected layer over the last axis, with biases."""

    outputs: int

    def size(self, shape: Shape) -> Size:
        *places, inputs = shape
        return Size((*places, self.outputs), (inputs + 1) * self.outputs, 2 * prod(shape) * self.outputs)


@dataclass(frozen=True)
class Conv(Layer):
    """A convolution over all axes but the channels, with the same kernel size, stride and padding along each axis."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    bias: bool = True

    def size(self, shape: Shape) -> Size:
        inputs, *sides = shape
        out = tuple((side + 2 * self.padding - self.kernel) // self.stride + 1 for side in sides)
        columns = inputs * self.kernel ** len(sides)
        weights = columns * self.channels
        return Size(
            (self.channels, *out),
            weights + self.bias * self.channels,
            2 * weights * prod(out),
            columns=columns * prod(out),
        )


@dataclass(frozen=True)
class ReLU(Layer):
    """The only nonlinearity, because in torch's CPU kernels the bits of exp, tanh and GELU depend on the position."""

    def size(self, shape: Shape) -> Size:
        return Size(shape, activations=prod(shape))


@dataclass(frozen=True)
class Dropout(Layer):
    """A position at which hidden activations may be dropped. The rate is a setting of the training."""

    def size(self, shape: Shape) -> Size:
        return Size(shape, activations=2 * prod(shape), masked=prod(shape), calls=0)


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation over the batch and all axes but the first, with a scale and a shift per channel."""

    def size(self, shape: Shape) -> Size:
        return Size(shape, 2 * shape[0], activations=prod(shape), calls=6, needs_two=prod(shape) == shape[0])


@dataclass(frozen=True)
class LayerNorm(Layer):
    """Layer normalisation over the last axis, with a scale and a shift per feature."""

    def size(self, shape: Shape) -> Size:
        return Size(shape, 2 * shape[-1], activations=2 * prod(shape))


@dataclass(frozen=True)
class MaxPool(Layer):
    """The maximum of non-overlapping blocks; an incomplete block at the far end is dropped."""

    block: Shape

    def size(self, shape: Shape) -> Size:
        out = (shape[0], *(side // block for side, block in zip(shape[1:], self.block, strict=True)))
        return Size(out, activations=3 * prod(out))  # the output and its 64-bit indices


@dataclass(frozen=True)
class Mean(Layer):
    """The mean over `axes`, which are removed from the shape."""

    axes: tuple[int, ...]

    def size(self, shape: Shape) -> Size:
        out = tuple(side for axis, side in enumerate(shape) if axis not in self.axes)
        return Size(out, activations=prod(out))


@dataclass(frozen=True)
class Patches(Layer):
    """A split of (channels, *sides) into blocks, each of which becomes one token: (blocks, channels * block).

    Sides that are not a multiple of the block are padded with zeros at the far end.
    """

    block: Shape

    def size(self, shape: Shape) -> Size:
        tokens = prod(-(-side // block) for side, block in zip(shape[1:], self.block, strict=True))
        out = (tokens, shape[0] * prod(self.block))
        return Size(out, activations=prod(out))


@dataclass(frozen=True)
class Position(Layer):
    """A trained vector that is added to each token."""

    def size(self, shape: Shape) -> Size:
        return Size(shape, prod(shape))


@dataclass(frozen=True)
class Attention(Layer):
    """Self-attention between all tokens of (tokens, features).

    Each head has ceil(features / heads) units, so any number of features is valid.
    """

    heads: int

    def inner(self, shape: Shape) -> int:
        """Return the number of units of all heads together."""
        return self.heads * -(-shape[-1] // self.heads)

    def size(self, shape: Shape) -> Size:
        tokens, features = shape
        inner = self.inner(shape)
        project = Linear(3 * inner).size(shape)
        back = Linear(features).size((tokens, inner))
        scores = self.heads * tokens * tokens
        return Size(
            shape,
            project.parameters + back.parameters,
            project.flops + back.flops + 4 * tokens * tokens * inner,
            4 * tokens * inner + scores,
            calls=8,
        )


def largest(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest number in 1..most that fits, where every number fits below one that does; 0 if none does."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
