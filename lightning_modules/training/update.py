"""Update: one step of gradient descent of every member of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_modules.data.applicability import AUGMENTATIONS
from lightning_modules.data.augmentation import Augmenter
from lightning_modules.data.datamodule import CohortData
from lightning_modules.measures.logits import cross_entropy
from lightning_modules.training.dropout import DropoutMasks
from lightning_modules.training.network import StackedNetwork
from lightning_modules.training.optimizers import CohortOptimizer
from lightning_modules.training.program.replayed import Replayed


@dataclass(frozen=True, eq=False)
class Update:
    """A function that updates every member once. `replayed` returns it in the form that a stack calls.

    Attributes:
        losses: float64 [K], to which every update adds its share of the epoch's mean loss.
        needs_input_gradients: whether to compute `Presentation.input_gradients`.
    """

    network: StackedNetwork
    data: CohortData
    optimizer: CohortOptimizer
    masks: DropoutMasks
    augmenter: Augmenter
    losses: Tensor
    needs_input_gradients: bool

    def replayed(self, key: object, name: str) -> Replayed:
        """Return the function as one that is recorded.

        Args:
            key: determines the network's calls, or None (`Replayed`).
            name: the name of the model.
        """
        optimizer = {f"optimizer {name}": tensor for name, tensor in self.optimizer.tensors.items()}
        changed = {
            "parameters": self.network.matrix,
            "losses": self.losses,
            **{f"buffer {name}": tensor for name, tensor in self.network.constants.items()},
            **{name: optimizer[name] for name in (f"optimizer {own}" for own in self.optimizer.changed)},
        }
        state = {**changed, **optimizer, "inputs": self.data.train.inputs}
        strengths = [tuple(getattr(member, field) for field in AUGMENTATIONS) for member in self.data.members]
        whole_key = key and (
            key, type(self.optimizer).__name__, self.optimizer.decays, tuple(self.network.mask_shapes),
            self.needs_input_gradients, tuple(strengths) if self.augmenter.active else (), self.data.train.size,
        )  # fmt: skip
        masks = self.masks
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
            self.optimizer.begin()
            inputs = self.data.train.at(rows)
            if self.augmenter.active:
                inputs = self.augmenter(inputs, augmentation)
            masks = self.masks.draw(dropout, size)
        with torch.enable_grad():
            inputs = inputs.detach().requires_grad_(self.needs_input_gradients)
            parameters = {name: value.detach().requires_grad_() for name, value in self.network.parameters.items()}
            logits = self.network({**parameters, **self.network.constants, **masks}, inputs, training=True)
            each = cross_entropy(logits, labels)
            losses = each.mean(1)
            wanted = [*parameters.values(), *([inputs] if self.needs_input_gradients else [])]
            gradients = torch.autograd.grad(losses.sum(), wanted, allow_unused=True)
        with torch.no_grad():
            by_name = dict(zip(parameters, gradients, strict=False))
            self.optimizer.update({name: value for name, value in by_name.items() if value is not None}, scalars)
            self.losses.add_(losses.double() * (size / self.data.train.size))
            of_inputs = gradients[-1] * size if self.needs_input_gradients else None
        return inputs.detach(), logits.detach(), each.detach(), of_inputs
