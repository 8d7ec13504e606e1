"""mlp: fully connected, `depth` hidden ReLU layers of `width` units.

Depth 2 on MNIST-1D is the double-descent network of its paper (width² + 52 width + 10 parameters); on MNIST at
width 4096 that of Arpit et al. 2017; depth 1 and 3 at width 512 on 28 x 28 crops of CIFAR-10 are those of Zhang et
al. 2017 (1,209,866 and 1,735,178 parameters).
"""

from __future__ import annotations

from lightning_modules.models.family import Family
from lightning_modules.models.layers import Dropout, Flatten, Layer, Linear, ReLU, Shape, chain


def layout(shape: Shape, classes: int, width: int, depth: int) -> Layer:
    return chain(Flatten(), [Linear(width), ReLU(), Dropout()] * depth, Linear(classes))


FAMILY = Family("mlp", "fully connected; depth: hidden layers", layout, default_width=100, default_depth=2)
