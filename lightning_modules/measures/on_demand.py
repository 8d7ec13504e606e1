"""The interface of on-demand measures, which are computed for all K members of a stack at once.

A `Snapshot` depends only on the networks at the epoch at which it is computed. A `History` is notified of every update,
and computes its values from accumulated tensors. Both kinds of measure are constructed before the first update and read
at the end of an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor

from lightning_modules.measures.chunks import chunk_size
from lightning_modules.measures.logits import most_likely
from lightning_modules.measures.values import MeasuredValues, PerExample

if TYPE_CHECKING:
    from lightning_modules.data.datamodule import CohortData, Examples


class StackedNetworks(Protocol):
    """K networks of the same shape. This is the part of a `CohortModule` that a measure may use."""

    training: bool

    def __call__(self, inputs: Tensor, state: Mapping[str, Tensor] | None = None, /) -> Tensor:
        """Return logits [K, B, classes] for inputs [K, B, *shape]; `state` replaces tensors by name."""

    def eval(self) -> object:
        """Set evaluation mode."""

    def train(self, mode: bool = True, /) -> object:
        """Set training mode, or evaluation mode."""


@dataclass(frozen=True)
class Presentation:
    """The minibatch of one update of every member, and what the networks gave for it before they were updated.

    The next update may overwrite the tensors, so copy what you keep.

    Attributes:
        positions: [K, B], indices into `data.train`, each of which occurs at most once per member.
        inputs: [K, B, *shape], after augmentation.
        logits: [K, B, classes], detached, in training mode: with dropout, and with BatchNorm's statistics of the batch.
        labels: [K, B] as given.
        losses: [K, B], detached: cross-entropy with the given label, in nats.
        input_gradients: [K, B, *shape], the gradient of the sum of a member's losses with respect to its inputs. None
            unless a measure needs it.
    """

    positions: Tensor
    inputs: Tensor
    logits: Tensor
    labels: Tensor
    losses: Tensor
    input_gradients: Tensor | None = None


class OnDemandMeasure(Protocol):
    """An on-demand measure. `catalogue.construct(name, module, data)` constructs it before the first update."""

    name: ClassVar[str]
    needs_input_gradients: ClassVar[bool]

    def on_update(self, seen: Presentation) -> None:
        """Accumulate the values of an update, which has been applied already. A snapshot does nothing."""

    def read(self, epoch: int) -> list[MeasuredValues]:
        """Return the values of each member at the end of `epoch` (0: before training). Epochs rise from call to call.

        This method must not change parameters, buffers, gradients, the training mode or torch's global generator.
        """

    def state(self) -> Mapping[str, Tensor]:
        """Return the accumulated tensors, each [K, ...] of a shape that does not change, for a checkpoint."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state of tensors [K, ...]. Called directly after construction, before the first update."""


class Snapshot:
    """The base class of measures that depend only on the networks at the epoch at which they are computed."""

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
    """The base class of measures that accumulate over updates."""

    needs_input_gradients: ClassVar[bool] = False
    adds_up: ClassVar[tuple[str, ...]]
    """The names of the attributes that contain the accumulated tensors [K, ...]."""

    def state(self) -> Mapping[str, Tensor]:
        return {name: getattr(self, name) for name in self.adds_up}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        for name, value in state.items():
            getattr(self, name).copy_(value)


@contextmanager
def evaluating(module: StackedNetworks) -> Iterator[None]:
    """Set the module to evaluation mode inside the `with` block, and restore its mode afterwards."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def predicted_classes(module: StackedNetworks, examples: Examples) -> Tensor:
    """Return the class of the largest logit, int64 [K, n], in evaluation mode."""
    chunk = chunk_size(examples)
    parts = []
    with evaluating(module), torch.no_grad():
        for start in range(0, examples.size, chunk):
            parts.append(most_likely(module(examples.slice(start, min(start + chunk, examples.size)))))
    return torch.cat(parts, 1)


def per_example(measure: str, split: str, ids: Tensor, values: Tensor) -> list[PerExample]:
    """Split ids and values [K, n] into one `PerExample` per member."""
    numbers = values.detach().double().cpu().numpy()
    return [PerExample(measure, split, *pair) for pair in zip(ids.cpu().numpy(), numbers, strict=True)]


def defined(values: Sequence[float]) -> list[float | None]:
    """Replace NaN by None."""
    return [None if value != value else value for value in values]


def add_at(totals: Tensor, positions: Tensor, values: Tensor) -> None:
    """Add values[k, b] to totals[k, positions[k, b]] in place. No position may occur twice for a member."""
    totals.scatter_(1, positions, totals.gather(1, positions) + values)
