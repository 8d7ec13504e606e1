"""SGD and AdamW over the parameters [K, P] of K networks, with a learning rate, momentum and weight decay per member.

The optimizers of torch.optim take one value for all members. The updates are those of torch.optim.SGD (heavy ball, L2
penalty) and torch.optim.AdamW (Loshchilov & Hutter 2019, decoupled decay), but without fused multiply-adds. torch's
kernels fuse in the vectorised loop but not in the remainder, so a member's bits would depend on its stack position.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lightning_modules.data.upload import upload
from lightning_modules.settings import Settings
from lightning_modules.training.flat import Layout

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class CohortOptimizer(ABC):
    """Base class of the cohort optimizers.

    Everything that changes from update to update is uploaded once per epoch, so that an update on a GPU does not wait
    for the host: `schedule` returns the scalars of all updates, and `update` takes those of one update.

    Args:
        layout: the columns of each parameter.
        parameters: [K, P], changed in place.
        members: the settings of each member.
        trained: the number of updates that each member has already had.
    """

    state_names: tuple[str, ...]
    """The names of the matrices [K, P] that the optimizer keeps between updates."""

    def __init__(
        self, layout: Layout, parameters: Tensor, members: Sequence[Settings], trained: Sequence[int] = ()
    ) -> None:
        self._layout = layout
        self._parameters = parameters
        self._trained = np.array(trained or [0] * len(members))
        """The number of updates of each member, including the scheduled ones."""
        self._decay = self._column([member.weight_decay for member in members])
        self.decays = any(member.weight_decay for member in members)
        """Whether any member has a weight decay. If none has, an update does not compute it."""
        self._state = {name: torch.zeros_like(parameters) for name in self.state_names}
        self._gradients = torch.zeros_like(parameters)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors that an update reads or changes, by name, besides the parameters and its arguments."""
        return {**self._state, "gradients": self._gradients, **self._columns}

    @property
    def _columns(self) -> dict[str, Tensor]:
        return {"decay": self._decay}

    @property
    def changed(self) -> tuple[str, ...]:
        """The names of the `tensors` that an update changes."""
        return (*self._state, "gradients")

    def _column(self, values: Sequence[float]) -> Tensor:
        return upload(values, self._parameters.device, self._parameters.dtype)[:, None]

    def schedule(self, rates: np.ndarray) -> Tensor:
        """Return the scalars [updates, S, K] of the next updates, for their learning rates [updates, K]."""
        rows = np.stack([rates, *self._corrections(len(rates))], axis=1)
        self._trained += len(rates)
        return upload(rows, self._parameters.device, self._parameters.dtype)

    def _corrections(self, updates: int) -> Sequence[np.ndarray]:
        """Return the scalars [updates, K] of the next updates besides the learning rates."""
        return ()

    @abstractmethod
    def begin(self) -> None:
        """Do the part of an update that does not depend on the gradients."""

    @abstractmethod
    def update(self, gradients: Mapping[str, Tensor], scalars: Tensor) -> None:
        """Change the parameters for which there is a gradient [K, ...], after `begin`.

        Args:
            gradients: by parameter name.
            scalars: [S, K], a row of `schedule`.
        """

    def _runs(self, gradients: Mapping[str, Tensor]) -> list[slice]:
        return self._layout.runs([name for name in self._layout.starts if name in gradients])

    def state_of(self, k: int) -> dict[str, dict[str, Tensor]]:
        """Return copies of member k's state on the CPU: parameter name -> name of the state -> tensor."""
        views = {name: self._layout.views(matrix) for name, matrix in self._state.items()}
        return {
            parameter: {name: views[name][parameter][k].cpu().clone() for name in views}
            for parameter in self._layout.starts
        }

    def restore(self, k: int, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Set member k's state."""
        for name, matrix in self._state.items():
            views = self._layout.views(matrix)
            for parameter, values in state.items():
                views[parameter][k] = values[name].to(matrix.device)


class CohortSGD(CohortOptimizer):
    """v ← μ v + g + λ p;  p ← p − η v."""

    state_names = ("velocity",)

    def __init__(
        self, layout: Layout, parameters: Tensor, members: Sequence[Settings], trained: Sequence[int] = ()
    ) -> None:
        super().__init__(layout, parameters, members, trained)
        self._momentum = self._column([member.momentum for member in members])

    @property
    def _columns(self) -> dict[str, Tensor]:
        return {"decay": self._decay, "momentum": self._momentum}

    def begin(self) -> None:
        self._state["velocity"].mul_(self._momentum)
        if self.decays:
            torch.mul(self._parameters, self._decay, out=self._gradients)

    def update(self, gradients: Mapping[str, Tensor], scalars: Tensor) -> None:
        velocity = self._state["velocity"]
        sums = self._layout.views(self._gradients if self.decays else velocity)
        for name, gradient in gradients.items():
            sums[name].add_(gradient)
        for run in self._runs(gradients):
            if self.decays:
                velocity[:, run].add_(self._gradients[:, run])
            self._parameters[:, run].sub_(velocity[:, run] * scalars[0][:, None])


class CohortAdamW(CohortOptimizer):
    """p ← p (1 − η λ) − η m̂ / (√v̂ + ε), β = (0.9, 0.999), ε = 1e-8."""

    state_names = ("mean", "square")

    def begin(self) -> None:
        first, second = BETAS
        self._state["mean"].mul_(first)
        self._state["square"].mul_(second)

    def update(self, gradients: Mapping[str, Tensor], scalars: Tensor) -> None:
        rates, of_mean, of_square = (row[:, None] for row in scalars.unbind(0))
        first, second = BETAS
        columns = self._layout.views(self._gradients)
        for name, gradient in gradients.items():
            columns[name].copy_(gradient)
        for run in self._runs(gradients):
            gradient, parameters = self._gradients[:, run], self._parameters[:, run]
            mean = self._state["mean"][:, run].add_(gradient * (1 - first))
            square = self._state["square"][:, run].add_(gradient.square().mul_(1 - second))
            if self.decays:
                parameters.mul_(1 - rates * self._decay)
            scale = square.div(of_square).sqrt_().add_(EPSILON)
            parameters.sub_(mean.div(of_mean).mul_(rates).div_(scale))

    def _corrections(self, updates: int) -> Sequence[np.ndarray]:
        """Return 1 - β^t for both β, where t counts the updates of a member from 1."""
        counts = self._trained + np.arange(1, updates + 1)[:, None]
        unique, where = np.unique(counts, return_inverse=True)
        return [np.array([1 - beta**t for t in unique.tolist()])[where].reshape(counts.shape) for beta in BETAS]


OPTIMIZERS: dict[str, type[CohortOptimizer]] = {"sgd": CohortSGD, "adamw": CohortAdamW}
