"""Evaluation: the per-epoch measures of some members of a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_modules.data.datamodule import CohortData, Examples
from lightning_modules.measures.every_epoch import evaluate
from lightning_modules.measures.logits import judged
from lightning_modules.training.network import StackedNetwork, rounds_differently_alone
from lightning_modules.training.program.replayed import Replayed


class Evaluation:
    """A callable that computes the per-epoch measures.

    Args:
        key: determines the network's calls, or None (`Replayed`).
    """

    def __init__(self, network: StackedNetwork, data: CohortData, key: object, name: str) -> None:
        self._network = network
        self._data = data
        self._key = key
        self._name = name
        self._forwards: dict[int, _Forward] = {}
        """The passes by number of members; 0 for all."""

    def __call__(self, members: Sequence[int]) -> list[dict[str, float | None]]:
        """Return the measures of the members with these indices, in ascending order, and perhaps once more.

        No other members are run.
        """
        everyone = len(members) == len(self._network.matrix)
        if len(members) == 1 and not everyone and rounds_differently_alone(self._data):
            members = [*members, *members]
        count = 0 if everyone else len(members)
        forward = self._forwards.get(count)
        if forward is None:
            matrix = self._network.matrix if everyone else self._network.matrix[members]
            constants = self._network.constants
            if not everyone:
                constants = {name: value[members] for name, value in constants.items()}
            forward = _Forward(self._network, matrix, constants, self._key, self._name)
            self._forwards[count] = forward
        elif not everyone:
            forward.fill(members)
        splits = self._data.splits(None if everyone else members)
        with torch.no_grad():
            return evaluate(forward, forward.parameters, splits, self._data.dataset.classes)


class _Forward:
    """The forward pass of some members in evaluation mode, on a chunk of examples.

    Args:
        matrix: [k, P], the parameters of the members.
        constants: their buffers and frozen parameters, by name.
    """

    def __init__(
        self, network: StackedNetwork, matrix: Tensor, constants: dict[str, Tensor], key: object, name: str
    ) -> None:
        self._network = network
        self._matrix = matrix
        self._constants = constants
        self._key = key
        self._name = name
        self.parameters = network.layout.views(matrix)
        self._replayed: dict[int, Replayed] = {}
        """Address of the inputs of a split -> the pass on these inputs."""

    def fill(self, members: Sequence[int]) -> None:
        """Take the present values of some members."""
        self._matrix.copy_(self._network.matrix[members])
        for name, value in self._constants.items():
            value.copy_(self._network.constants[name][members])

    def __call__(self, examples: Examples, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Return the losses and the predicted classes [k, stop - start]."""
        inputs = examples.inputs
        address = inputs.untyped_storage()._cdata
        if address not in self._replayed:
            judge = _Judge(self._network, {**self.parameters, **self._constants}, inputs)
            buffers = {f"buffer {name}": tensor for name, tensor in self._constants.items()}
            state = {"parameters": self._matrix, "inputs": inputs, **buffers}
            self._replayed[address] = Replayed(judge, state, (), self._key, self._name)
        losses, predicted = self._replayed[address](examples.rows[:, start:stop], examples.given[:, start:stop])
        return losses, predicted


@dataclass(frozen=True)
class _Judge:
    """A function from rows of the inputs and given labels, both [k, n], to losses and predicted classes."""

    network: StackedNetwork
    state: Mapping[str, Tensor]
    inputs: Tensor

    def __call__(self, rows: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        chosen = self.inputs.index_select(0, rows.reshape(-1)).unflatten(0, tuple(rows.shape))
        return judged(self.network(self.state, chosen, training=False), given)
