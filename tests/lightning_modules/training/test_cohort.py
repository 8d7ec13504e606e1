"""Tests of stacked training against a plain training of one network in one loop with an optimizer of torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from memsweep.testing import make_entries
from torch import nn
from torch.nn import functional

from lightning_modules.data import corruption, sources
from lightning_modules.data.datamodule import CohortData
from lightning_modules.errors import ModelError
from lightning_modules.measures import critical_samples
from lightning_modules.measures.catalogue import MEASURES_ON_DEMAND
from lightning_modules.models.seeded import build_member
from lightning_modules.streams import numpy_generator, torch_generator
from lightning_modules.training.cohort import CohortModule
from lightning_modules.training.train import train_cohort
from sweeps.spec.point import Point

DIGITS = sources.load("digits")
BASE = Point(data="digits", dataset_size=230, batch_size=20, epochs=3, precision="float64", width=7, depth=2,
             learning_rate=0.05)  # fmt: skip


def plain_training(point: Point) -> dict[str, float]:
    """Train in plain PyTorch. Only the network, the initial weights, the order and the noise come from our code."""
    network = build_member(point, DIGITS.shape, DIGITS.classes).double()
    chosen = corruption.subset_order(DIGITS.train_labels, numpy_generator(point.seed, "subset"))[: point.dataset_size]
    draws = corruption.label_draws(len(DIGITS.train_labels), 10, numpy_generator(point.seed, "label_noise"))
    true = DIGITS.train_labels[chosen]
    given = corruption.corrupt_labels(true, draws.of(chosen), point.label_noise, point.label_noise_kind, 10)
    x, y = torch.from_numpy(DIGITS.train_inputs[chosen]).double(), torch.from_numpy(given)
    if point.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            network.parameters(), point.learning_rate, point.momentum, weight_decay=point.weight_decay
        )
    else:
        optimizer = torch.optim.AdamW(network.parameters(), point.learning_rate, weight_decay=point.weight_decay)
    per_epoch = -(-len(y) // point.batch_size)
    schedule = {
        "constant": lambda: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1.0),
        "step": lambda: torch.optim.lr_scheduler.StepLR(
            optimizer, point.lr_decay_epochs * per_epoch, point.lr_decay_factor
        ),
        "inverse_sqrt": lambda: torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda t: (1 + t // point.lr_decay_updates) ** -0.5
        ),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, per_epoch * point.epochs),
    }[point.lr_schedule]()
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = point.dropout
    for epoch in range(point.epochs):
        order = torch.randperm(len(y), generator=torch_generator(point.seed, f"order/{epoch}"))
        for batch in order.split(point.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(network(x[batch]), y[batch]).backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        logits = network(x)
        test_logits = network(torch.from_numpy(DIGITS.test_inputs).double())
    predicted, wrong = logits.argmax(1).numpy(), given != true
    loss = functional.cross_entropy(logits, y, reduction="none").numpy()
    return {
        "train_loss": loss.mean(),
        "train_accuracy": (predicted == given).mean(),
        "test_accuracy": (test_logits.argmax(1).numpy() == DIGITS.test_labels).mean(),
        "test_loss": functional.cross_entropy(test_logits, torch.from_numpy(DIGITS.test_labels)).item(),
        "clean_accuracy": (predicted == true)[~wrong].mean(),
        "clean_loss": loss[~wrong].mean(),
        "corrupted_loss": loss[wrong].mean(),
        "memorized_fraction": (predicted == given)[wrong].mean(),
        "recovered_fraction": (predicted == true)[wrong].mean(),
        "other_fraction": ((predicted != true) & (predicted != given))[wrong].mean(),
        "weight_norm": np.sqrt(sum((weights.detach() ** 2).sum().item() for weights in network.parameters())),
        "bits_memorized": np.log2(10) * len(y) + np.log2(np.exp(-loss)).sum(),
    }


SETTINGS = {
    "sgd": {"weight_decay": 0.01},
    "no momentum": {"momentum": 0.0, "learning_rate": 0.2},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
    "step": {"lr_schedule": "step", "lr_decay_epochs": 1, "lr_decay_factor": 0.3},
    "inverse_sqrt": {"lr_schedule": "inverse_sqrt", "lr_decay_updates": 2},
    "cosine": {"lr_schedule": "cosine"},
    "convnet": {"model": "convnet", "width": 3},
    "resnet, BatchNorm": {"model": "resnet", "width": 2, "depth": 1},
    "transformer": {"model": "transformer", "width": 8, "depth": 1},
    "residual_mlp": {"model": "residual_mlp"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_member_of_a_stack_equals_a_plain_training_with_torchs_optimizer(name):
    point = BASE.with_(label_noise=0.4, seed=3, **SETTINGS[name])
    neighbour = point.with_(seed=4, learning_rate=point.learning_rate * 2, label_noise=0.1)
    result = train_cohort([*make_entries([neighbour], [3]), *make_entries([point], [0, 3])], DIGITS)
    (_, before), (_, after) = result.members[1].rows
    assert after == pytest.approx(plain_training(point), rel=1e-9)
    assert after["train_loss"] < before["train_loss"] - 0.01, "nothing was learned, so nothing was compared"


FAMILIES = {
    "linear": {"width": None, "depth": None},
    "mlp": {},
    "residual_mlp": {},
    "convnet": {"width": 3},
    "resnet": {"width": 2, "depth": 1},
    "transformer": {"width": 8, "depth": 1},
}


BATCHES = {"last batch of one": (41, 20, 0.0), "batches of one": (6, 1, 0.0), "one held out": (40, 20, 0.025),
           "last batch of four": (64, 20, 0.0)}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "batches", "precision"),
    [
        pytest.param(model, batches, precision, marks=[pytest.mark.slow] if (i + j + k) % 2 else [])
        for i, model in enumerate(FAMILIES)
        for j, batches in enumerate(BATCHES)
        for k, precision in enumerate(("float32", "float64"))
    ],
)
def test_a_member_alone_has_the_bits_that_it_has_in_a_stack(model, batches, precision):
    """For batches of one example, in training and evaluation, a lone member could run other kernels. Each family is
    tested with each kind of batch in one precision; the slow tests add the other precision."""
    size, batch, held_out = BATCHES[batches]
    fields = {"width": 7, "depth": 2, **FAMILIES[model], "model": model, "precision": precision, "dropout": 0.2}
    point = Point(data="digits", dataset_size=size, batch_size=batch, validation_fraction=held_out, epochs=2, **fields)
    members = [point.with_(seed=seed) for seed in range(3)]
    stacked = train_cohort(make_entries(members, [1, 2]), DIGITS).members
    assert train_cohort(make_entries(members[:1], [1, 2]), DIGITS).members == stacked[:1]
    assert train_cohort(make_entries(members[1:], [1, 2]), DIGITS).members == stacked[1:]


def test_when_it_is_measured_changes_no_number():
    often, once = (
        train_cohort(make_entries([BASE], [0, 1, 2, 3]), DIGITS),
        train_cohort(make_entries([BASE], [3]), DIGITS),
    )
    assert [epoch for epoch, _ in often.members[0].rows] == [0, 1, 2, 3]
    assert often.members[0].rows[-1] == once.members[0].rows[0]


def test_a_shorter_training_is_a_prefix_of_a_longer_one():
    long, short = (
        train_cohort(make_entries([BASE], [2]), DIGITS),
        train_cohort(make_entries([BASE.with_(epochs=2)], [2]), DIGITS),
    )
    assert long.members[0].rows == short.members[0].rows


def test_without_epochs_the_network_is_measured_as_it_was_initialised():
    point = BASE.with_(epochs=0, label_noise=0.5)
    (row,) = train_cohort(make_entries([point], [0]), DIGITS).members[0].rows
    assert row == (0, pytest.approx(plain_training(point), rel=1e-9))


def test_torchs_global_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_cohort(make_entries([BASE.with_(dropout=0.5)], [1]), DIGITS)
    assert torch.equal(torch.rand(3), expected)


def test_dropout_changes_training_and_not_evaluation():
    dropped, plain = (
        train_cohort(make_entries([BASE.with_(dropout=rate, width=40)], [0, 3]), DIGITS).members[0].rows
        for rate in (0.5, 0.0)
    )
    assert dropped[0] == plain[0]
    assert dropped[1] != plain[1]


def test_a_divergent_member_ends_and_says_when():
    wild, calm = train_cohort(make_entries([BASE.with_(learning_rate=1e6), BASE], [1, 2, 3]), DIGITS).members
    assert wild.diverged is not None
    assert all(epoch < wild.diverged for epoch, _ in wild.rows)
    assert calm == train_cohort(make_entries([BASE], [1, 2, 3]), DIGITS).members[0]


def test_frozen_parameters_stay_and_are_not_counted(monkeypatch):
    def frozen(*arguments):
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        for parameter in network[1].parameters():
            parameter.requires_grad_(False)
        return network

    monkeypatch.setattr("lightning_modules.models.seeded.build", frozen)
    data = CohortData([BASE], DIGITS, torch.device("cpu"), torch.float64)
    module = CohortModule(make_entries([BASE], [1]), data)
    assert module.network.size == 650
    assert sorted(module.network.parameters) == ["3.bias", "3.weight"]
    (_, before), (_, after) = train_cohort(make_entries([BASE], [0, 3]), DIGITS).members[0].rows
    assert after["train_loss"] < before["train_loss"]


def test_a_class_defined_inside_the_users_function_is_stacked(monkeypatch):
    def make(*arguments):
        class Local(nn.Linear):
            def forward(self, x):
                return super().forward(x.flatten(1))

        return Local(64, 10)

    monkeypatch.setattr("lightning_modules.models.seeded.build", make)
    members = [BASE, BASE.with_(seed=1)]
    assert (
        train_cohort(make_entries(members, [3]), DIGITS).members[1]
        == train_cohort(make_entries(members[1:], [3]), DIGITS).members[0]
    )


def test_networks_of_different_shapes_at_equal_settings_are_refused(monkeypatch):
    sizes = iter([3, 4])
    monkeypatch.setattr("lightning_modules.models.seeded.build", lambda *arguments: nn.Linear(64, next(sizes)))
    with pytest.raises(ModelError, match="different parameters"):
        train_cohort(make_entries([BASE, BASE.with_(seed=1)], [1]), DIGITS)


def test_a_network_whose_layers_share_a_parameter_trains(monkeypatch):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.last(torch.relu(self.second(torch.relu(self.first(x.flatten(1))))))

    monkeypatch.setattr("lightning_modules.models.seeded.build", lambda *arguments: Tied())
    result = train_cohort(make_entries([BASE, BASE.with_(seed=1)], [0, 3]), DIGITS)
    assert result.parameters == 64 * 64 + 2 * 64 + 650
    before, after = (row["train_loss"] for _, row in result.members[0].rows)
    assert after < before


def test_a_network_with_its_own_randomness_is_refused(monkeypatch):
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(functional.dropout(x.flatten(1)))

    monkeypatch.setattr("lightning_modules.models.seeded.build", lambda *arguments: Noisy(64, 10))
    with pytest.raises(RuntimeError, match="random"):
        train_cohort(make_entries([BASE], [1]), DIGITS)


MEASURES = ("critical_sample_ratio", "cumulative_loss", "example_correctness", "forgetting", "input_gradient")


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        ("mlp", "float64"),
        ("convnet", "float32"),
        ("resnet", "float64"),
        pytest.param("mlp", "float32", marks=pytest.mark.slow),
        pytest.param("convnet", "float64", marks=pytest.mark.slow),
        pytest.param("resnet", "float32", marks=pytest.mark.slow),
    ],
)
def test_measures_on_demand_change_no_number_of_the_training(model, precision, monkeypatch):
    monkeypatch.setattr(critical_samples, "EXAMPLES", 20)
    point = BASE.with_(
        model=model, width=3, depth=1, dropout=0.2, label_noise=0.3, precision=precision, dataset_size=60
    )
    plain, beside = make_entries([point.with_(seed=seed) for seed in range(2)], [1, 3])
    asked = replace(plain, measured={1: ("example_correctness",), 3: MEASURES})
    (plain, _), (measured, neighbour) = (train_cohort([first, beside], DIGITS).members for first in (plain, asked))
    scalars = {column for name in MEASURES for column in MEASURES_ON_DEMAND[name].columns}
    for (epoch, row), (_, before) in zip(measured.rows, plain.rows, strict=True):
        assert {name: value for name, value in row.items() if name not in scalars} == before
        expected = scalars if epoch == 3 else set(MEASURES_ON_DEMAND["example_correctness"].columns)
        assert set(row) - set(before) == expected
    assert {(epoch, each.measure) for epoch, each in measured.examples} == {
        (1, "correct"), (3, "correct"), (3, "cumulative_loss"), (3, "forgetting_events"), (3, "input_gradient_norm")
    }  # fmt: skip
    assert neighbour.examples == ()
    assert not any(scalars & set(row) for _, row in neighbour.rows)
