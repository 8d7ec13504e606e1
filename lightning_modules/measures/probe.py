"""Probe: a measure that is taken on demand, of all K members of a stack at once, and what it hands back.

A snapshot probe looks at the networks as they are when it is read. A history probe hears of every update and reads
what it has added up. Both are made before the first update, and read at the end of an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor

from lightning_modules.measures.chunks import chunk_size
from lightning_modules.measures.reading import PerExample, Reading

if TYPE_CHECKING:
    from lightning_modules.data.datamodule import CohortData, Examples


class StackedNetworks(Protocol):
    """K networks of the same shape, as measures see them."""

    training: bool

    def __call__(self, inputs: Tensor, state: Mapping[str, Tensor] | None = None, /) -> Tensor:
        """Return logits [K, B, classes] for inputs [K, B, *shape]; `state` replaces tensors by name."""

    def eval(self) -> object:
        """Set evaluation mode."""

    def train(self, mode: bool = True, /) -> object:
        """Set training mode, or evaluation mode."""


@dataclass(frozen=True)
class Presentation:
    """One update of every member, seen just before it is applied."""

    positions: Tensor
    """[K, B] in `data.train`; no position twice for a member."""
    inputs: Tensor
    """[K, B, *shape] as presented: augmented."""
    logits: Tensor
    """[K, B, classes], detached, in training mode: with dropout, and with BatchNorm's statistics of the batch."""
    labels: Tensor
    """[K, B] as given."""
    losses: Tensor
    """[K, B], detached: cross-entropy with the label given, in nats."""
    input_gradients: Tensor | None = None
    """[K, B, *shape]: of the sum of a member's losses with respect to its inputs. There if any probe needs it."""


class Probe(Protocol):
    """Constructed as `registry.make_probe(name, module, data)`, before the first update."""

    name: ClassVar[str]
    needs_input_gradients: ClassVar[bool]

    def on_update(self, seen: Presentation) -> None:
        """Hear of an update; snapshot probes do nothing."""

    def read(self, epoch: int) -> list[Reading]:
        """One reading for each member, at the end of `epoch` (0: before training). Epochs rise from call to call.

        Leaves parameters, buffers, their gradients, the training mode and torch's global generator as they were.
        """

    def state(self) -> Mapping[str, Tensor]:
        """What it has added up, each [K, ...]: for a checkpoint."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state [K, ...]. Called before the first update, on a probe that was just made."""


class Snapshot:
    """What probes share that look at the networks only when they are read."""

    needs_input_gradients: ClassVar[bool] = False

    def __init__(self, module: StackedNetworks, data: CohortData) -> None:
        self._module = module
        self._data = data

    def on_update(self, seen: Presentation) -> None:
        return

    def state(self) -> Mapping[str, Tensor]:
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        return


class History:
    """What probes share that add up what they hear of."""

    needs_input_gradients: ClassVar[bool] = False
    adds_up: ClassVar[tuple[str, ...]]
    """Names of the attributes that it adds up in, tensors [K, ...]."""

    def state(self) -> Mapping[str, Tensor]:
        return {name: getattr(self, name) for name in self.adds_up}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        for name, value in state.items():
            getattr(self, name).copy_(value)


@contextmanager
def evaluating(module: StackedNetworks) -> Iterator[None]:
    """The module in evaluation mode, and then in the mode that it was in."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def predicted_classes(module: StackedNetworks, examples: Examples) -> Tensor:
    """int64 [K, n]: the class of the largest logit, in evaluation mode."""
    chunk = chunk_size(examples)
    parts = []
    with evaluating(module), torch.no_grad():
        for start in range(0, examples.size, chunk):
            parts.append(module(examples.slice(start, min(start + chunk, examples.size))).argmax(2))
    return torch.cat(parts, 1)


def per_example(measure: str, split: str, ids: Tensor, values: Tensor) -> list[PerExample]:
    """One for each member, from ids and values [K, n]."""
    numbers = values.detach().double().cpu().numpy()
    return [PerExample(measure, split, *pair) for pair in zip(ids.cpu().numpy(), numbers, strict=True)]


def defined(values: Sequence[float]) -> list[float | None]:
    """None for NaN."""
    return [None if value != value else value for value in values]


def add_at(totals: Tensor, positions: Tensor, values: Tensor) -> None:
    """totals[k, positions[k, b]] += values[k, b], in place; exact in any order, for no position comes twice."""
    totals.scatter_(1, positions, totals.gather(1, positions) + values)
