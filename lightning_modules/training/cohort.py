"""CohortModule: a LightningModule that trains K members of the same shape as one stacked model.

Members do not affect each other: their losses are summed, never averaged, and every random draw is a function of the
member's own seed. A cohort of one member runs the same code. The stacked model itself is a `StackedNetwork`; `Update`
and `Evaluation` run it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lightning_modules.data.augmentation import Augmenter
from lightning_modules.data.datamodule import CohortData
from lightning_modules.data.upload import upload
from lightning_modules.lightning import pl
from lightning_modules.measures.catalogue import construct
from lightning_modules.measures.on_demand import OnDemandMeasure, Presentation
from lightning_modules.measures.values import PerExample
from lightning_modules.models import Family, find
from lightning_modules.schedules import learning_rates
from lightning_modules.training.checkpoint import Checkpoint, check_tensors
from lightning_modules.training.dropout import DropoutMasks
from lightning_modules.training.entry import Entry
from lightning_modules.training.evaluation import Evaluation
from lightning_modules.training.network import StackedNetwork
from lightning_modules.training.optimizers import OPTIMIZERS
from lightning_modules.training.update import Update

LOSS_BOUND = 1000.0
"""A member has diverged if its mean loss in an epoch exceeds this multiple of ln(classes), the loss of guessing."""


class CohortModule(pl.LightningModule):
    """K members with tensors of equal shapes. `Stack` lists the settings in which they must agree.

    A member resumes from the checkpoint of its entry, if there is one. Members may be at different epochs, unless
    on-demand measures are requested, because these are computed for all members at once.

    Args:
        entries: the members; `data` holds their examples in the same order.
        on_epoch: called after every epoch.

    Attributes:
        epochs: `epochs[k]` is the number of epochs that member k has been trained for.
        rows: `rows[k]` contains (epoch, measures) for each epoch at which member k was evaluated.
        examples: `examples[k]` contains (epoch, values) for each on-demand measure of member k with per-example values.
    """

    def __init__(self, entries: Sequence[Entry], data: CohortData, on_epoch: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.entries = tuple(entries)
        self.members = tuple(entry.settings for entry in entries)
        self.first_epochs = tuple(entry.epoch for entry in entries)
        """The epoch from which each member starts or resumes."""
        self.epochs = [*self.first_epochs]
        self._evaluated = [frozenset(entry.evaluated) for entry in entries]
        self.rows: list[list[tuple[int, dict[str, float | None]]]] = [[] for _ in entries]
        self.examples: list[list[tuple[int, PerExample]]] = [[] for _ in entries]
        self._data = data
        self._on_epoch = on_epoch
        self._classes = data.dataset.classes
        inputs = data.train.inputs
        device, dtype = inputs.device, inputs.dtype

        self.network = StackedNetwork(entries, data)
        self._masks = DropoutMasks(self.members, self.network.mask_shapes, device, dtype, self.first_epochs)
        self._augmenter = Augmenter(self.members, data.dataset.shape, device, dtype)
        self._scalars = torch.empty(0)
        self._losses = torch.zeros(len(entries), dtype=torch.float64, device=device)
        self._trained = upload(self.first_epochs, device, torch.int64)
        """`epochs` on the device."""
        self._diverged = torch.zeros_like(self._trained)
        """The epoch in which each member diverged, or 0. On the device, because reading it waits for the device."""
        wanted = {name for entry in entries for names in entry.measured.values() for name in names}
        self._on_demand: dict[str, OnDemandMeasure] = {name: construct(name, self, data) for name in sorted(wanted)}
        data.first_epochs = self.first_epochs
        first = self.members[0]
        updates = [epoch * data.updates_per_epoch for epoch in self.first_epochs]
        self._optimizer = OPTIMIZERS[first.optimizer](self.network.layout, self.network.matrix, self.members, updates)
        size = (first.width, first.depth, self._classes)
        # The family too, because modules such as Attention do not print their number of heads.
        family = find(first.model)
        key = (family, self.network.structure, size, first.precision) if isinstance(family, Family) else None
        traced = any(measure.needs_input_gradients for measure in self._on_demand.values())
        update = Update(self.network, data, self._optimizer, self._masks, self._augmenter, self._losses, traced)
        self._update = update.replayed(key, first.model)
        self._evaluate = Evaluation(self.network, data, key, first.model)
        self._restore()

    def forward(self, inputs: Tensor, state: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return logits [K, B, classes] for inputs [K, B, *shape]. Training mode updates the buffers of BatchNorm."""
        return self.network({**self.network.state, **(state or {})}, inputs, self.training)

    def configure_optimizers(self) -> None:
        """Tell Lightning that there is nothing for it to optimize: `Update` changes the parameters."""

    def on_train_epoch_start(self) -> None:
        per_epoch = self._data.updates_per_epoch
        rates = np.stack(
            [
                learning_rates(member, np.arange(per_epoch) + epoch * per_epoch, per_epoch)
                for member, epoch in zip(self.members, self.epochs, strict=True)
            ],
            axis=1,
        )
        self._scalars = self._optimizer.schedule(rates)
        first_updates = [epoch * per_epoch for epoch in self.epochs]
        self._masks.begin_epoch(first_updates, per_epoch)
        self._augmenter.begin_epoch(first_updates, per_epoch)
        self._losses.zero_()

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """Train every member for one epoch. `batch` [K, n] contains each member's example positions in order."""
        train = self._data.train
        # For the whole epoch at once, because the rows of one member fit into the first cache.
        columns = (batch, train.rows.gather(1, batch), train.given.gather(1, batch))
        parts = (column.split(self._data.batch_size, dim=1) for column in columns)
        for positions, rows, labels, *drawn in zip(
            *parts, self._scalars, self._augmenter.keys, self._masks.keys, strict=True
        ):
            inputs, logits, losses, gradients = self._update(rows, labels, *drawn)
            seen = Presentation(positions, inputs, logits, labels, losses, gradients)
            for measure in self._on_demand.values():
                measure.on_update(seen)

    def on_train_epoch_end(self) -> None:
        self.epochs = [epoch + 1 for epoch in self.epochs]
        self._trained += 1
        self._note_diverged()
        evaluated = self.measure()
        self._on_epoch()
        # A GPU is asked only where an evaluation has waited for it. Training longer than necessary changes no result.
        if (evaluated or self._losses.device.type == "cpu") and None not in self.diverged:
            self.trainer.should_stop = True

    @property
    def diverged(self) -> list[int | None]:
        """The epoch in which the loss or a tensor of each member stopped being finite, or None."""
        return [epoch or None for epoch in self._diverged.tolist()]

    def _note_diverged(self) -> None:
        finite = self._losses <= LOSS_BOUND * math.log(max(2, self._classes))  # False for NaN
        for values in (self.network.matrix, *self.network.constants.values()):
            finite &= values.view(len(finite), -1).isfinite().all(1)
        self._diverged = torch.where(finite | (self._diverged > 0), self._diverged, self._trained)

    def measure(self) -> bool:
        """Evaluate the members that are due at their current epoch (0 before training) and not evaluated there yet.

        Returns:
            Whether a member was due. Members that have diverged are not evaluated.
        """
        due = [
            k
            for k, (epoch, rows) in enumerate(zip(self.epochs, self.rows, strict=True))
            if epoch in self._evaluated[k] and not (rows and rows[-1][0] == epoch)
        ]
        if not due:
            return False
        diverged = self.diverged
        due = [k for k in due if diverged[k] is None]
        if not due:
            return True
        wanted = {name for k in due for name in self.entries[k].measured.get(self.epochs[k], ())}
        training = self.training
        self.eval()
        measures = self._evaluate(due)
        values = {name: self._on_demand[name].read(self.epochs[due[0]]) for name in sorted(wanted)}
        self.train(training)
        for k, measured in zip(due, measures, strict=False):
            epoch = self.epochs[k]
            taken = [values[name][k] for name in self.entries[k].measured.get(epoch, ())]
            scalars = {name: value for of_measure in taken for name, value in of_measure.scalars.items()}
            self.rows[k].append((epoch, {**measured, **scalars}))
            self.examples[k] += [(epoch, each) for of_measure in taken for each in of_measure.examples]
        return True

    def checkpoints(self, members: Collection[int]) -> list[Checkpoint]:
        """Return a checkpoint for each of the members with these indices. Its tensors are copies on the CPU."""
        diverged = self.diverged

        def each(values: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
            return {name: value[k].detach().cpu().clone() for name, value in values.items()}

        return [
            Checkpoint(
                epoch=self.epochs[k],
                device=self._losses.device.type,
                parameters=each(self.network.parameters, k),
                constants=each(self.network.constants, k),
                optimizer=self._optimizer.state_of(k),
                probes={name: each(measure.state(), k) for name, measure in self._on_demand.items()},
                rows=list(self.rows[k]),
                examples=list(self.examples[k]),
                measured={at: tuple(names) for at, names in self.entries[k].measured.items() if at <= self.epochs[k]},
                diverged=diverged[k],
            )
            for k in members
        ]

    def _restore(self) -> None:
        """Restore the results and on-demand measures of the members that have checkpoints.

        Raises:
            CheckpointError: a checkpoint is of another optimizer or data set.
        """
        states = [entry.checkpoint for entry in self.entries]
        if not any(states):
            return
        kept = [(entry.id, entry.checkpoint) for entry in self.entries if entry.checkpoint]
        updated = [(id_, _flat(state.optimizer)) for id_, state in kept if state.epoch]  # at epoch 0 there is no state
        check_tensors(updated, _flat(self._optimizer.state_of(0)), "optimizer's tensors")
        for k, state in enumerate(states):
            if state is not None:
                self._optimizer.restore(k, state.optimizer)
                self.rows[k], self.examples[k] = list(state.rows), list(state.examples)
                self._diverged[k] = state.diverged or 0
        for name, measure in self._on_demand.items():
            sums = [state.probes[name] for state in states if state]
            expected = {part: value[0] for part, value in measure.state().items()}
            check_tensors([(id_, state.probes[name]) for id_, state in kept], expected, f"sums of {name}")
            measure.restore({part: torch.stack([each[part] for each in sums]) for part in expected})


def _flat(state: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{parameter}.{name}": value for parameter, values in state.items() for name, value in values.items()}
