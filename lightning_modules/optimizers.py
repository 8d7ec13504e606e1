"""SGD and AdamW over stacked parameters [K, ...], with a learning rate, momentum and weight decay per member.

torch.optim's own take one number for all. The updates are those of torch.optim.SGD (heavy ball, L2 penalty) and
torch.optim.AdamW (Loshchilov & Hutter 2019, decoupled decay), written without fused multiply-adds: torch's kernels fuse
in their vector loop but not in its tail, so a member's bits would depend on where in the stack it lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_modules.settings import Settings

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class CohortOptimizer(torch.optim.Optimizer):
    """`rates` [K] is set before each step: the learning rate of each member at that update."""

    def __init__(self, parameters: Iterable[Tensor], members: Sequence[Settings], dtype: torch.dtype) -> None:
        super().__init__(parameters, {})
        self._dtype = dtype
        self.rates = np.array([member.learning_rate for member in members])
        self._decay = self._column([member.weight_decay for member in members])
        self._decays = any(member.weight_decay for member in members)

    def _column(self, values: Sequence[float] | np.ndarray) -> Tensor:
        device = self.param_groups[0]["params"][0].device
        return torch.as_tensor(np.asarray(values), dtype=self._dtype).to(device)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        rates = self._column(self.rates)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shape = (-1, *(1,) * (parameter.dim() - 1))
                    self._update(parameter, parameter.grad, rates.view(shape), shape)

    def state_of(self, parameter: Tensor, k: int) -> dict[str, Tensor | int]:
        """Member k's part of what is kept for a parameter, on the CPU; numbers are the same for all members."""
        return {
            name: value[k].cpu().clone() if isinstance(value, Tensor) else value
            for name, value in self.state[parameter].items()
        }

    def restore(self, parameter: Tensor, states: Sequence[Mapping[str, Tensor | int]]) -> None:
        """Go on from the states of all members."""
        for name, value in states[0].items():
            stacked = [torch.as_tensor(state[name]) for state in states]
            held = torch.stack(stacked).to(parameter.device) if isinstance(value, Tensor) else value
            self.state[parameter][name] = held

    def _update(self, parameter: Tensor, gradient: Tensor, rates: Tensor, shape: tuple[int, ...]) -> None:
        raise TypeError("an abstract optimizer cannot update")


class CohortSGD(CohortOptimizer):
    """v ← μ v + g + λ p;  p ← p − η v."""

    def __init__(self, parameters: Iterable[Tensor], members: Sequence[Settings], dtype: torch.dtype) -> None:
        super().__init__(parameters, members, dtype)
        self._momentum = self._column([member.momentum for member in members])

    def _update(self, parameter: Tensor, gradient: Tensor, rates: Tensor, shape: tuple[int, ...]) -> None:
        if self._decays:
            gradient.add_(parameter * self._decay.view(shape))
        state = self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter)
        velocity = state["velocity"].mul_(self._momentum.view(shape)).add_(gradient)
        parameter.sub_(velocity * rates)


class CohortAdamW(CohortOptimizer):
    """p ← p (1 − η λ) − η m̂ / (√v̂ + ε), β = (0.9, 0.999), ε = 1e-8."""

    def _update(self, parameter: Tensor, gradient: Tensor, rates: Tensor, shape: tuple[int, ...]) -> None:
        state = self.state[parameter]
        if "step" not in state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["step"] += 1
        (first, second), step = BETAS, state["step"]
        mean = state["mean"].mul_(first).add_(gradient * (1 - first))
        square = state["square"].mul_(second).add_(gradient.square().mul_(1 - second))
        if self._decays:
            parameter.mul_(1 - rates * self._decay.view(shape))
        scale = square.div(1 - second**step).sqrt_().add_(EPSILON)
        parameter.sub_(mean.div(1 - first**step).mul_(rates).div_(scale))


OPTIMIZERS: dict[str, type[CohortOptimizer]] = {"sgd": CohortSGD, "adamw": CohortAdamW}


def learning_rates(member: Settings, updates: np.ndarray, updates_per_epoch: int) -> np.ndarray:
    """The learning rate at these updates (counted from 0), float64 [len(updates)].

    `constant`; `step`: × lr_decay_factor every lr_decay_epochs; `inverse_sqrt`: rate / √(1 + ⌊t / lr_decay_updates⌋)
    (Nakkiran et al. 2019); `cosine`: per update, from the rate to 0 at the horizon (Loshchilov & Hutter 2017).
    """
    shape = {
        "constant": lambda t: np.ones(len(t)),
        "step": lambda t: member.lr_decay_factor ** (t // updates_per_epoch // member.lr_decay_epochs),
        "inverse_sqrt": lambda t: 1 / np.sqrt(1 + t // member.lr_decay_updates),
        "cosine": lambda t: 0.5 * (1 + np.cos(np.pi * t / (updates_per_epoch * member.epochs))),
    }[member.lr_schedule]
    return member.learning_rate * shape(updates)
