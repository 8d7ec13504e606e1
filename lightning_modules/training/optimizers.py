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

from lightning_modules.data.upload import upload
from lightning_modules.settings import Settings

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class CohortOptimizer(torch.optim.Optimizer):
    """Base class of the cohort optimizers.

    Everything that changes from update to update is uploaded once per epoch, so that an update on a GPU does not wait
    for the host: `schedule` returns the scalars of all updates, and `scalars` is set to one row before each step.
    """

    def __init__(self, parameters: Iterable[Tensor], members: Sequence[Settings], dtype: torch.dtype) -> None:
        super().__init__(parameters, {})
        self._dtype = dtype
        self._updates = torch.zeros(len(members), dtype=torch.int64)
        """The number of updates of each member, including the scheduled ones. On the CPU."""
        self._decay = self._column([member.weight_decay for member in members])
        self._decays = any(member.weight_decay for member in members)
        self.scalars = torch.empty(0)
        """[S, K]: the scalars of the next update."""

    # torch's own forms import torch._dynamo (2 s) when they are first called, to exempt them from compilation.
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        torch.optim.Optimizer.add_param_group.__wrapped__(self, param_group)  # type: ignore[attr-defined]

    def zero_grad(self, set_to_none: bool = True) -> None:
        torch.optim.Optimizer.zero_grad.__wrapped__(self, set_to_none)  # type: ignore[attr-defined]

    def _column(self, values: Sequence[float] | np.ndarray) -> Tensor:
        return upload(np.asarray(values), self.param_groups[0]["params"][0].device, self._dtype)

    def schedule(self, rates: np.ndarray) -> Tensor:
        """Return the scalars [updates, S, K] of the next updates, for their learning rates [updates, K]."""
        rows = np.stack([rates, *self._corrections(len(rates))], axis=1)
        self._updates += len(rates)
        return self._column(rows)

    def _corrections(self, updates: int) -> Sequence[np.ndarray]:
        """Return the scalars [updates, K] of the next updates besides the learning rates."""
        return ()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shape = (-1, *(1,) * (parameter.dim() - 1))
                    self._update(parameter, parameter.grad, [row.view(shape) for row in self.scalars], shape)

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

    def _update(
        self, parameter: Tensor, gradient: Tensor, scalars: Sequence[Tensor], shape: tuple[int, ...]
    ) -> None:  # fmt: skip
        raise TypeError("an abstract optimizer cannot update")


class CohortSGD(CohortOptimizer):
    """v ← μ v + g + λ p;  p ← p − η v."""

    def __init__(self, parameters: Iterable[Tensor], members: Sequence[Settings], dtype: torch.dtype) -> None:
        super().__init__(parameters, members, dtype)
        self._momentum = self._column([member.momentum for member in members])

    def _update(
        self, parameter: Tensor, gradient: Tensor, scalars: Sequence[Tensor], shape: tuple[int, ...]
    ) -> None:  # fmt: skip
        if self._decays:
            gradient.add_(parameter * self._decay.view(shape))
        velocity = self._held(parameter)["velocity"].mul_(self._momentum.view(shape)).add_(gradient)
        parameter.sub_(velocity * scalars[0])

    def _fresh(self, parameter: Tensor) -> dict[str, Tensor]:
        return {"velocity": torch.zeros_like(parameter)}


class CohortAdamW(CohortOptimizer):
    """p ← p (1 − η λ) − η m̂ / (√v̂ + ε), β = (0.9, 0.999), ε = 1e-8."""

    def _update(
        self, parameter: Tensor, gradient: Tensor, scalars: Sequence[Tensor], shape: tuple[int, ...]
    ) -> None:  # fmt: skip
        state = self._held(parameter)
        rates, of_mean, of_square = scalars
        first, second = BETAS
        mean = state["mean"].mul_(first).add_(gradient * (1 - first))
        square = state["square"].mul_(second).add_(gradient.square().mul_(1 - second))
        if self._decays:
            parameter.mul_(1 - rates * self._decay.view(shape))
        scale = square.div(of_square).sqrt_().add_(EPSILON)
        parameter.sub_(mean.div(of_mean).mul_(rates).div_(scale))

    def _corrections(self, updates: int) -> Sequence[np.ndarray]:
        """Return 1 - β^t for both β, where t counts the updates of a member from 1."""
        counts = self._updates.numpy() + np.arange(1, updates + 1)[:, None]
        unique, where = np.unique(counts, return_inverse=True)
        return [np.array([1 - beta**t for t in unique.tolist()])[where].reshape(counts.shape) for beta in BETAS]

    def _fresh(self, parameter: Tensor) -> dict[str, Tensor]:
        return {
            "updates": self._updates,
            "mean": torch.zeros_like(parameter),
            "square": torch.zeros_like(parameter),
        }


OPTIMIZERS: dict[str, type[CohortOptimizer]] = {"sgd": CohortSGD, "adamw": CohortAdamW}
