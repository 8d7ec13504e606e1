"""Fixtures for the tests of measures: a stack to measure, and a plain training of one network as a reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from memsweep.testing import make_entries
from torch import Tensor, nn
from torch.nn import functional

from lightning_modules.data import corruption, sources
from lightning_modules.data.datamodule import CohortData
from lightning_modules.data.sources import Dataset
from lightning_modules.measures.values import PerExample
from lightning_modules.models.seeded import build_member
from lightning_modules.streams import numpy_generator, torch_generator
from lightning_modules.training.cohort import CohortModule
from lightning_modules.training.precision import DTYPES
from lightning_modules.training.stack import reproducible
from sweeps.spec.point import Point

Stack = tuple[CohortModule, CohortData]


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return sources.load("digits")


@pytest.fixture
def stack(digits: Dataset) -> Callable[..., Stack]:
    """Return a function that makes a newly initialised stack of the given members, in training mode."""

    def make(members: Sequence[Point], dataset: Dataset = digits) -> Stack:
        reproducible()
        data = CohortData(members, dataset, torch.device("cpu"), DTYPES[members[0].precision])
        return CohortModule(make_entries(members, ()), data), data

    return make


@dataclass(frozen=True)
class Update:
    """The values of one update of the plain training, before the update is applied."""

    ids: list[int]
    logits: Tensor
    losses: Tensor
    input_norms: list[float]
    """L1 norms of the gradients of single examples' losses with respect to their inputs."""


@dataclass(frozen=True)
class Plain:
    updates: list[Update]
    network: nn.Module
    given: dict[int, int]
    """Given label by id of a training example, including examples that are left out."""


@pytest.fixture
def plain(digits: Dataset) -> Callable[..., Plain]:
    """Return a function that trains one network in a plain loop with torch's SGD, in float64, and that shares only the
    initial weights, the order and the label noise with the tested code.

    `ids` are the training examples in order, by default the first `dataset_size` of the seed's subset.
    """

    def train(point: Point, ids: np.ndarray | None = None) -> Plain:
        chosen = corruption.subset_order(digits.train_labels, numpy_generator(point.seed, "subset"))
        chosen = chosen[: point.dataset_size]
        draws = corruption.label_draws(len(digits.train_labels), 10, numpy_generator(point.seed, "label_noise"))
        labels = corruption.corrupt_labels(
            digits.train_labels[chosen], draws.of(chosen), point.label_noise, point.label_noise_kind, 10
        )
        given = dict(zip(chosen.tolist(), labels.tolist(), strict=True))
        ids = chosen if ids is None else ids
        x = torch.from_numpy(digits.train_inputs[ids]).double()
        y = torch.tensor([given[i] for i in ids.tolist()])
        network = build_member(point, digits.shape, digits.classes).double().eval()  # no dropout
        optimizer = torch.optim.SGD(network.parameters(), point.learning_rate, point.momentum)
        updates = []
        for epoch in range(point.epochs):
            order = torch.randperm(len(y), generator=torch_generator(point.seed, f"order/{epoch}"))
            for batch in order.split(point.batch_size):
                norms = []
                for i in batch:
                    one = x[i : i + 1].clone().requires_grad_()
                    (gradient,) = torch.autograd.grad(functional.cross_entropy(network(one), y[i : i + 1]), one)
                    norms.append(gradient.abs().sum().item())
                optimizer.zero_grad()
                logits = network(x[batch])
                losses = functional.cross_entropy(logits, y[batch], reduction="none")
                losses.mean().backward()
                updates.append(Update(ids[batch].tolist(), logits.detach(), losses.detach(), norms))
                optimizer.step()
        return Plain(updates, network, given)

    return train


@pytest.fixture(scope="session")
def by_id() -> Callable[[PerExample], dict[int, Any]]:
    return lambda each: dict(zip(each.example_ids.tolist(), each.values.tolist(), strict=True))
