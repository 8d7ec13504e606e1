"""Networks with state that memsweep cannot see or share. Inputs are [batch, 1, 6, 6] of 0, 1, 2, 3."""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn
from torch.nn import functional
from unsound_random import Base

CALLS = 0
SHARED = nn.Linear(36, 6)


class Counter(Base):
    """A gain that grows with every call."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.calls = 0

    def hidden(self, h: Tensor) -> Tensor:
        self.calls += 1
        return h * (1 + 1 / self.calls)


class CounterInTraining(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.schedule = {"steps": 0}

    def hidden(self, h: Tensor) -> Tensor:
        if self.training:
            self.schedule["steps"] += 1
        return h * min(1.0, self.schedule["steps"] / 100)


class GlobalCounter(Base):
    def hidden(self, h: Tensor) -> Tensor:
        global CALLS
        CALLS += 1
        return h


class ClassCounter(Base):
    calls = 0

    def hidden(self, h: Tensor) -> Tensor:
        type(self).calls += 1
        return h


class KeepsActivations(Base):
    def hidden(self, h: Tensor) -> Tensor:
        self.last = h
        return h


class AssignsBuffer(Base):
    mean: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.register_buffer("mean", torch.zeros(6))

    def hidden(self, h: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        return h - self.mean


class CountsEvaluations(Base):
    seen: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.register_buffer("seen", torch.zeros(()))

    def hidden(self, h: Tensor) -> Tensor:
        self.seen.add_(1)
        return h


class ClampsWeights(Base):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.enter.weight.clamp_(-0.1, 0.1)
        return super().forward(x)


class BatchCentred(Base):
    def hidden(self, h: Tensor) -> Tensor:
        return h - h.mean(0)


class PlaceInBatch(Base):
    def hidden(self, h: Tensor) -> Tensor:
        return h * torch.linspace(0, 1, len(h), dtype=h.dtype)[:, None]


class PlainFeatures(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.features = torch.randn(6)

    def hidden(self, h: Tensor) -> Tensor:
        return h * self.features.to(h.dtype)


class PlainPermutation(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.settings = {"order": torch.randperm(6).numpy()}

    def hidden(self, h: Tensor) -> Tensor:
        return h[:, self.settings["order"]]


class PlainNumber(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.gain = float(torch.rand(()))

    def hidden(self, h: Tensor) -> Tensor:
        return h * self.gain


class LayersInList(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.blocks = [nn.Linear(6, 6) for _ in range(2)]

    def hidden(self, h: Tensor) -> Tensor:
        for block in self.blocks:
            h = block(h).relu()
        return h


class ParametersInList(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.gains = [nn.Parameter(torch.ones(6))]

    def hidden(self, h: Tensor) -> Tensor:
        return h * self.gains[0]


class AliasOfParameter(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.layers = [self.enter.weight, self.out.weight]

    def hidden(self, h: Tensor) -> Tensor:
        return h * self.layers[0].square().mean()


class ComputedFromParameter(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.twice = 2 * self.enter.bias

    def hidden(self, h: Tensor) -> Tensor:
        return h + self.twice


class SharedLayer(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.enter = SHARED


class Locked(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.lock = threading.Lock()


class ReadsRate(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(36, classes)

    def forward(self, x: Tensor) -> Tensor:
        scale = 1 - self.drop.p
        logits: Tensor = self.out(functional.relu(self.drop(x.flatten(1))) * scale)
        return logits
