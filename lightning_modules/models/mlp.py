"""mlp: a fully connected network with `depth` hidden ReLU layers of `width` units.

Depth 2 gives the double-descent network of the MNIST-1D paper (width² + 52 width + 10 parameters) and, at width 4096 on
MNIST, the network of Arpit et al. 2017. Depths 1 and 3 at width 512 on 28 x 28 crops of CIFAR-10 give the networks of
Zhang et al. 2017 (1,209,866 and 1,735,178 parameters).
"""

from __future__ import annotations

from lightning_modules.models.family import Family
from lightning_modules.models.layers import Dropout, Flatten, Layer, Linear, ReLU, Shape, chain


def layout(shape: Shape, classes: int, width: int, depth: int) -> Layer:
    return chain(Flatten(), [Linear(width), ReLU(), Dropout()] * depth, Linear(classes))


FAMILY = Family("mlp", "fully connected; depth: hidden layers", layout, default_width=100, default_depth=2)
