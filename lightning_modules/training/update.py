"""Update: one step of gradient descent of every member of a stack."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_modules.data.applicability import AUGMENTATIONS
from lightning_modules.data.augmentation import Augmenter
from lightning_modules.data.datamodule import CohortData
from lightning_modules.measures.every_epoch import cross_entropy
from lightning_modules.training.dropout import DropoutMasks
from lightning_modules.training.network import StackedNetwork
from lightning_modules.training.optimizers import CohortOptimizer
from lightning_modules.training.program.replayed import Replayed


class Update:
    """A function that updates every member once. `replayed` returns it in the form that a stack calls.

    Args:
        losses: float64 [K], to which every update adds its share of the epoch's mean loss.
        needs_input_gradients: whether to compute `Presentation.input_gradients`.
    """

    def __init__(
        self, network: StackedNetwork, data: CohortData, optimizer: CohortOptimizer, masks: DropoutMasks,
        augmenter: Augmenter, losses: Tensor, needs_input_gradients: bool,
    ) -> None:  # fmt: skip
        self._network = network
        self._data = data
        self._optimizer = optimizer
        self._masks = masks
        self._augmenter = augmenter
        self._losses = losses
        self._needs_input_gradients = needs_input_gradients

    def replayed(self, key: object, name: str) -> Replayed:
        """Return the function as one that is recorded.

        Args:
            key: determines the network's calls, or None (`Replayed`).
            name: the name of the model.
        """
        optimizer = {f"optimizer {name}": tensor for name, tensor in self._optimizer.tensors.items()}
        changed = {
            "parameters": self._network.matrix,
            "losses": self._losses,
            **{f"buffer {name}": tensor for name, tensor in self._network.constants.items()},
            **{name: optimizer[name] for name in (f"optimizer {own}" for own in self._optimizer.changed)},
        }
        state = {**changed, **optimizer, "inputs": self._data.train.inputs}
        strengths = [tuple(getattr(member, field) for field in AUGMENTATIONS) for member in self._data.members]
        whole_key = key and (
            key, type(self._optimizer).__name__, self._optimizer.decays, tuple(self._network.mask_shapes),
            self._needs_input_gradients, tuple(strengths) if self._augmenter.active else (), self._data.train.size,
        )  # fmt: skip
        masks = self._masks
        return Replayed(
            self, state, [*changed], whole_key, name, lambda inputs: masks.constants(inputs[0].shape[1])
        )  # fmt: skip

    def __call__(
        self, rows: Tensor, labels: Tensor, scalars: Tensor, augmentation: Tensor, dropout: Tensor
    ) -> Sequence[Tensor | None]:
        """Update every member once.

        Args:
            rows: [K, B], the rows of the minibatch in the inputs.
            labels: [K, B], their labels as given.
            scalars: [S, K], the scalars of the optimizer.
            augmentation: the keys of the augmentation's draws.
            dropout: the keys of the masks.

        Returns:
            `inputs`, `logits`, `losses` and `input_gradients` of a `Presentation`.
        """
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
