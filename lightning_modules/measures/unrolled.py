"""Loss sensitivity: the gradient of the loss with respect to an example, differentiated through all updates.

Arpit et al. 2017, "A Closer Look at Memorization in Deep Networks" (arXiv 1706.05394), section 3.2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from lightning_modules.errors import ModelError
from lightning_modules.measures.gini import gini
from lightning_modules.measures.logits import cross_entropy
from lightning_modules.measures.on_demand import Snapshot, StackedNetworks, defined, evaluating, per_example
from lightning_modules.measures.values import MeasuredValues
from lightning_modules.schedules import learning_rates

if TYPE_CHECKING:
    from lightning_modules.data.datamodule import CohortData

LANES, LANE_FLOATS = 32, 2**22
"""The maximum number of losses that are differentiated at once, and of values in their input gradients per member. The
number of lanes depends only on the data's shape, so that a member's bits do not depend on the stack."""

Parameters = dict[str, Tensor]
"""Tensors by parameter name, each [K, ...], or [lanes, K, ...] for several losses at once."""


class LossSensitivity(Snapshot):
    """The mean of ‖∂L_t/∂x_i‖₁ over the T updates so far, in nats per unit of input; at least 0.

    L_t is the mean cross-entropy over the training set, labels as given, after t updates of SGD. It depends on the
    training inputs x in two ways: directly, since they are its inputs, and through each of the t updates. The columns
    are the mean over examples and their Gini coefficient (0..1, None if all are 0). They are null before the first
    update.

    The training is replayed from the initial parameters. The gradients of many L_t are then propagated backwards
    through it together. With θ the parameters, v the velocity, μ momentum, λ weight decay, η_s the learning rate and
    ∇ℓ_s the gradient of the mean loss of the s-th minibatch X_s at θ_{s−1}, an update is

        v_s = μ v_{s−1} + ∇ℓ_s + λ θ_{s−1},    θ_s = θ_{s−1} − η_s v_s,

    so the cotangents (θ̄, v̄) of its outputs become, with w = v̄_s − η_s θ̄_s,

        v̄_{s−1} = μ w,    θ̄_{s−1} = θ̄_s + λ w + (∂∇ℓ_s/∂θ)ᵀ w,    and add (∂∇ℓ_s/∂X_s)ᵀ w to the gradient of X_s.

    This is reverse-mode differentiation of the whole training that keeps the graph of only one update at a time. It
    takes the time of T²/2 second-order backward passes of a minibatch, and the memory of T copies of the parameters.

    The measure requires sgd without dropout and augmentation (`catalogue.check` refuses all other settings), and a
    network without buffers, because running statistics are not a function of the parameters.

    Raises:
        ModelError: The network has buffers.
    """

    name: ClassVar[str] = "loss_sensitivity"

    def __init__(self, module: StackedNetworks, data: CohortData) -> None:
        super().__init__(module, data)
        from lightning_modules.models.seeded import build_member

        networks = [build_member(member, data.dataset.shape, data.dataset.classes) for member in data.members]
        network = networks[0]
        buffers = [name for name, _ in network.named_buffers()]
        if buffers:
            raise ModelError(
                "model",
                f"given {data.members[0].model}, which has buffers ({buffers[0]}, ...); loss_sensitivity takes "
                "networks of parameters alone",
            )
        for each in networks:
            each.to(data.train.inputs.device, data.train.inputs.dtype)
        states = [dict(each.named_parameters()) for each in networks]
        trained = [name for name, parameter in states[0].items() if parameter.requires_grad]
        start = {name: torch.stack([state[name].detach() for state in states]) for name in trained}
        # Frozen parameters are passed explicitly only if a single member is duplicated (`_second_order`).
        alone = len(data.members) == 1
        self._frozen = {n: p.detach()[None] for n, p in network.named_parameters() if alone and not p.requires_grad}
        self._path = [start]
        """The parameters after 0, 1, ... updates."""
        self._velocity = {name: torch.zeros_like(value) for name, value in start.items()}
        self._momentum = self._column([member.momentum for member in data.members])
        self._decay = self._column([member.weight_decay for member in data.members])
        self._decays = any(member.weight_decay for member in data.members)
        self._batches: list[Tensor] = []
        """The positions [K, B] of each update."""
        self._rates: list[Tensor] = []
        self._sums = torch.zeros_like(data.train.given, dtype=torch.float64)
        self._epochs = 0
        """The number of epochs that the sums include."""

    def read(self, epoch: int) -> list[MeasuredValues]:
        with evaluating(self._module), torch.enable_grad():
            while self._epochs < epoch:
                self._take_epoch()
        sensitivity = self._sums / len(self._batches) if self._batches else torch.full_like(self._sums, torch.nan)
        means = defined(sensitivity.mean(1).tolist())
        examples = per_example(self.name, "train", self._data.train.ids, sensitivity)
        spreads = defined([gini(each.values) for each in examples])
        return [
            MeasuredValues({"loss_sensitivity": mean, "loss_sensitivity_gini": spread}, (each,))
            for mean, spread, each in zip(means, spreads, examples, strict=True)
        ]

    def parameters_after(self, updates: int) -> Parameters:
        """Return the replayed parameters after `updates` updates, all of them in epochs that have been read."""
        return self._path[updates]

    def _take_epoch(self) -> None:
        before = len(self._batches)
        self._replay()
        train = self._data.train
        lanes = max(1, min(LANES, LANE_FLOATS // (train.size * math.prod(train.inputs.shape[1:]))))
        losses = range(before + 1, len(self._batches) + 1)
        for start in range(0, len(losses), lanes):
            for gradient in self._gradients(losses[start : start + lanes]):
                self._sums += gradient.flatten(2).double().abs().sum(2)
        self._epochs += 1

    def _replay(self) -> None:
        """Replay the updates of an epoch with the operations of `CohortSGD`, so that parameters are bit-identical."""
        data = self._data
        updates = np.arange(data.updates_per_epoch) + len(self._batches)
        rates = np.stack([learning_rates(member, updates, data.updates_per_epoch) for member in data.members])
        order = data.order([self._epochs] * len(data.members))
        for update, positions in enumerate(order.split(data.batch_size, dim=1)):
            parameters = self._tracked(len(self._batches))
            inputs, labels = data.train.take(positions)
            self._batches.append(positions)
            self._rates.append(self._column(rates[:, update]))
            gradients = torch.autograd.grad(self._loss(parameters, inputs, labels), list(parameters.values()))
            after = {}
            for (name, value), gradient in zip(self._path[-1].items(), gradients, strict=True):
                if self._decays:
                    gradient = gradient + value * _as(self._decay, value)
                velocity = self._velocity[name].mul_(_as(self._momentum, value)).add_(gradient)
                after[name] = value - velocity * _as(self._rates[-1], value)
            self._path.append(after)

    def _gradients(self, losses: range) -> Tensor:
        """Return ∂L_t/∂x for each t in `losses`: [lanes, K, n, *shape]."""
        train = self._data.train
        everything = train.slice(0, train.size).requires_grad_()
        gradients, starts = [], []
        for t in losses:
            parameters = self._tracked(t)
            loss = self._loss(parameters, everything, train.given)
            of_inputs, *of_parameters = torch.autograd.grad(loss, [everything, *parameters.values()])
            gradients.append(of_inputs)
            starts.append(dict(zip(parameters, of_parameters, strict=True)))
        total = torch.stack(gradients)
        theta = {name: torch.stack([start[name] for start in starts]) for name in self._path[0]}
        velocity = {name: torch.zeros_like(value) for name, value in theta.items()}
        members = torch.arange(len(train.given), device=total.device)[:, None]
        for s in range(losses[-1], 0, -1):
            # Losses after fewer than s updates do not depend on update s. They are the first in `losses`.
            later = slice(max(0, s - losses[0]), None)
            rates, positions = self._rates[s - 1], self._batches[s - 1]
            w = {name: velocity[name][later] - theta[name][later] * _as(rates, theta[name][0]) for name in theta}
            of_inputs, products = self._second_order(s, w)
            for name, value in w.items():
                theta[name][later] += products[name] + value * _as(self._decay, value[0])
                velocity[name][later] = value * _as(self._momentum, value[0])
            total[later, members, positions] += of_inputs
        return total

    def _second_order(self, s: int, w: Parameters) -> tuple[Tensor, Parameters]:
        """Return (∂∇ℓ_s/∂X_s)ᵀ w and (∂∇ℓ_s/∂θ)ᵀ w for each lane of w.

        A single member is duplicated, because for one matrix torch folds the lanes into one larger product, which is
        rounded differently than the batched product of a stack.
        """
        members = len(self._data.members)
        copies = [0, 0] if members == 1 else list(range(members))
        parameters = {name: value[copies].detach().requires_grad_() for name, value in self._path[s - 1].items()}
        frozen = {name: value[copies] for name, value in self._frozen.items()}
        inputs, labels = (each[copies] for each in self._data.train.take(self._batches[s - 1]))
        inputs.requires_grad_()
        loss = self._loss({**frozen, **parameters}, inputs, labels)
        gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
        cotangents = [value[:, copies] for value in w.values()]
        of_inputs, *of_parameters = torch.autograd.grad(
            gradients, [inputs, *parameters.values()], cotangents, is_grads_batched=True, materialize_grads=True
        )
        return of_inputs[:, :members], {
            name: value[:, :members] for name, value in zip(parameters, of_parameters, strict=True)
        }

    def _tracked(self, updates: int) -> Parameters:
        return {name: value.detach().requires_grad_() for name, value in self._path[updates].items()}

    def _loss(self, parameters: Parameters, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of the members' mean losses; the gradient of each member depends on its own loss alone."""
        return cross_entropy(self._module(inputs, parameters), labels).mean(1).sum()

    def _column(self, values: list[float] | np.ndarray) -> Tensor:
        inputs = self._data.train.inputs
        return torch.as_tensor(np.asarray(values), dtype=inputs.dtype).to(inputs.device)


def _as(column: Tensor, parameter: Tensor) -> Tensor:
    """Reshape [K] so that it multiplies a parameter [K, ...], with or without lanes before K."""
    return column.view(-1, *(1,) * (parameter.dim() - 1))
