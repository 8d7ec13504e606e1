"""Networks written by hand that train with equal bits in any stack. Inputs are [batch, 1, 6, 6] of 0, 1, 2, 3."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class RandomFeatures(nn.Module):
    """Random features, each member's own, in a buffer."""

    features: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.randn(36, 12))
        self.register_buffer("order", torch.randperm(12))
        self.out = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out((x.flatten(1) @ self.features).cos()[:, self.order])
        return logits


class Tied(nn.Module):
    """An autoencoder whose two halves share one weight."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encode = nn.Linear(36, 5, bias=False)
        self.twin = nn.Linear(36, 5, bias=False)
        self.twin.weight = self.encode.weight
        self.out = nn.Linear(36, classes)

    def forward(self, x: Tensor) -> Tensor:
        code = self.encode(x.flatten(1)).relu()
        logits: Tensor = self.out(functional.linear(code, self.twin.weight.T))
        return logits


class Residual(nn.Module):
    def __init__(self, classes: int, depth: int = 2) -> None:
        super().__init__()
        self.enter = nn.Linear(36, 6)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6), nn.ReLU()) for _ in range(depth))
        self.out = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.enter(x.flatten(1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        logits: Tensor = self.out(hidden)
        return logits


class Lists(nn.Module):
    """Parameters in a list and in a dictionary, and a scalar parameter."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(36, 5) / 6), nn.Parameter(torch.randn(5, classes))])
        self.extra = nn.ParameterDict({"shift": nn.Parameter(torch.zeros(classes))})
        self.scale = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        hidden = (x.flatten(1) @ self.weights[0]).relu()
        logits: Tensor = hidden @ self.weights[1] * self.scale + self.extra["shift"]
        return logits


class Einsum(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6, classes) / 6)
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bhw,hwc->bc", x[:, 0], self.weight) + self.bias


class Frozen(nn.Module):
    """A frozen layer below a trained one."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Linear(36, 9).requires_grad_(False)
        self.out = nn.Linear(9, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(self.features(x.flatten(1)).relu())
        return logits


class RunningMean(nn.Module):
    """A buffer that every update changes in place."""

    mean: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(36))
        self.out = nn.Linear(36, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
        logits: Tensor = self.out(x - self.mean)
        return logits


class _Steep(torch.autograd.Function):
    """The sign, whose gradient is that of a straight line near zero."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (x,) = ctx.saved_tensors
        return gradients[0] * (x.abs() < 1)


class CustomGradient(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.enter = nn.Linear(36, 8)
        self.out = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(_Steep.apply(self.enter(x.flatten(1))))
        return logits


class DropoutWhileTraining(nn.Module):
    """A dropout layer that is only called in training mode, and called twice."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.drop = nn.Dropout()
        self.enter = nn.Linear(36, 8)
        self.out = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.training:
            x = self.drop(x)
        x = self.enter(x).relu()
        if self.training:
            x = self.drop(x)
        logits: Tensor = self.out(x)
        return logits


class Cached(nn.Module):
    """A constant that the first pass computes and keeps."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.out = nn.Linear(36, classes)
        self._mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self._mask is None:
            self._mask = (torch.arange(36) % 3 > 0).to(x.dtype)
        logits: Tensor = self.out(x * self._mask)
        return logits


class Gated(nn.Module):
    """A choice between two values by torch.where, and a maximum over positions."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 7), nn.Linear(6, 7)
        self.out = nn.Linear(7, classes)

    def forward(self, x: Tensor) -> Tensor:
        rows = x[:, 0]
        left, right = self.left(rows), self.right(rows)
        logits: Tensor = self.out(torch.where(left > 0, left * right.sigmoid(), -left).amax(1))
        return logits


class Fourier(nn.Module):
    """A layer in the frequency domain, with real parameters."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(19))
        self.out = nn.Linear(36, classes)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x.flatten(1), norm="ortho")
        logits: Tensor = self.out(torch.fft.irfft(spectrum * self.gain, 36, norm="ortho"))
        return logits


class Standardised(nn.Module):
    """Statistics of each example, as in a normalisation written by hand."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.out = nn.Linear(36, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        centred = x - x.mean(1, keepdim=True)
        logits: Tensor = self.out(centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt())
        return logits


class Loop(nn.Module):
    """A recurrence over the rows, and a result that is written row by row."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(6, 5)
        self.memory = nn.LSTMCell(6, 5)
        self.out = nn.Linear(10, classes)

    def forward(self, x: Tensor) -> Tensor:
        hidden, state = x.new_zeros(len(x), 5), (x.new_zeros(len(x), 5), x.new_zeros(len(x), 5))
        last = x.new_zeros(len(x), 10)
        for row in x[:, 0].unbind(1):
            hidden, state = self.cell(row, hidden), self.memory(row, state)
        last[:, :5] = hidden
        last[:, 5:] = state[0]
        logits: Tensor = self.out(last)
        return logits


class Scaled(nn.Module):
    """Rates that are read out of tensors while the network is built."""

    def __init__(self, classes: int, depth: int = 3) -> None:
        super().__init__()
        self.rates = torch.linspace(0.5, 1, depth).tolist()
        self.layers = nn.ModuleList(nn.Linear(36, 36) for _ in range(depth))
        self.out = nn.Linear(36, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for rate, layer in zip(self.rates, self.layers, strict=True):
            x = x + rate * layer(x).relu()
        logits: Tensor = self.out(x)
        return logits


class Ordered(nn.Module):
    """Registered layers that a list holds as well."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(36, 5), nn.Linear(5, classes)
        self.order = [self.first, self.second]

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.order:
            x = layer(x.relu())
        return x
