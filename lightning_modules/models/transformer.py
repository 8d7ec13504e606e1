"""transformer: a small pre-norm encoder over patches, with four heads and `depth` blocks of `width` features.

A signal is cut into at most 32 patches of at least 2 samples (MNIST-1D: 20 of 2), an image into at most 8 x 8 patches
of at least 2 x 2 pixels (digits: 16 of 2 x 2; MNIST: 49 of 4 x 4; CIFAR: 64 of 4 x 4). Vectors are treated as signals
of one channel, and incomplete patches are padded with zeros. After a linear embedding and trained positions, each block
applies attention and then an MLP of 4 width ReLU units, both after a LayerNorm and with a shortcut. The network ends
with a LayerNorm, the mean over patches and a linear layer. Any width is valid: a head has ceil(width / 4) units.
"""

from __future__ import annotations

from lightning_modules.models.family import Family
from lightning_modules.models.layers import (
    Attention,
    Dropout,
    Layer,
    LayerNorm,
    Linear,
    Mean,
    Patches,
    Position,
    ReLU,
    Reshape,
    Residual,
    Shape,
    chain,
)

HEADS = 4


def layout(shape: Shape, classes: int, width: int, depth: int) -> Layer:
    signal = shape if len(shape) > 1 else (1, *shape)
    most = 8 if len(shape) == 3 else 32
    block = tuple(min(side, max(2, -(-side // most))) for side in signal[1:])
    attend = Residual(chain(LayerNorm(), Attention(HEADS), Dropout()))
    think = Residual(chain(LayerNorm(), Linear(4 * width), ReLU(), Linear(width), Dropout()))
    return chain(
        [] if signal == shape else [Reshape(signal)],
        Patches(block),
        Linear(width),
        Position(),
        [attend, think] * depth,
        LayerNorm(),
        Mean((0,)),
        Linear(classes),
    )


FAMILY = Family(
    "transformer",
    "pre-norm encoder over patches; depth: blocks",
    layout,
    default_width=32,
    default_depth=2,
)
