"""Networks that draw random numbers which memsweep does not feed. Inputs are [batch, 1, 6, 6] of 0, 1, 2, 3."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class Base(nn.Module):
    """A linear network, to which each class below adds its fault."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.enter = nn.Linear(36, 6)
        self.out = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(self.hidden(self.enter(x.flatten(1))))
        return logits

    def hidden(self, h: Tensor) -> Tensor:
        return h


class NumpyNoise(Base):
    def hidden(self, h: Tensor) -> Tensor:
        return h + torch.from_numpy(np.random.randn(6)).to(h)


class NoiseLayer(Base):
    def hidden(self, h: Tensor) -> Tensor:
        return h + 0.1 * torch.randn_like(h) if self.training else h


class FunctionalDropout(Base):
    def hidden(self, h: Tensor) -> Tensor:
        return functional.dropout(h, 0.5, self.training)


class DropoutAlways(Base):
    def hidden(self, h: Tensor) -> Tensor:
        return functional.dropout(h, 0.5, training=True)


def alpha_dropout(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 6), nn.SELU(), nn.AlphaDropout(0.2), nn.Linear(6, classes))


def randomised_relu(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 6), nn.RReLU(), nn.Linear(6, classes))


class AttentionDropout(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, dropout=0.1, batch_first=True)
        self.out = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(1, 2)
        logits: Tensor = self.out(self.attention(tokens, tokens, tokens)[0].mean(1))
        return logits


class StochasticDepth(Base):
    def hidden(self, h: Tensor) -> Tensor:
        return h.relu() if self.training and random.random() < 0.5 else h


class OwnGenerator(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.generator = torch.Generator().manual_seed(0)

    def hidden(self, h: Tensor) -> Tensor:
        return h * torch.rand(6, generator=self.generator, dtype=h.dtype)


class NumpyGenerator(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.generator = np.random.default_rng(0)

    def hidden(self, h: Tensor) -> Tensor:
        return h * self.generator.random()


class FreshGenerator(Base):
    def hidden(self, h: Tensor) -> Tensor:
        return h * np.random.default_rng().random()


class FreshGeneratorInTraining(Base):
    def hidden(self, h: Tensor) -> Tensor:
        return h * np.random.default_rng().random() if self.training else h


class NumpyWeights(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        with torch.no_grad():
            self.enter.weight.copy_(torch.from_numpy(np.random.randn(6, 36)))


class PythonWeights(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        nn.init.constant_(self.enter.bias, random.random())


class EntropyWeights(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        nn.init.constant_(self.enter.bias, np.random.default_rng().random())


def random_width(classes: int) -> nn.Module:
    width = int(torch.randint(3, 30, ()))
    return nn.Sequential(nn.Flatten(), nn.Linear(36, width), nn.ReLU(), nn.Linear(width, classes))
