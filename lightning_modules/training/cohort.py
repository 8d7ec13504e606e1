"""CohortModule: a LightningModule that trains K members of the same shape as one stacked model.

The parameters and buffers of K ordinary networks are stacked along a new first axis, and `torch.func.vmap` maps the
forward pass of one network over this axis. Every Linear becomes one batched product, and every convolution one grouped
convolution. Members do not affect each other: their losses are summed, never averaged, and every random draw is a
function of the member's own seed. A cohort of one member runs the same code.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from lightning_modules.data.augmentation import Augmenter
from lightning_modules.data.datamodule import CohortData
from lightning_modules.data.upload import upload
from lightning_modules.lightning import pl
from lightning_modules.measures.catalogue import construct
from lightning_modules.measures.every_epoch import cross_entropy, evaluate
from lightning_modules.measures.on_demand import OnDemandMeasure, Presentation
from lightning_modules.measures.values import PerExample
from lightning_modules.models.seeded import build_member
from lightning_modules.schedules import learning_rates
from lightning_modules.training.checkpoint import Checkpoint
from lightning_modules.training.dropout import DropoutMasks, mask_shapes, replace_dropout
from lightning_modules.training.entry import Entry
from lightning_modules.training.optimizers import OPTIMIZERS, CohortOptimizer
from lightning_modules.training.precision import autocast
from lightning_modules.training.stacking import parameter_key, stack_states, state_of

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
        self._optimizer: CohortOptimizer | None = None
        self._classes = data.dataset.classes
        inputs = data.train.inputs
        device, dtype = inputs.device, inputs.dtype

        drops = any(member.dropout for member in self.members)
        fresh = [k for k, entry in enumerate(entries) if entry.checkpoint is None]
        networks = {
            k: replace_dropout(build_member(self.members[k], data.dataset.shape, self._classes), drops).to(
                device, dtype
            )
            for k in fresh or [0]
        }
        network = next(iter(networks.values()))
        trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
        states = [
            entry.checkpoint.state if entry.checkpoint else state_of(networks[k]) for k, entry in enumerate(entries)
        ]
        stacked = {name: value.to(device) for name, value in stack_states(states, [*state_of(network)]).items()}
        self.parameters_per_member = sum(stacked[name][0].numel() for name in trained)
        self.stacked = nn.ParameterDict(
            {parameter_key(name): nn.Parameter(stacked[name]) for name in stacked if name in trained}
        )
        self._by_name = {name: self.stacked[parameter_key(name)] for name in stacked if name in trained}
        self._constants = {name: value for name, value in stacked.items() if name not in trained}
        """Buffers, such as BatchNorm's, and frozen parameters."""
        shapes = mask_shapes(network, inputs[:1])
        # Only the structure of the skeleton is used, never its parameter values, so it is moved to "meta", unless
        # modules share a parameter, which the move would untie. The tuple prevents its registration as a submodule.
        self._tied = len([*network.parameters()]) < len([*network.named_parameters(remove_duplicate=False)])
        skeleton = copy.deepcopy(network)
        self._skeleton = (skeleton if self._tied else skeleton.to("meta"),)
        self._masks = DropoutMasks(self.members, shapes, device, dtype, self.first_epochs)
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
        self._restore()

    def forward(self, inputs: Tensor, masks: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return logits [K, B, classes] for inputs [K, B, *shape]. Training mode updates the buffers of BatchNorm."""
        return self._forward({**self._by_name, **self._constants, **(masks or {})}, inputs)

    def _forward(self, state: dict[str, Tensor], inputs: Tensor) -> Tensor:
        skeleton = self._skeleton[0].train(self.training)

        def one(state: dict[str, Tensor], x: Tensor) -> Any:
            return functional_call(skeleton, state, (x,), tie_weights=self._tied)

        with autocast(self.members[0].precision, inputs.device):
            logits: Tensor = vmap(one, randomness="error")(state, inputs)
        return logits.to(inputs.dtype)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self._optimizer is None:  # Lightning calls this method in every fit, and a module may be fitted repeatedly
            dtype = next(iter(self.stacked.values())).dtype
            self._optimizer = OPTIMIZERS[self.members[0].optimizer](self.stacked.values(), self.members, dtype)
            for k, entry in enumerate(self.entries):
                for name, state in entry.checkpoint.optimizer.items() if entry.checkpoint else ():
                    self._optimizer.restore(self._by_name[name], k, state)
        return self._optimizer

    def on_train_epoch_start(self) -> None:
        per_epoch = self._data.updates_per_epoch
        rates = np.stack(
            [
                learning_rates(member, np.arange(per_epoch) + epoch * per_epoch, per_epoch)
                for member, epoch in zip(self.members, self.epochs, strict=True)
            ],
            axis=1,
        )
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        self._scalars = optimizer.schedule(rates)
        first_updates = [epoch * per_epoch for epoch in self.epochs]
        self._masks.begin_epoch(first_updates, per_epoch)
        self._augmenter.begin_epoch(first_updates, per_epoch)
        self._losses.zero_()

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """Train every member for one epoch. `batch` [K, n] contains each member's example positions in order."""
        parts = batch.split(self._data.batch_size, dim=1)
        for each in zip(parts, self._scalars, self._augmenter.keys, self._masks.keys, strict=True):
            self._update(*each)

    def _update(self, positions: Tensor, scalars: Tensor, augmentation: Tensor, dropout: Tensor) -> None:
        """Update every member once.

        Args:
            positions: [K, B], the examples.
            scalars: [S, K], the scalars of the optimizer.
            augmentation: the keys of the augmentation's draws.
            dropout: the keys of the masks.
        """
        inputs, labels = self._data.train.take(positions)
        if self._augmenter.active:
            inputs = self._augmenter(inputs, augmentation)
        traced = any(measure.needs_input_gradients for measure in self._on_demand.values())
        inputs.requires_grad_(traced)
        logits = self(inputs, self._masks.draw(dropout, positions.shape[1]))
        each = cross_entropy(logits, labels)
        losses = each.mean(1)
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        optimizer.zero_grad()
        self.manual_backward(losses.sum())
        if self._on_demand:
            gradients = inputs.grad * positions.shape[1] if inputs.grad is not None else None
            seen = Presentation(positions, inputs.detach(), logits.detach(), labels, each.detach(), gradients)
            for measure in self._on_demand.values():
                measure.on_update(seen)
        optimizer.scalars = scalars
        optimizer.step()
        self._losses += losses.detach().double() * (positions.shape[1] / self._data.train.size)

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
        for values in (*self.stacked.values(), *self._constants.values()):
            finite &= values.detach().view(len(finite), -1).isfinite().all(1)
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
        with torch.no_grad():
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

    def _evaluate(self, due: list[int]) -> list[dict[str, float | None]]:
        """Compute the per-epoch measures of the members in `due`. Only these members are run.

        A single member is duplicated, so that it gets the same bits as in a larger stack.
        """
        if len(due) == len(self.members):
            return evaluate(self, self._by_name, self._data.splits(), self._classes)
        chosen = due if len(due) > 1 else due * 2
        state = {name: value[chosen] for name, value in {**self._by_name, **self._constants}.items()}
        parameters = {name: state[name] for name in self._by_name}
        return evaluate(lambda x: self._forward(state, x), parameters, self._data.splits(chosen), self._classes)

    def checkpoints(self, members: Collection[int]) -> list[Checkpoint]:
        """Return a checkpoint for each of the members with these indices. Its tensors are copies on the CPU."""
        optimizer: Any = self.configure_optimizers()
        diverged = self.diverged

        def each(values: Mapping[str, Tensor], k: int) -> dict[str, Tensor]:
            return {name: value[k].detach().cpu().clone() for name, value in values.items()}

        return [
            Checkpoint(
                epoch=self.epochs[k],
                device=self._losses.device.type,
                parameters=each(self._by_name, k),
                constants=each(self._constants, k),
                optimizer={name: optimizer.state_of(parameter, k) for name, parameter in self._by_name.items()},
                probes={name: each(measure.state(), k) for name, measure in self._on_demand.items()},
                rows=list(self.rows[k]),
                examples=list(self.examples[k]),
                measured={at: tuple(names) for at, names in self.entries[k].measured.items() if at <= self.epochs[k]},
                diverged=diverged[k],
            )
            for k in members
        ]

    def _restore(self) -> None:
        """Restore the results and on-demand measures of the members that have checkpoints."""
        states = [entry.checkpoint for entry in self.entries]
        for k, state in enumerate(states):
            if state is not None:
                self.rows[k], self.examples[k] = list(state.rows), list(state.examples)
                self._diverged[k] = state.diverged or 0
        for name, measure in self._on_demand.items() if any(states) else ():
            sums = [state.probes[name] for state in states if state]
            measure.restore({part: torch.stack([each[part] for each in sums]) for part in sums[0]})
