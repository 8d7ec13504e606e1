"""CohortData: the examples of K members as tensors on the device. A batch is K rows of indices into the examples.

Typical data sets fit in memory many times over, so there are no loader workers: each step gathers its examples by
index. Members share one copy of the inputs, except members with input noise, which have their own inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lightning_modules.data import corruption
from lightning_modules.data.sources import Dataset
from lightning_modules.data.split_sizes import split_sizes
from lightning_modules.data.upload import upload
from lightning_modules.lightning import pl
from lightning_modules.settings import Settings
from lightning_modules.streams import numpy_generator, torch_generator


@dataclass(frozen=True)
class Examples:
    """The same number n of examples for each of K members. `rows` [K, n] index `inputs` [N, *shape]."""

    inputs: Tensor
    rows: Tensor
    ids: Tensor
    """[K, n] indices into the data set's training (or test) arrays. An example has the same id in every training."""
    given: Tensor
    """[K, n] labels that the member is trained on."""
    true: Tensor
    """[K, n] labels before label noise."""

    @property
    def size(self) -> int:
        return self.rows.shape[1]

    def of(self, positions: Tensor) -> Examples:
        """Select the examples at `positions` [K, m] of each member."""
        columns = (self.rows, self.ids, self.given, self.true)
        rows, ids, given, true = (column.gather(1, positions) for column in columns)
        return Examples(self.inputs, rows, ids, given, true)

    def take(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Gather inputs [K, B, *shape] and given labels [K, B] at `positions` [K, B] of each member."""
        rows = self.rows.gather(1, positions)
        return self.at(rows), self.given.gather(1, positions)

    def slice(self, start: int, stop: int) -> Tensor:
        """Gather inputs [K, stop - start, *shape]."""
        return self.at(self.rows[:, start:stop])

    def of_members(self, members: Tensor) -> Examples:
        """Select the examples of some members, given as indices [k]."""
        rows, ids, given, true = (column[members] for column in (self.rows, self.ids, self.given, self.true))
        return Examples(self.inputs, rows, ids, given, true)

    def at(self, rows: Tensor) -> Tensor:
        """Gather inputs [K, B, *shape] at `rows` [K, B] of `inputs`."""
        return self.inputs.index_select(0, rows.reshape(-1)).unflatten(0, tuple(rows.shape))


@dataclass(frozen=True)
class Splits:
    """The splits on which members are evaluated."""

    train: Examples
    validation: Examples | None
    test: Examples


class CohortData(pl.LightningDataModule):
    """The examples of members that agree in data, sizes and batch_size.

    Members are trained on `train`. `left_out` holds the training examples outside the members' subsets and `validation`
    the held-out part; each is None if empty. `test` holds the clean test examples of the data set, without any noise.

    `train_dataloader` yields one item per epoch: the order [K, n] in which each member goes through `train`, drawn from
    the member's seed. (Lightning's loop takes 0.4 ms per item, as long as updating six small networks.)

    Args:
        chances: a cache of the random decisions per data seed, which later stacks on the same data set reuse.
    """

    def __init__(
        self, members: Sequence[Settings], dataset: Dataset, device: torch.device, dtype: torch.dtype,
        chances: Chances | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.members = tuple(members)
        self.dataset = dataset
        self.first_epochs = (0,) * len(members)
        """The number of epochs that each member was trained for before it joined this stack."""
        first = members[0]
        self.batch_size = first.batch_size
        sizes = split_sizes(first, len(dataset.train_labels))
        size, held_out = sizes.total, sizes.held_out
        seeds = {} if chances is None else chances
        for seed in {_data_seed(member) for member in members} - seeds.keys():
            seeds[seed] = _Chance(dataset, seed)
        tensors = _examples(dataset, members, [seeds[_data_seed(member)] for member in members], size, device, dtype)
        self.validation = _part(tensors, size - held_out, size) if held_out else None
        self.train, self.left_out = _part(tensors, 0, size - held_out), None
        if first.subset_fraction < 1:
            self.train, self.left_out = _subsets(self.train, members, sizes.trained)
        count = len(dataset.test_labels)
        labels = torch.from_numpy(dataset.test_labels).to(device).expand(len(members), count)
        everything = torch.arange(count, device=device).expand(len(members), count)
        inputs = torch.from_numpy(dataset.test_inputs).to(device, dtype)
        self.test = Examples(inputs, everything, everything, labels, labels)

    @property
    def updates_per_epoch(self) -> int:
        return -(-self.train.size // self.batch_size)

    def train_dataloader(self) -> _Epoch:
        return _Epoch(self)

    def order(self, epochs: Sequence[int]) -> Tensor:
        """Return the order in which each member goes through its training set: positions [K, n].

        The order depends only on the seed and the epoch, not on how often Lightning starts to iterate. Members with the
        same seed and epoch have the same order.

        Args:
            epochs: the epoch of each member, counted from 0.
        """
        drawn = [(member.seed, epoch) for member, epoch in zip(self.members, epochs, strict=True)]
        orders = {
            (seed, epoch): torch.randperm(self.train.size, generator=torch_generator(seed, f"order/{epoch}"))
            for seed, epoch in {*drawn}
        }
        return upload(torch.stack([orders[key] for key in drawn]), self.train.rows.device)

    def splits(self, members: Sequence[int] | None = None) -> Splits:
        """Return the splits of the members with these indices, or of all members."""
        if members is None:
            return Splits(self.train, self.validation, self.test)
        index = torch.tensor([*members], device=self.train.rows.device)
        held_out = self.validation.of_members(index) if self.validation else None
        return Splits(self.train.of_members(index), held_out, self.test.of_members(index))


@dataclass(frozen=True)
class _Epoch:
    """An iterable that yields the order of the current epoch as its only batch."""

    data: CohortData

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Tensor]:
        trained = self.data.trainer.current_epoch if self.data.trainer else 0
        yield self.data.order([first + trained for first in self.data.first_epochs])


def _data_seed(member: Settings) -> int:
    return member.seed if member.data_seed is None else member.data_seed


class _Chance:
    """The random decisions about a data set for one data seed. All members with that data seed share them."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        count = len(dataset.train_labels)
        self.order = corruption.subset_order(dataset.train_labels, numpy_generator(seed, "subset"))
        self.labels = corruption.label_draws(count, dataset.classes, numpy_generator(seed, "label_noise"))
        self.inputs = corruption.input_draws(dataset.train_inputs, numpy_generator(seed, "input_noise"))


