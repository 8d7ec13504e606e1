"""Update: one step of gradient descent of every member of a stack."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_modules.data.applicability import AUGMENTATIONS
from lightning_modules.data.augmentation import Augmenter
from lightning_modules.data.datamodule import CohortData
from lightning_modules.measures.every_epoch import cross_entropy
from lightning_modules.measures.on_demand import Presentation
from lightning_modules.training.dropout import DropoutMasks
from lightning_modules.training.network import StackedNetwork
from lightning_modules.training.optimizers import CohortOptimizer
from lightning_modules.training.program.replayed import Replayed


class Update:
    """A callable that updates every member once.

    Args:
        losses: float64 [K], to which every update adds its share of the epoch's mean loss.
        needs_input_gradients: whether to compute `Presentation.input_gradients`.
        key: determines the network's calls, or None (`Replayed`).
    """

    def __init__(
        self, network: StackedNetwork, data: CohortData, optimizer: CohortOptimizer, masks: DropoutMasks,
        augmenter: Augmenter, losses: Tensor, needs_input_gradients: bool, key: object, name: str,
    ) -> None:  # fmt: skip
        self._network = network
        self._data = data
        self._optimizer = optimizer
        self._masks = masks
        self._augmenter = augmenter
        self._losses = losses
        self._needs_input_gradients = needs_input_gradients
        train = data.train
        changed = {"parameters": network.matrix, "losses": losses, **network.constants} | {
            f"optimizer {name}": tensor for name, tensor in optimizer.tensors.items() if name in optimizer.changed
        }
        state = {
            **changed,
            **{f"optimizer {name}": tensor for name, tensor in optimizer.tensors.items()},
            "inputs": train.inputs,
        }
        strengths = [tuple(getattr(member, field) for field in AUGMENTATIONS) for member in data.members]
        key = key and (
            key, type(optimizer).__name__, optimizer.decays, tuple(network.mask_shapes), needs_input_gradients,
            tuple(strengths) if augmenter.active else (), train.size,
        )  # fmt: skip
        self.replayed = Replayed(
            self._update, state, [*changed], key, name, lambda inputs: masks.constants(inputs[0].shape[1])
        )

    def __call__(
        self, positions: Tensor, rows: Tensor, labels: Tensor, scalars: Tensor, augmentation: Tensor, dropout: Tensor
    ) -> Presentation:
        """Update every member once.

        Args:
            positions: [K, B], the examples of the minibatch as indices into `data.train`.
            rows: [K, B], their rows of the inputs.
            labels: [K, B], their labels as given.
            scalars: [S, K], the scalars of the optimizer.
            augmentation: the keys of the augmentation's draws.
            dropout: the keys of the masks.

        Returns:
            The minibatch. Its tensors are valid until the next update.
        """
        inputs, logits, losses, gradients = self.replayed(rows, labels, scalars, augmentation, dropout)
        return Presentation(positions, inputs, logits, labels, losses, gradients)

    def _update(
        self, rows: Tensor, labels: Tensor, scalars: Tensor, augmentation: Tensor, dropout: Tensor
    ) -> Sequence[Tensor | None]:
        size = rows.shape[1]
        with torch.no_grad():
            self._optimizer.begin()
            inputs = self._data.train.at(rows)
            if self._augmenter.active:
                inputs = self._augmenter(inputs, augmentation)
            masks = self._masks.draw(dropout, size)
        with torch.enable_grad():
            inputs = inputs.detach().requires_grad_(self._needs_input_gradients)
            parameters = {name: value.detach().requires_grad_() for name, value in self._network.parameters.items()}
            logits = self._network({**parameters, **self._network.constants, **masks}, inputs, training=True)
            each = cross_entropy(logits, labels)
            losses = each.mean(1)
            wanted = [*parameters.values(), *([inputs] if self._needs_input_gradients else [])]
            gradients = torch.autograd.grad(losses.sum(), wanted, allow_unused=True)
        with torch.no_grad():
            by_name = dict(zip(parameters, gradients, strict=False))
            self._optimizer.update({name: value for name, value in by_name.items() if value is not None}, scalars)
            self._losses.add_(losses.double() * (size / self._data.train.size))
            of_inputs = gradients[-1] * size if self._needs_input_gradients else None
        return inputs.detach(), logits.detach(), each.detach(), of_inputs
