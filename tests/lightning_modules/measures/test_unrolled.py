"""Tests of the loss sensitivity against autograd through a plain training, and against trainings on nudged data."""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from memsweep.testing import make_entries
from torch.func import functional_call
from torch.nn import functional

from lightning_modules.data.datamodule import CohortData
from lightning_modules.data.sources import Dataset
from lightning_modules.errors import ModelError
from lightning_modules.measures import unrolled
from lightning_modules.measures.gini import gini
from lightning_modules.measures.unrolled import LossSensitivity
from lightning_modules.models.seeded import build_member
from lightning_modules.schedules import learning_rates
from lightning_modules.training.train import train_cohort
from sweeps.spec.point import Point

POINT = Point(batch_size=4, epochs=3, precision="float64", width=5, depth=2, learning_rate=0.2, momentum=0.8)
SETTINGS = {
    "momentum": {},
    "plain": {"momentum": 0.0, "learning_rate": 0.5},
    "decay": {"weight_decay": 0.1},
    "step": {"lr_schedule": "step", "lr_decay_epochs": 1, "lr_decay_factor": 0.5},
    "cosine": {"lr_schedule": "cosine"},
    "noise": {"label_noise": 0.5, "input_noise": 0.4},
    "linear": {"model": "linear", "width": None, "depth": None},
}


def small(count: int = 10, dimensions: int = 3) -> Dataset:
    generator = np.random.default_rng(5)
    inputs = np.round(generator.normal(size=(count, dimensions)) * 64) / 64  # can be nudged without rounding in float32
    return Dataset.of(inputs, np.arange(count) % 3, inputs[:3], [0, 1, 2])


def plain_sensitivity(point: Point, data: CohortData, member: int) -> np.ndarray:
    """Return (1/T) Σ_t of the L1 norms, [n], from one network without vmap and the whole training as one graph."""
    network = build_member(point, data.dataset.shape, data.dataset.classes).double().eval()
    x = data.train.inputs[data.train.rows[member]].clone().requires_grad_()
    y = data.train.given[member]
    theta = {name: value.detach().clone().requires_grad_() for name, value in network.named_parameters()}
    velocity = {name: torch.zeros_like(value) for name, value in theta.items()}
    rates = iter(learning_rates(point, np.arange(data.updates_per_epoch * point.epochs), data.updates_per_epoch))
    norms = []
    for epoch in range(point.epochs):
        for batch in data.order([epoch] * len(data.members))[member].split(point.batch_size):
            loss = functional.cross_entropy(functional_call(network, theta, (x[batch],)), y[batch])
            gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
            for (name, value), gradient in zip(theta.items(), gradients, strict=True):
                velocity[name] = point.momentum * velocity[name] + gradient + point.weight_decay * value
            rate = float(next(rates))
            theta = {name: value - rate * velocity[name] for name, value in theta.items()}
            after = functional.cross_entropy(functional_call(network, theta, (x,)), y)
            (gradient,) = torch.autograd.grad(after, x, retain_graph=True)
            norms.append(gradient.abs().flatten(1).sum(1))
    return torch.stack(norms).mean(0).numpy()


@pytest.mark.parametrize(
    ("name", "lanes"),
    [
        *((name, 2) for name in SETTINGS),
        ("momentum", 32),
        *(pytest.param(name, 32, marks=pytest.mark.slow) for name in SETTINGS if name != "momentum"),
    ],
)
def test_it_is_what_autograd_finds_through_the_whole_training(name, lanes, stack, monkeypatch):
    monkeypatch.setattr(unrolled, "LANES", lanes)
    point = POINT.with_(**SETTINGS[name])
    members = [point.with_(seed=1, learning_rate=0.1, label_noise=0.2), point]
    module, data = stack(members, small())
    readings = LossSensitivity(module, data).read(3)
    for k, (member, reading) in enumerate(zip(members, readings, strict=True)):
        expected = plain_sensitivity(member, data, k)
        (each,) = reading.examples
        np.testing.assert_allclose(each.values, expected, rtol=1e-9)
        assert each.example_ids.tolist() == data.train.ids[k].tolist()
        assert reading.scalars["loss_sensitivity"] == pytest.approx(expected.mean())
        assert reading.scalars["loss_sensitivity_gini"] == pytest.approx(gini(expected))
        assert expected.std() > 0


