"""linear: softmax regression. On MNIST-1D (40 features, 10 classes) it has the published 410 parameters."""

from __future__ import annotations

from lightning_modules.models.family import Family
from lightning_modules.models.layers import Flatten, Layer, Linear, Shape, chain


def layout(shape: Shape, classes: int, width: int, depth: int) -> Layer:
    return chain(Flatten(), Linear(classes))


FAMILY = Family("linear", "softmax regression; one size only", layout, default_width=None, default_depth=None)
