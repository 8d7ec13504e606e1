"""Tests of LASS on a linear softmax model, where the result is known, and against a search of one example at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from lightning_modules.data.sources import Dataset
from lightning_modules.measures import critical_samples
from lightning_modules.measures.critical_samples import CriticalSamples
from lightning_modules.models.seeded import build_member
from lightning_modules.streams import torch_generator
from sweeps.spec.point import Point

POINT = Point(model="linear", precision="float64", batch_size=8, epochs=1)
RADII = (3.0, 10.0, 16.0)
"""Radii whose corners 100 steps of 0.25 can reach in spite of the noise."""


def normal(count: int, dimensions: int = 5, classes: int = 4) -> Dataset:
    generator = np.random.default_rng(1)
    inputs = generator.normal(size=(16 + count, dimensions))
    labels = np.arange(16 + count) % classes
    return Dataset.of(inputs[:16], labels[:16], inputs[16:], labels[16:])


def search(probe: CriticalSamples, radii, seeds=(0,)) -> np.ndarray:
    generators = {seed: torch_generator(seed, "lass/1") for seed in seeds}
    return probe.search(probe._data.test, generators, radii).numpy()


@pytest.fixture
def linear(stack):
    """Return a function from a number of classes to a probe of two members, their networks, and the exact distances to
    the nearest other prediction, [K, m]: the smallest margin / ‖w_a − w_b‖₁ over other classes b."""

    def make(classes: int = 4):
        data = normal(200, classes=classes)
        members = [POINT, POINT.with_(seed=1)]
        probe = CriticalSamples(*stack(members, data))
        networks = [build_member(member, data.shape, classes).double().eval() for member in members]
        distances = []
        for network in networks:
            weight, bias = (value.detach().numpy() for value in network.parameters())
            logits = data.test_inputs.astype(float) @ weight.T + bias
            own = logits.argmax(1)
            margins = logits[np.arange(200), own][:, None] - logits
            reach = np.abs(weight[own][:, None] - weight[None]).sum(2)
            distances.append(np.where(reach > 0, margins / np.where(reach > 0, reach, 1), np.inf).min(1))
        return probe, networks, np.stack(distances)

    return make


def test_with_two_classes_it_finds_exactly_what_there_is(linear):
    """With two classes, the sign of the gradient always points along the shortest way to the boundary."""
    probe, _, distances = linear(2)
    for radius, critical in zip(RADII, search(probe, RADII, (0, 1)), strict=True):
        box = radius * probe.unit
        sure = np.abs(distances / box - 1) > 1e-9
        assert (critical == (distances < box))[sure].all()
        assert 0 < critical.mean() < 1


def test_with_four_classes_it_finds_nothing_that_is_not_there_and_most_of_what_is(linear):
    """With four classes, the gradient mixes the directions to other classes, so some critical samples are missed."""
    probe, _, distances = linear()
    found = search(probe, RADII, (0, 1))
    assert found.shape == (3, 2, 200)
    for radius, critical in zip(RADII, found, strict=True):
        box = radius * probe.unit
        assert not critical[distances > box * (1 + 1e-9)].any()
        inside = critical[distances < 0.8 * box]
        assert inside.size > 20
        assert inside.mean() > 0.9
        assert 0 < critical.mean() < 1


@pytest.mark.parametrize("classes", [2, 4])
def test_a_dense_random_search_agrees_with_what_is_known_and_finds_no_more_than_lass(classes, linear):
    probe, networks, distances = linear(classes)
    box = 10.0 * probe.unit
    found = search(probe, (10.0,), (0, 1))[0]
    inputs = torch.from_numpy(probe._data.dataset.test_inputs).double()
    generator = torch.Generator().manual_seed(0)
    for k, network in enumerate(networks):
        random = torch.zeros(200, dtype=torch.bool)
        with torch.no_grad():
            own = network(inputs).argmax(1)
            for _ in range(400):
                offset = (2 * torch.rand(inputs.shape, generator=generator, dtype=torch.float64) - 1) * box
                random |= network(inputs + offset).argmax(1) != own
        by_chance = random.numpy()
        assert 10 < by_chance.sum() < 200
        assert not (by_chance & (distances[k] > box)).any()
        assert (by_chance & ~found[k]).mean() <= (0 if classes == 2 else 0.03)
        assert found[k].sum() >= by_chance.sum() - (0 if classes == 2 else 8)


def reference(network, x: torch.Tensor, radius: float, unit: float) -> bool:
    """Apply the published formula to one example, without noise."""
    own = network(x[None]).argmax(1)
    at = x.clone()
    for _ in range(100):
        at = at.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(functional.cross_entropy(network(at[None]), own), at)
        at = (at + 0.25 * unit * gradient.sign()).clamp(x - radius * unit, x + radius * unit).detach()
        if network(at[None]).argmax(1) != own:
            return True
    return False


def test_without_noise_it_is_the_formula_applied_to_one_example_after_the_other(stack, monkeypatch):
    """This holds for any number of examples that are searched at once, and for one or several boxes."""
    monkeypatch.setattr(critical_samples, "BETA", 0.0)
    data = normal(7)
    point = POINT.with_(model="mlp", width=9, depth=2)
    members, radii = [point.with_(seed=1), point], (3.0, 12.0)
    probe = CriticalSamples(*stack(members, data))
    inputs = torch.from_numpy(data.test_inputs).double()
    networks = [build_member(member, data.shape, 4).double().eval() for member in members]
    expected = [
        [[reference(network, x, radius, probe.unit) for x in inputs] for network in networks] for radius in radii
    ]
    for slots in (3, 128):
        monkeypatch.setattr(critical_samples, "SLOTS", slots)
        assert search(probe, radii, (0, 1)).tolist() == expected
    assert 0 < np.mean(expected[1][1]) < 1


@pytest.mark.parametrize("many", [False, True])
def test_every_example_has_the_same_number_of_steps_within_every_radius(many, linear, monkeypatch):
    """Without noise and with two classes, steps of 0.25 lead straight to the boundary, so 7 steps reach 1.75."""
    monkeypatch.setattr(critical_samples, "BETA", 0.0)
    monkeypatch.setattr(critical_samples, "STEPS", 7)
    probe, _, distances = linear(2)
    # With this many slots, the first example that waits for a slot is one that the search must find.
    slots = 128 if many else next(i for i, distance in enumerate(distances[0]) if i > 2 and distance < probe.unit)
    monkeypatch.setattr(critical_samples, "SLOTS", slots)
    narrow, wide = search(probe, (1.0, 50.0), (0, 1))
    assert (narrow == (distances < 1.0 * probe.unit)).all()
    assert (wide == (distances < 1.75 * probe.unit)).all()
    # One step less, one step more, or a start from the narrow box's corner would give another answer.
    for other in (1.5, 2.0, 2.75):
        assert (wide != (distances < other * probe.unit)).any()


def test_noise_is_that_of_the_members_seed(linear, stack, monkeypatch):
    """With a step size of 0, only the noise moves the search, so the result depends on the noise."""
    monkeypatch.setattr(critical_samples, "ALPHA", 0.0)
    probe, _, distances = linear()
    found = search(probe, (3.0,), (0, 1))[0]
    assert 0 < found.sum() <= (distances <= 3.0 * probe.unit).sum()
    alone = CriticalSamples(*stack([POINT.with_(seed=1)], probe._data.dataset))
    assert (search(alone, (3.0,), (1,))[0, 0] == found[1]).all()
    other = alone.search(alone._data.test, {1: torch_generator(0, "lass/1")}, (3.0,))[0, 0]
    assert (other.numpy() != found[1]).any()


def test_the_scale_of_standardised_images_is_that_of_their_pixels(stack):
    levels = np.random.default_rng(0).integers(0, 256, (30, 1, 4, 4))
    levels[0, 0, 0, :2] = 0, 255
    mean, deviation = 33.3, 78.6
    standardised = (levels - mean) / deviation
    data = Dataset.of(standardised, np.arange(30) % 3, standardised[:3], [0, 1, 2])
    assert CriticalSamples(*stack([POINT], data)).unit == pytest.approx(1 / deviation, rel=1e-6)


def test_a_reading_is_of_the_held_out_part_and_at_most_so_many(stack, monkeypatch):
    monkeypatch.setattr(critical_samples, "EXAMPLES", 5)
    point = POINT.with_(model="mlp", width=9, data="digits", dataset_size=100, validation_fraction=0.2)
    probe = CriticalSamples(*stack([point, point.with_(label_noise=0.3)]))
    seen = []
    monkeypatch.setattr(probe, "search", lambda examples, *rest: seen.append(examples) or torch.ones(2, 2, 5).bool())
    first, second = probe.read(1)
    assert seen[0] is probe._data.validation
    assert first.scalars == second.scalars == {"critical_sample_ratio": 1.0, "critical_sample_ratio_wide": 1.0}
    assert search(CriticalSamples(*stack([POINT], normal(9))), (1.0,)).shape == (1, 1, 5)


def test_a_reading_is_the_fraction_of_a_search_with_the_seed_and_epoch(linear):
    probe, _, _ = linear()
    generators = {seed: torch_generator(seed, "lass/7") for seed in (0, 1)}
    narrow, wide = probe.search(probe._data.test, generators, (0.3, 3.0)).double().mean(2).tolist()
    readings = probe.read(7)
    assert [r.scalars["critical_sample_ratio"] for r in readings] == narrow
    assert [r.scalars["critical_sample_ratio_wide"] for r in readings] == wide
    assert all(0 < ratio < 1 for ratio in (*narrow, *wide))