def test_it_is_how_losses_change_when_an_input_is_nudged():
    """Central differences of the losses of real trainings, per input value and update, agree with the sensitivity."""
    data, step = small(5, 2), 2.0**-12
    point = POINT.with_(batch_size=5, dataset_size=5)
    entries = make_entries([point], [3], {3: ("loss_sensitivity",)})
    sensitivity = train_cohort(entries, data).members[0].examples[0][1]

    def losses(row: int, column: int, nudge: float) -> np.ndarray:
        inputs = data.train_inputs.copy()
        inputs[row, column] += nudge
        moved = Dataset.of(inputs, data.train_labels, data.test_inputs, data.test_labels)
        rows = train_cohort(make_entries([point], [1, 2, 3]), moved).members[0].rows
        return np.array([measures["train_loss"] for _, measures in rows])

    for row, value in zip(sensitivity.example_ids, sensitivity.values, strict=True):
        slopes = [(losses(row, j, step) - losses(row, j, -step)) / (2 * step) for j in range(2)]
        assert value == pytest.approx(np.abs(slopes).sum(0).mean(), rel=1e-5)


def test_replayed_parameters_are_the_trained_ones_to_the_bit(digits, stack):
    point = Point(data="digits", dataset_size=50, batch_size=20, epochs=2, width=6, weight_decay=0.01,
                  lr_schedule="inverse_sqrt", lr_decay_updates=2, learning_rate=0.1)  # fmt: skip
    members = [point.with_(seed=1, momentum=0.5, label_noise=0.5), point]
    module, data = stack(members)
    probe = LossSensitivity(module, data)
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
                         enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    with pytest.warns():
        trainer.fit(module, datamodule=data)
    probe.read(2)
    initial, replayed = probe.parameters_after(0), probe.parameters_after(6)
    trained = module.network.parameters
    assert trained.keys() == replayed.keys()
    for name, value in trained.items():
        assert torch.equal(value, replayed[name])
        assert not torch.equal(value, initial[name])


def test_reading_on_the_way_changes_no_bit(stack):
    once, often = (LossSensitivity(*stack([POINT], small())) for _ in range(2))
    for epoch in (0, 1, 2):
        often.read(epoch)
    (late,), (early,) = once.read(3), often.read(3)
    assert late.scalars == early.scalars
    assert np.array_equal(late.examples[0].values, early.examples[0].values)


def test_before_training_it_is_undefined(stack):
    (reading,) = LossSensitivity(*stack([POINT], small())).read(0)
    assert reading.scalars == {"loss_sensitivity": None, "loss_sensitivity_gini": None}
    assert np.isnan(reading.examples[0].values).all()


def test_a_network_with_running_statistics_is_refused(stack):
    point = Point(data="digits", dataset_size=20, model="resnet", width=2, depth=1)
    with pytest.raises(ModelError, match=r"given resnet, which has buffers \(.*running_mean"):
        LossSensitivity(*stack([point]))


def test_a_lone_member_with_a_frozen_parameter_is_measured_as_in_a_stack(monkeypatch, stack):
    class Features(torch.nn.Sequential):
        def __init__(self):
            super().__init__(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
            self[0].requires_grad_(False)

    monkeypatch.setattr("lightning_modules.models.seeded.build", lambda *arguments: Features())
    (alone,) = LossSensitivity(*stack([POINT], small())).read(3)
    beside = LossSensitivity(*stack([POINT.with_(seed=1), POINT], small())).read(3)[1]
    assert np.array_equal(alone.examples[0].values, beside.examples[0].values)
    assert (alone.examples[0].values > 0).all()