Chances = dict[int, _Chance]
"""The random decisions by data seed."""


def _examples(
    dataset: Dataset, members: Sequence[Settings], chances: Sequence[_Chance], size: int, device: torch.device,
    dtype: torch.dtype,
) -> Examples:  # fmt: skip
    """Build each member's subset with its noise. Clean inputs are stored once, noisy inputs once per noise setting."""
    blocks, rows, ids, given, true = [torch.from_numpy(dataset.train_inputs).to(device, dtype)], [], [], [], []
    noisy: dict[tuple[int, float, str], int] = {}
    for member, chance in zip(members, chances, strict=True):
        chosen = chance.order[:size]
        labels = dataset.train_labels[chosen]
        ids.append(chosen)
        true.append(labels)
        given.append(
            corruption.corrupt_labels(
                labels, chance.labels.of(chosen), member.label_noise, member.label_noise_kind, dataset.classes
            )
        )
        if not member.input_noise:
            rows.append(chosen)
            continue
        key = (_data_seed(member), member.input_noise, member.input_noise_kind)
        if key not in noisy:
            noisy[key] = sum(len(block) for block in blocks)
            inputs = corruption.corrupt_inputs(
                dataset.train_inputs[chosen], chance.inputs.of(chosen), member.input_noise, member.input_noise_kind
            )
            blocks.append(torch.from_numpy(inputs).to(device, dtype))
        rows.append(noisy[key] + np.arange(size))
    stacked = (torch.from_numpy(np.stack(arrays)).to(device) for arrays in (rows, ids, given, true))
    return Examples(torch.cat(blocks) if noisy else blocks[0], *stacked)


def _part(examples: Examples, start: int, stop: int) -> Examples:
    cut = slice(start, stop)
    columns = (column[:, cut] for column in (examples.rows, examples.ids, examples.given, examples.true))
    return Examples(examples.inputs, *columns)


def _subsets(examples: Examples, members: Sequence[Settings], seen: int) -> tuple[Examples, Examples]:
    """Split each member's examples into a random subset of size `seen` and the rest. The subsets are nested."""
    drawn = {
        seed: torch.randperm(examples.size, generator=torch_generator(seed, "subset_fraction"))
        for seed in {member.seed for member in members}
    }
    order = torch.stack([drawn[member.seed] for member in members]).to(examples.rows.device)
    return examples.of(order[:, :seen].sort(1).values), examples.of(order[:, seen:].sort(1).values)
