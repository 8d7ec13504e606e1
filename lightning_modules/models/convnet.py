"""convnet: plain convolutions, 1-D for signals and 2-D for images.

1-D: `depth` convolutions with `width` channels, stride 2 and padding 1, then a linear layer on all remaining features.
The first kernel has size 5 and the others have size 3. Width 25 and depth 3 on MNIST-1D give the CNN of the MNIST-1D
benchmark (Greydanus), with 5,210 parameters. Vectors are treated as signals of one channel.

2-D: `depth` blocks of 3 x 3 convolution, BatchNorm and ReLU, with 1, 2, 4 and 8 times `width` channels (8 from the
fourth on). Each block except the first and the last is followed by 2 x 2 max pooling (1 along a side of one pixel). The
last block is followed by the maximum over all remaining pixels and a linear layer. Depth 4 is the 5-layer CNN of
Nakkiran et al. 2019, with 1,558,026 parameters at width 64 on CIFAR-10.
"""

from __future__ import annotations

from lightning_modules.errors import ModelError
from lightning_modules.models.family import Family
from lightning_modules.models.layers import (
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool,
    ReLU,
    Reshape,
    Shape,
    chain,
)


def layout(shape: Shape, classes: int, width: int, depth: int) -> Layer:
    if len(shape) == 3:
        return _images(shape, classes, width, depth)
    if shape[-1] < 3:
        raise ModelError("model", f"given convnet for data of shape {shape}; signals need at least 3 samples")
    signal = [Reshape((1, *shape))] if len(shape) == 1 else []
    kernels = [5] + [3] * (depth - 1)
    convolutions = [chain(Conv(width, kernel, stride=2, padding=1), ReLU(), Dropout()) for kernel in kernels]
    return chain(signal, convolutions, Flatten(), Linear(classes))


def _images(shape: Shape, classes: int, width: int, depth: int) -> Layer:
    sides = shape[1:]
    layers: list[Layer] = []
    for index in range(depth):
        layers += [Conv(width * 2 ** min(index, 3), 3, padding=1), BatchNorm(), ReLU()]
        if index == depth - 1:
            layers.append(MaxPool(sides))
        elif index > 0:
            halves = tuple(min(2, side) for side in sides)
            layers.append(MaxPool(halves))
            sides = tuple(side // half for side, half in zip(sides, halves, strict=True))
        layers.append(Dropout())
    return chain(layers, Flatten(), Linear(classes))


FAMILY = Family(
    "convnet",
    "convolutions, 1-D or 2-D by the data; depth: convolutions",
    layout,
    default_width=25,
    default_depth=3,
)
