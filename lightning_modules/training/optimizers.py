"""SGD and AdamW over stacked parameters [K, ...], with a learning rate, momentum and weight decay per member.

The optimizers of torch.optim take one value for all members. The updates are those of torch.optim.SGD (heavy ball, L2
penalty) and torch.optim.AdamW (Loshchilov & Hutter 2019, decoupled decay), but without fused multiply-adds. torch's
kernels fuse in the vectorised loop but not in the remainder, so a member's bits would depend on its stack position.
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
    """Base class of the cohort optimizers. Set `rates` [K], the members' learning rates, before each step."""

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

    def state_of(self, parameter: Tensor, k: int) -> dict[str, Tensor]:
        """Return a copy of member k's optimizer state for a parameter, on the CPU."""
        return {name: value[k].cpu().clone() for name, value in self._held(parameter).items()}

    @torch.no_grad()
    def restore(self, parameter: Tensor, k: int, state: Mapping[str, Tensor]) -> None:
        """Set member k's optimizer state for a parameter."""
        for name, value in state.items():
            self._held(parameter)[name][k] = value

    def _held(self, parameter: Tensor) -> dict[str, Tensor]:
        """Return the optimizer state of a parameter as tensors [K, ...], initializing it if necessary."""
        if not self.state[parameter]:
            self.state[parameter].update(self._fresh(parameter))
        held: dict[str, Tensor] = self.state[parameter]
        return held

    def _fresh(self, parameter: Tensor) -> dict[str, Tensor]:
        """Return the initial optimizer state of a parameter."""
        raise TypeError("an abstract optimizer keeps nothing")

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
        velocity = self._held(parameter)["velocity"].mul_(self._momentum.view(shape)).add_(gradient)
        parameter.sub_(velocity * rates)

    def _fresh(self, parameter: Tensor) -> dict[str, Tensor]:
        return {"velocity": torch.zeros_like(parameter)}


class CohortAdamW(CohortOptimizer):
    """p ← p (1 − η λ) − η m̂ / (√v̂ + ε), β = (0.9, 0.999), ε = 1e-8."""

    _counts: list[int] | None = None
    _corrected: list[Tensor]

    def _update(self, parameter: Tensor, gradient: Tensor, rates: Tensor, shape: tuple[int, ...]) -> None:
        state = self._held(parameter)
        corrections = self._corrections(state["updates"].add_(1))
        first, second = BETAS
        mean = state["mean"].mul_(first).add_(gradient * (1 - first))
        square = state["square"].mul_(second).add_(gradient.square().mul_(1 - second))
        if self._decays:
            parameter.mul_(1 - rates * self._decay.view(shape))
        of_mean, of_square = (correction.view(shape) for correction in corrections)
        scale = square.div(of_square).sqrt_().add_(EPSILON)
        parameter.sub_(mean.div(of_mean).mul_(rates).div_(scale))

    def _corrections(self, updates: Tensor) -> list[Tensor]:
        """Return 1 - β^t [K] for both β. Computed once per step, because t is the same for all parameters."""
        counts = updates.tolist()
        if counts != self._counts:
            self._counts = counts
            self._corrected = [self._column([1 - beta**count for count in counts]) for beta in BETAS]
        return self._corrected

    def _fresh(self, parameter: Tensor) -> dict[str, Tensor]:
        return {
            "updates": torch.zeros(len(parameter), dtype=torch.int64),
            "mean": torch.zeros_like(parameter),
            "square": torch.zeros_like(parameter),
        }


OPTIMIZERS: dict[str, type[CohortOptimizer]] = {"sgd": CohortSGD, "adamw": CohortAdamW}
