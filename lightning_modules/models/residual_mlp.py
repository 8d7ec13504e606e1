"""residual_mlp: an mlp with a shortcut around each hidden layer except the first, h + relu(W h + b).

Width 100 and depth 2 on MNIST-1D give the MLP of the MNIST-1D benchmark (Greydanus), with 15,210 parameters.
"""

from __future__ import annotations

from lightning_modules.models.family import Family
from lightning_modules.models.layers import Dropout, Flatten, Layer, Linear, ReLU, Residual, Shape, chain


def layout(shape: Shape, classes: int, width: int, depth: int) -> Layer:
    hidden = chain(Linear(width), ReLU(), Dropout())
    return chain(Flatten(), hidden, [Residual(hidden)] * (depth - 1), Linear(classes))


FAMILY = Family(
    "residual_mlp",
    "an mlp with a shortcut around each hidden layer but the first",
    layout,
    default_width=100,
    default_depth=2,
)
