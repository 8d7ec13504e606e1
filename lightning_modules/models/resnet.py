"""resnet: the preactivation ResNet of He et al. 2016 for images, with width k and `depth` blocks per stage.

The stages have k, 2k, 4k and 8k channels, and each stage after the first halves the resolution. Stages that would have
fewer than 4 pixels along the shorter side are omitted: there are four stages for images of at least 25 x 25 pixels,
three from 13 x 13, two from 7 x 7 (digits has 8 x 8), and one for smaller images. Depth 2 with four stages is the
ResNet18 of Nakkiran et al. 2019, with 11,171,146 parameters at width 64 on CIFAR-10. Like the public code of that
network, it has no normalisation after the last block.
"""

from __future__ import annotations

from lightning_modules.models.family import Family
from lightning_modules.models.layers import (
    BatchNorm,
    Chain,
    Conv,
    Dropout,
    Layer,
    Linear,
    Mean,
    ReLU,
    Residual,
    Shape,
    chain,
)


def layout(shape: Shape, classes: int, width: int, depth: int) -> Layer:
    layers: list[Layer] = [_conv(width)]
    for stage in range(stages(shape)):
        for block in range(depth):
            layers.append(_block(width * 2**stage, halves=stage > 0 and block == 0))
    return chain(layers, Mean((1, 2)), Linear(classes))


def stages(shape: Shape) -> int:
    """Return the number of stages, 1 to 4. Stages after the first have at least 4 pixels along the shorter side."""
    side = min(shape[1:])
    count = 1
    while count < 4 and (side + 1) // 2 >= 4:
        side = (side + 1) // 2
        count += 1
    return count


def _conv(channels: int, stride: int = 1) -> Conv:
    return Conv(channels, 3, stride, padding=1, bias=False)


def _block(channels: int, halves: bool) -> Chain:
    """Return the layers of a block. A halving block projects the normalised input; other shortcuts are the identity."""
    opening = [BatchNorm(), ReLU()]
    body = [_conv(channels, 2 if halves else 1), BatchNorm(), ReLU(), Dropout(), _conv(channels)]
    if halves:
        return chain(opening, Residual(chain(body), Conv(channels, 1, stride=2, bias=False)))
    return chain(Residual(chain(opening, body)))


FAMILY = Family(
    "resnet",
    "preactivation ResNet with BatchNorm for images; depth: blocks a stage",
    layout,
    default_width=16,
    default_depth=2,
    ranks=(3,),
)
