"""The work of a training: the numbers that determine how long a stack of such trainings takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_modules.data import sources
from lightning_modules.data.split_sizes import split_sizes
from lightning_modules.measures.catalogue import MEASURES_ON_DEMAND
from lightning_modules.measures.chunks import chunk_examples
from lightning_modules.models import sizes
from lightning_modules.settings import ON_IN_STACK
from sweeps.spec.point import Point

BYTES = {"float32": 4, "tf32": 4, "bfloat16": 4, "float64": 8}
"""The bytes of a number. With bfloat16, parameters and their states are float32; the activations are smaller, but casts
of the parameters and inputs come on top."""
OPTIMIZER_STATES = {"sgd": 1, "adamw": 2}

Measurements = Mapping[int, Sequence[str]]
"""Epoch -> the names of the measures on demand at its end."""


@dataclass(frozen=True)
class Work:
    """The work of one member of a stack. Counts of floats and operations are per example unless stated otherwise.

    Attributes:
        model: the model family, whose layers differ in speed from those of others with as many operations.
        on: the fields among `ON_IN_STACK` that are not zero, such as dropout and kinds of augmentation.
        parameters: the trainable parameters of the network.
        flops: the operations of a forward pass.
        columns: the floats in the unfolded inputs of convolutions.
        activations: the floats kept for the backward pass.
        masked: the activations that dropout multiplies by a mask.
        inputs: the input values.
        calls: the calls of torch in a forward pass, about.
        batch: the examples in an update.
        updates: the updates per epoch.
        trained: the examples in an epoch.
        examples: the training examples that a member has labels of its own for.
        evaluated: the examples in an evaluation.
        passes: the forward passes in an evaluation.
    """

    model: str
    optimizer: str
    precision: str
    on: tuple[str, ...]
    parameters: int
    flops: int
    columns: int
    activations: int
    masked: int
    inputs: int
    calls: int
    batch: int
    updates: int
    trained: int
    examples: int
    evaluated: int
    passes: int

    @property
    def float_bytes(self) -> int:
        return BYTES[self.precision]

    @property
    def stack_bytes(self) -> int:
        """The bytes per member that an update reads or writes: parameters, gradients, optimizer state, activations."""
        weights = self.parameters * (2 + OPTIMIZER_STATES[self.optimizer])
        return self.float_bytes * (weights + self.batch * (self.activations + self.inputs))


def work_of(point: Point) -> Work:
    """Return the work of a training from a point whose width and depth are resolved."""
    facts = sources.facts(*sources.reference(point))
    size = sizes.size(point.model, facts.shape, facts.classes, point.width, point.depth)
    split = split_sizes(point, facts.train_size)
    examples = max(1, split.trained)
    inputs = math.prod(facts.shape)
    evaluated = [count for count in (examples, split.held_out, facts.test_size) if count]
    chunk = chunk_examples(inputs)
    return Work(
        model=point.model,
        optimizer=point.optimizer,
        precision=point.precision,
        on=tuple(name for name in ON_IN_STACK if getattr(point, name) > 0),
        parameters=size.parameters,
        flops=size.flops,
        columns=size.columns,
        activations=size.activations,
        masked=size.masked,
        inputs=inputs,
        calls=size.calls,
        batch=min(point.batch_size, examples),
        updates=split.updates(point.batch_size),
        trained=split.trained,
        examples=split.total,
        evaluated=sum(evaluated),
        passes=sum(math.ceil(count / chunk) for count in evaluated),
    )


def slowdown_of_measures(measured: Measurements) -> float:
    """Return the number of epochs that take as long as what measures on demand add to the updates of a training.

    Args:
        measured: maps each epoch at which something is measured to the names of the measures.
    """
    return sum(MEASURES_ON_DEMAND[name].slowdown * max(epochs) for name, epochs in _epochs_by_name(measured).items())


def effort_of_measures(measured: Measurements, work: Work) -> float:
    """Return the number of epochs that take as long as the measurements themselves, roughly."""
    examples = sum(
        MEASURES_ON_DEMAND[name].effort([epoch * work.updates for epoch in epochs], work.batch)
        for name, epochs in _epochs_by_name(measured).items()
    )
    return examples / max(1, work.trained)


def names_of_measures(measured: Measurements) -> tuple[str, ...]:
    """Return the names of the measures that are measured at some epoch, sorted."""
    return tuple(_epochs_by_name(measured))


def _epochs_by_name(measured: Measurements) -> dict[str, list[int]]:
    names = sorted({name for names in measured.values() for name in names})
    return {name: [epoch for epoch, names in measured.items() if name in names] for name in names}
