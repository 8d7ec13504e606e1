"""StackedNetwork: K networks of the same shape as one function of stacked parameters.

The parameters and buffers of K ordinary networks are stacked along a new first axis, and `torch.func.vmap` maps the
forward pass of one network over this axis. Every Linear and every convolution becomes one batched product.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call, vmap

from lightning_modules.data.datamodule import CohortData
from lightning_modules.measures.chunks import chunk_size
from lightning_modules.models.seeded import build_member
from lightning_modules.training.checkpoint import check_tensors
from lightning_modules.training.dropout import mask_shapes, replace_dropout
from lightning_modules.training.entry import Entry
from lightning_modules.training.flat import Layout
from lightning_modules.training.precision import autocast
from lightning_modules.training.stacked_layers import BatchedProducts
from lightning_modules.training.stacking import stack_states, state_of


class StackedNetwork:
    """The networks of some entries, initialised or from their checkpoints.

    Args:
        entries: the members.
        data: the examples, whose device and precision the networks have.

    Attributes:
        layout: the columns of each parameter in `matrix`.
        matrix: [K, P], the trainable parameters.
        parameters: the trainable parameters by name, each [K, ...]: views of `matrix`.
        constants: buffers, such as BatchNorm's, and frozen parameters, by name, each [K, ...].
        mask_shapes: the name and the shape for one example of each dropout mask.

    Raises:
        ModelError: the networks have different parameters.
        CheckpointError: a checkpoint is of another network.
    """

    def __init__(self, entries: Sequence[Entry], data: CohortData) -> None:
        members = [entry.settings for entry in entries]
        inputs = data.train.inputs
        device, dtype = inputs.device, inputs.dtype
        self._precision = members[0].precision
        drops = any(member.dropout for member in members)
        fresh = [k for k, entry in enumerate(entries) if entry.checkpoint is None]
        networks = {
            k: replace_dropout(build_member(members[k], data.dataset.shape, data.dataset.classes), drops).to(
                device, dtype
            )
            for k in fresh or [0]
        }
        network = next(iter(networks.values()))
        trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
        own = state_of(network)
        learned, constant = ({name: own[name] for name in own if (name in trained) is kind} for kind in (True, False))
        kept = [(entry.id, entry.checkpoint) for entry in entries if entry.checkpoint]
        check_tensors([(id_, state.parameters) for id_, state in kept], learned, "parameters")
        check_tensors([(id_, state.constants) for id_, state in kept], constant, "buffers")
        states = [
            entry.checkpoint.state if entry.checkpoint else state_of(networks[k]) for k, entry in enumerate(entries)
        ]
        stacked = {name: value.to(device) for name, value in stack_states(states, [*own]).items()}
        parameters = {name: value for name, value in stacked.items() if name in trained}
        self.layout = Layout.of(parameters)
        self.matrix = self.layout.filled(parameters)
        self.parameters = self.layout.views(self.matrix)
        self.constants = {name: value for name, value in stacked.items() if name not in trained}
        self.mask_shapes = mask_shapes(network, inputs[:1])
        # Only the structure of the skeleton is used, never its parameter values, so it is moved to "meta", unless
        # modules share a parameter, which the move would untie.
        self._tied = len([*network.parameters()]) < len([*network.named_parameters(remove_duplicate=False)])
        skeleton = copy.deepcopy(network)
        self._skeleton = skeleton if self._tied else skeleton.to("meta")

    @property
    def size(self) -> int:
        """The number of trainable parameters of one member."""
        return sum(value[0].numel() for value in self.parameters.values())

    @property
    def structure(self) -> tuple[object, ...]:
        """The modules of a network, which determine its calls unless they keep something else in Python."""
        return (repr(self._skeleton), *(type(module) for module in self._skeleton.modules()))

    @property
    def state(self) -> dict[str, Tensor]:
        """Parameters, buffers and frozen parameters by name, each [K, ...]."""
        return {**self.parameters, **self.constants}

    def __call__(self, state: Mapping[str, Tensor], inputs: Tensor, training: bool) -> Tensor:
        """Return logits [K, B, classes] for inputs [K, B, *shape]. Training mode updates the buffers of BatchNorm.

        Args:
            state: `state`, or other tensors of the same names and shapes, and dropout masks in training mode.
        """
        skeleton = self._skeleton.train(training)

        def one(state: dict[str, Tensor], x: Tensor) -> Any:
            return functional_call(skeleton, state, (x,), tie_weights=self._tied)

        with autocast(self._precision, inputs.device), BatchedProducts():
            logits: Tensor = vmap(one, randomness="error")(dict(state), inputs)
        return logits.to(inputs.dtype)


def rounds_differently_alone(data: CohortData) -> bool:
    """Return whether a single member on a CPU would be rounded differently than in a larger stack.

    For a single matrix, MKL replaces products with one row or one column by products with a vector (a difference of
    1e-16 in float64). Batches of one example and layers with one input or output have such products. Transposed
    convolutions, which no family has, are stacked as grouped convolutions, for which oneDNN has other kernels. Such a
    member is trained together with a copy of itself, which doubles the cost and gives the same bits as any larger
    cohort.
    """
    train = data.train
    batches = [(train.size, data.batch_size)]
    batches += [
        (part.size, chunk_size(part)) for part in (train, data.left_out, data.validation, data.test) if part is not None
    ]
    if any(size == 1 or step == 1 or size % step == 1 for size, step in batches):
        return True
    network = build_member(data.members[0], data.dataset.shape, data.dataset.classes)
    return any(
        isinstance(module, nn.modules.conv._ConvTransposeNd)
        or (
            isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
            and 1 in (len(module.weight), module.weight[0].numel())
        )
        for module in network.modules()
    )
