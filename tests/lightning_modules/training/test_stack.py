"""Members may leave and join a stack between epochs without any effect on the results of any member."""

from __future__ import annotations

import gc
import logging
import os
import weakref
from dataclasses import replace

import pytest
import torch
from memsweep.testing import make_entries

from lightning_modules.data import sources
from lightning_modules.data.dataset import Dataset
from lightning_modules.training.checkpoint import decode, encode
from lightning_modules.training.network import StackedNetwork
from lightning_modules.training.stack import Keeper, MemberResult, Stack, reproducible
from lightning_modules.training.train import train_cohort
from sweeps.spec.point import Point

KINDS = {
    "mlp, AdamW, dropout": {"width": 7, "depth": 2, "dropout": 0.3, "optimizer": "adamw", "weight_decay": 0.1},
    "mlp, momentum, cosine": {"width": 7, "depth": 1, "momentum": 0.9, "lr_schedule": "cosine"},
    "resnet, BatchNorm, augmented": {"model": "resnet", "width": 2, "depth": 1, "rotation": 10.0, "crop_flip": 1},
}
EPOCHS = 5
EVALUATED = (0, 1, 3, EPOCHS)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return sources.load("digits")


def points(kind: str, precision: str = "float64", count: int = 4) -> list[Point]:
    point = Point(data="digits", dataset_size=41, batch_size=16, validation_fraction=0.2, epochs=EPOCHS,
                  label_noise=0.3, learning_rate=0.05, precision=precision, **KINDS[kind])  # fmt: skip
    # Each seed has two members, which share random draws while they are at the same epoch.
    return [point.with_(seed=k // 2, learning_rate=0.05 / (1 + k)) for k in range(count)]


def alone(point: Point, data: Dataset) -> MemberResult:
    return train_cohort(make_entries([point], EVALUATED), data).members[0]


@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        *((kind, "float64") for kind in KINDS),
        *(pytest.param(kind, "float32", marks=pytest.mark.slow if "resnet" in kind else ()) for kind in KINDS),
    ],
)
def test_members_that_leave_and_join_have_the_numbers_that_they_have_alone(kind, precision, digits):
    """Four members share a stack of at most two. The first leaves after two epochs and returns three epochs later."""
    first, second, third, fourth = points(kind, precision)
    expected = {point: alone(point, digits) for point in (first, second, third, fourth)}
    stack = Stack(digits)
    stack.change(joining=make_entries([first, second], EVALUATED))
    stack.advance(2)
    (entry,) = stack.entries([0])
    kept = replace(entry, checkpoint=decode(encode(entry.checkpoint)))
    stack.change(leaving=[0], joining=make_entries([third], EVALUATED))
    assert [each.epoch for each in stack.results] == [2, 0]
    stack.advance(1)
    stack.advance(2)
    assert [each.epoch for each in stack.results] == [EPOCHS, 3]
    assert stack.results[0] == expected[second]
    stack.change(leaving=[0], joining=[*make_entries([fourth], EVALUATED), kept])
    stack.advance(2)
    assert [each.epoch for each in stack.results] == [EPOCHS, 2, 4]
    assert stack.results[0] == expected[third]
    stack.change(leaving=[0])
    stack.advance(1)
    assert stack.results[1] == expected[first]
    stack.change(leaving=[1])  # the last member continues alone as it would in a stack
    stack.advance(2)
    assert stack.results == (expected[fourth],)


def test_who_left_half_way_has_the_first_half_of_its_rows(digits):
    first, second, *_ = points("mlp, momentum, cosine")
    stack = Stack(digits)
    stack.change(joining=make_entries([first, second], EVALUATED))
    stack.advance(3)
    assert stack.results[0].rows == alone(first, digits).rows[:3]
    stack.change(leaving=[0, 1])
    assert len(stack) == 0


def test_the_next_stop_is_the_first_evaluation_or_horizon_of_anyone(digits):
    first, second, *_ = points("mlp, momentum, cosine")
    stack = Stack(digits)
    stack.change(joining=[*make_entries([first], [3]), *make_entries([second], [4])])
    assert stack.until_evaluated() == 3
    stack.advance(3)
    assert stack.until_evaluated() == 1
    stack.advance(1)
    assert stack.until_evaluated() == 1  # the horizon


def test_checkpoints_are_of_the_members_in_their_order_with_their_share_of_the_time(digits):
    first, second, third, _ = points("mlp, momentum, cosine")
    kept: list[list] = []
    stack = Stack(digits, keeper=Keeper(kept.append, seconds=0))
    stack.change(joining=make_entries([first, second], EVALUATED))
    stack.advance(1)
    stack.change(leaving=[0], joining=make_entries([third], EVALUATED))
    stack.advance(1)
    assert [[each.epoch for each in entries] for entries in kept] == [[1, 1], [2, 1]]
    ((_, before), (longest, joined)) = ([each.checkpoint.seconds for each in entries] for entries in kept)
    assert longest > before > 0
    assert longest > joined > 0


def test_measures_on_demand_are_refused_for_members_at_different_epochs(digits):
    first, second, *_ = points("mlp, momentum, cosine")
    stack = Stack(digits)
    stack.change(joining=make_entries([first], EVALUATED, {3: ("forgetting",)}))
    stack.advance(1)
    with pytest.raises(ValueError, match="same epoch"):
        stack.change(joining=make_entries([second], EVALUATED, {3: ("forgetting",)}))


def test_a_stack_that_ended_keeps_no_memory(digits, monkeypatch):
    """Python's collector, which is off here, would free circles of objects only much later."""
    kept = []
    build = StackedNetwork.__init__

    def watch(network, entries, data):
        build(network, entries, data)
        kept.extend(weakref.ref(tensor) for tensor in (network.matrix, data.train.rows))

    monkeypatch.setattr(StackedNetwork, "__init__", watch)
    points = [Point(data="digits", dataset_size=60, batch_size=20, epochs=2, dropout=0.1, seed=seed) for seed in (0, 1)]
    gc.disable()
    try:
        result = train_cohort(make_entries(points, [0, 2]), digits)
        assert [reference() for reference in kept] == [None, None]
    finally:
        gc.enable()
    assert len(result.members[0].rows) == 2


def test_state_on_which_numbers_depend_is_set_and_said_if_it_was_another(digits, monkeypatch, caplog) -> None:
    point = points("mlp, momentum, cosine", "float32", 1)[0]
    expected = alone(point, digits)
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    monkeypatch.setattr(logging.getLogger("memsweep"), "propagate", True)
    torch.set_default_dtype(torch.float64)
    try:
        assert alone(point, digits) == expected
        assert torch.get_default_dtype() == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
    assert os.environ["MKL_CBWR"] == "AUTO,STRICT"
    assert caplog.messages == [
        "MKL_CBWR=COMPATIBLE is replaced by AUTO,STRICT: numbers depend on it",
        "torch's default type torch.float64 is replaced by torch.float32: numbers depend on it",
    ]
    caplog.clear()
    reproducible()
    assert caplog.messages == []
