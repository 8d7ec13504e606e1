"""Tests of costs against counts by hand and in their direction of change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.planning.cost import Cost, training_cost
from sweeps.planning.plan import resolved
from sweeps.spec.point import Point

BASE = {"data": "digits", "dataset_size": 1000, "model": "mlp", "width": 10, "depth": 1, "batch_size": 100, "epochs": 5}

GROWS_FLOPS = {"epochs": (5, 6), "dataset_size": (1000, 1001), "width": (10, 11), "depth": (1, 2)}
GROWS_BYTES = {"dataset_size": (1000, 1001), "width": (10, 11), "depth": (1, 2), "batch_size": (400, 401),
               "precision": ("float32", "float64"), "optimizer": ("sgd", "adamw"),
               "input_noise": (0.0, 0.1)}  # fmt: skip


def cost(evaluations: int = 3, **fields: object) -> Cost:
    return training_cost(resolved(Point(**{**BASE, **fields})), evaluations)


def test_a_linear_network_counted_by_hand():
    estimate = cost(4, model="linear", width=None, depth=None)
    forward = 2 * 64 * 10
    assert estimate.flops == forward * (3 * 1000 * 5 + (1000 + 360) * 4)
    weights = (64 * 10 + 10) * 4
    # Memory holds at least the weights, gradients, one state of SGD, two temporaries and the labels.
    assert estimate.bytes > weights * 4 + 1000 * 8


def test_the_held_out_examples_are_evaluated_and_not_trained_on():
    forward = 2 * 64 * 10
    linear = {"model": "linear", "width": None, "depth": None}
    assert cost(4, validation_fraction=0.2, **linear).flops == forward * (3 * 800 * 5 + (800 + 200 + 360) * 4)
    assert cost(4, validation_fraction=0.2, subset_fraction=0.5, **linear).flops == forward * (
        3 * 400 * 5 + (400 + 200 + 360) * 4
    )


@pytest.mark.parametrize(("name", "values"), GROWS_FLOPS.items())
def test_more_work_costs_more_operations(name, values):
    smaller, larger = (cost(**{name: value}).flops for value in values)
    assert smaller < larger


@pytest.mark.parametrize(("name", "values"), GROWS_BYTES.items())
def test_larger_tensors_cost_more_memory(name, values):
    smaller, larger = (cost(**{name: value}).bytes for value in values)
    assert smaller < larger


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 20), st.integers(0, 20))
def test_operations_are_linear_in_epochs_and_evaluations(epochs, more_epochs, evaluations, more):
    def flops(epochs: int, evaluations: int) -> float:
        return cost(evaluations, epochs=epochs).flops

    assert flops(0, 0) == 0
    together = flops(epochs + more_epochs, evaluations + more)
    assert together == pytest.approx(flops(epochs, evaluations) + flops(more_epochs, more))


def test_memory_does_not_depend_on_how_long_it_trains():
    assert cost(epochs=1).bytes == cost(99, epochs=1000).bytes


def test_a_batch_larger_than_the_data_is_the_data():
    assert cost(batch_size=1000).bytes == cost(batch_size=10**9).bytes
