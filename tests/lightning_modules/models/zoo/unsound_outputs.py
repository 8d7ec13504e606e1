"""Networks with outputs, gradients or operations that cannot be used. Inputs are [batch, 1, 6, 6] of 0, 1, 2, 3."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from unsound_random import Base

Answer = namedtuple("Answer", "logits hidden")


class Returns(Base):
    """A network that returns what `answer` makes of its logits."""

    def forward(self, x: Tensor) -> Any:
        return self.answer(super().forward(x))

    def answer(self, logits: Tensor) -> Any:
        return logits


class Tuple(Returns):
    def answer(self, logits: Tensor) -> Any:
        return logits, logits.mean()


class Named(Returns):
    def answer(self, logits: Tensor) -> Any:
        return Answer(logits, None)


class Dictionary(Returns):
    def answer(self, logits: Tensor) -> Any:
        return {"logits": logits}


class Nothing(Returns):
    def answer(self, logits: Tensor) -> Any:
        return None


class Classes(Returns):
    def answer(self, logits: Tensor) -> Any:
        return logits.argmax(1)


class OneHot(Returns):
    def answer(self, logits: Tensor) -> Any:
        return nn.functional.one_hot(logits.argmax(1), logits.shape[1])


class Maps(Returns):
    def answer(self, logits: Tensor) -> Any:
        return logits[..., None]


class Detached(Returns):
    def answer(self, logits: Tensor) -> Any:
        return logits.detach()


class WithoutGradient(Base):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Unused(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.auxiliary = nn.Linear(6, 2)


class RootOfZero(Base):
    def hidden(self, h: Tensor) -> Tensor:
        return (h * 0).sqrt() + h


class NotANumber(Base):
    def hidden(self, h: Tensor) -> Tensor:
        return h / (h - h)


class NothingToTrain(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.requires_grad_(False)


class Complex(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.phase = nn.Parameter(torch.ones(6, dtype=torch.complex64))

    def hidden(self, h: Tensor) -> Tensor:
        return (h * self.phase).real


def lazy(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(6), nn.ReLU(), nn.Linear(6, classes))


def deep(classes: int, depth: int = 4) -> nn.Module:
    pooling = [nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(2)) for _ in range(depth)]
    return nn.Sequential(*pooling, nn.Flatten(), nn.Linear(1, classes))


class Recurrent(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layer = nn.GRU(6, 5, batch_first=True)
        self.out = nn.Linear(5, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(self.layer(x[:, 0])[0][:, -1])
        return logits


class LongShortTerm(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layer = nn.LSTM(6, 5, batch_first=True)
        self.out = nn.Linear(5, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(self.layer(x[:, 0])[0][:, -1])
        return logits


class BooleanMask(Base):
    def hidden(self, h: Tensor) -> Tensor:
        h = h.clone()
        h[h < 0] = 0
        return h


class BranchOnValues(Base):
    def hidden(self, h: Tensor) -> Tensor:
        return h.relu() if h.mean() > 0 else h


class ReadsValue(Base):
    def hidden(self, h: Tensor) -> Tensor:
        return h / max(1.0, h.abs().max().item())


class ThroughNumpy(Base):
    def hidden(self, h: Tensor) -> Tensor:
        return h + torch.from_numpy(h.detach().numpy().mean(1, keepdims=True))


class InPlaceOnInput(Base):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(0.5))


class WritesIntoConstant(Base):
    def hidden(self, h: Tensor) -> Tensor:
        result = torch.zeros(h.shape, dtype=h.dtype)
        result[:, :3] = h[:, 3:]
        return result


class _NoRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]


class FunctionWithoutRule(Base):
    def hidden(self, h: Tensor) -> Tensor:
        return _NoRule.apply(h)


class _NoVmap(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]


class FunctionWithoutVmap(Base):
    def hidden(self, h: Tensor) -> Tensor:
        return _NoVmap.apply(h)


class WrongSize(Base):
    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.enter = nn.Linear(37, 6)


def spectral_norm(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), parametrizations.spectral_norm(nn.Linear(36, 6)), nn.ReLU(), nn.Linear(6, classes)
    )


def two_outputs_less(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, classes - 2))
