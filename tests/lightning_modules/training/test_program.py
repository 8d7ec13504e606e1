"""Tests that a recorded function and its replays give the same bits, and of what cannot be replayed."""

from __future__ import annotations

import logging
from collections import OrderedDict
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from memsweep.testing import make_entries
from torch.nn import functional

from lightning_modules.data import sources
from lightning_modules.data.datamodule import CohortData
from lightning_modules.models import FAMILIES, Family
from lightning_modules.models.layers import Attention, Flatten, Linear, Reshape, chain
from lightning_modules.training.cohort import CohortModule
from lightning_modules.training.program import replayed as replaying
from lightning_modules.training.program.comparison import Outcome, equal
from lightning_modules.training.program.lowering import lowered
from lightning_modules.training.program.program import Program
from lightning_modules.training.program.recording import NotRecordable, record
from lightning_modules.training.program.replayed import Replayed
from sweeps.spec.point import Point

DIGITS = sources.load("digits")

# Every step takes the values so far, two operands that index them, and the changed state.
STEPS = {
    "add": lambda a, b, state: a + b,
    "product": lambda a, b, state: a @ b.mT,
    "relu": lambda a, b, state: torch.relu(a),
    "softmax": lambda a, b, state: torch.softmax(a, 2),
    "sum and spread": lambda a, b, state: a - b.sum(1, keepdim=True),
    "turn": lambda a, b, state: a.mT + b,
    "change the state": lambda a, b, state: state.add_(a).mul_(0.5) + b,
    "overwrite": lambda a, b, state: torch.mul(a, 2.0).add_(b),
    "part": lambda a, b, state: torch.cat([a[:, :2], b[:, 2:]], 1),
    "constant": lambda a, b, state: a * torch.ones_like(b).cumsum(1),
    "zeros, then filled": lambda a, b, state: torch.zeros_like(a).index_add_(1, torch.tensor([0, 2, 1, 3]), b),
}


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=12
    ),
    st.integers(0, 1000),
)
def test_a_replay_has_the_bits_of_the_function(steps, seed):
    """Any memory that two live values shared, and any call in a wrong place, would change a result of some function."""
    state = torch.zeros(3, 4, 4)
    x = torch.empty(3, 4, 4)

    def function() -> list[torch.Tensor]:
        values = [x, x * 0.5]
        for name, a, b in steps:
            values.append(STEPS[name](values[a % len(values)], values[b % len(values)], state))
        return values[-3:]

    external = {"x": x, "state": state}
    generator = torch.Generator().manual_seed(seed)
    x.normal_(generator=generator)
    recording, _ = record(function, external, [state])
    program = Program(lowered(recording), external)
    for _ in range(3):
        x.normal_(generator=generator)
        before = state.clone()
        expected = [value.clone() for value in function()]
        after = state.clone()
        state.copy_(before)
        results = program()
        assert all(map(torch.equal, results, expected))
        assert torch.equal(state, after)


def test_a_value_that_is_not_a_number_stays_one():
    """A relu that hides NaN would hide that a member diverged."""
    x = torch.tensor([[-1.0, 2.0]])
    program = Program(lowered(record(lambda: [torch.relu(x * 1.0)], {"x": x})[0]), {"x": x})
    x[0, 0] = torch.nan
    assert program()[0].isnan().tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: [x * x.sum().item()], "the value of a tensor is read"),
        (lambda x: [x + torch.rand(2)], "draws random numbers"),
        (lambda x: [x[x > 0]], "depends on values"),
    ],
)
def test_what_cannot_be_replayed_is_refused(function, reason):
    x = torch.ones(2)
    with pytest.raises(NotRecordable, match=reason):
        record(lambda: function(x), {"x": x})


@pytest.mark.parametrize(
    "function",
    [
        lambda x: [x[:, [0, 2, 1]]],
        lambda x: [x[torch.tensor([1, 1]), torch.tensor([0, 2])]],
        lambda x: [functional.scaled_dot_product_attention(*x.expand(3, 2, 1, 4, 3))],
    ],
    ids=["positions on one axis", "positions on two axes", "attention without dropout"],
)
def test_what_depends_on_no_value_and_no_chance_is_recorded(function):
    x = torch.arange(12.0).reshape(4, 3)
    program = Program(lowered(record(lambda: function(x), {"x": x})[0]), {"x": x})
    x.neg_()
    assert torch.equal(program()[0], function(x)[0])


def test_outcomes_are_compared_bit_by_bit():
    nan = float("nan")
    one = Outcome([torch.tensor([0.0, nan]), None], [torch.tensor([1])])
    assert equal(one, Outcome([torch.tensor([0.0, nan]), None], [torch.tensor([1])]))
    assert not equal(one, Outcome([torch.tensor([-0.0, nan]), None], [torch.tensor([1])]))
    assert not equal(one, Outcome([torch.tensor([0.0, nan]), None], [torch.tensor([2])]))
    assert not equal(one, Outcome([torch.tensor([0.0, 1.0]), None], [torch.tensor([1])]))


def replayed(function, state, changed, name="a test"):
    return Replayed(function, state, changed, None, name)


def test_a_function_that_counts_in_python_is_called_as_it_is(caplog, monkeypatch):
    monkeypatch.setattr(replaying, "_told", set())
    calls = 0
    total = torch.zeros(2)

    def count(x):
        nonlocal calls
        calls += 1
        total.add_(x * calls)
        return [total * 1]

    caplog.set_level(logging.INFO, "memsweep")
    counted = replayed(count, {"total": total}, ["total"], "a network that counts")
    sums = [counted(torch.ones(2))[0].tolist() for _ in range(4)]
    assert not counted.replays
    assert [message for message in caplog.messages if "a network that counts is not replayed" in message]
    assert len(sums) == 4
    assert np.diff([first for first, _ in sums]).min() > 0


def test_a_function_that_changes_what_it_should_only_read_is_called_as_it_is():
    weights, total = torch.ones(2), torch.zeros(2)

    def change(x):
        weights.add_(1)
        return [total.add_(weights * x)]

    changed = replayed(change, {"weights": weights, "total": total}, ["total"])
    assert changed(torch.ones(2))[0].tolist() == [2, 2]
    assert not changed.replays


def test_results_and_state_are_those_of_the_function_in_every_call():
    total, plain = torch.zeros(3), torch.zeros(3)

    def add(x, total=total):
        return [total.add_(x).exp()]

    adding = replayed(add, {"total": total}, ["total"])
    for step in range(5):
        x = torch.full((3,), step / 10)
        assert torch.equal(adding(x)[0], add(x, plain)[0])
        assert torch.equal(total, plain)
    assert adding.replays


STACKS = {
    "mlp, SGD": {"weight_decay": 0.01, "dropout": 0.2},
    "mlp, AdamW": {"optimizer": "adamw"},
    "linear": {"model": "linear", "width": None, "depth": None},
    "residual_mlp": {"model": "residual_mlp"},
    "convnet": {"model": "convnet"},
    "resnet": {"model": "resnet", "depth": 1},
    "transformer": {"model": "transformer", "width": 8, "depth": 1, "dropout": 0.1},
    "bfloat16": {"precision": "bfloat16"},
}


def train(**fields: object) -> tuple[CohortModule, CohortData]:
    """Train two members for two epochs, without Lightning."""
    first = Point(data="digits", dataset_size=64, batch_size=20, epochs=2, **{"width": 6, "depth": 2, **fields})
    members = [first, first.with_(seed=1, learning_rate=0.02)]
    data = CohortData(members, DIGITS, torch.device("cpu"), torch.float32)
    module = CohortModule(make_entries(members, [2]), data)
    module.train()
    for _ in range(2):
        module.on_train_epoch_start()
        module.training_step(data.order(module.epochs), 0)
        module.epochs = [epoch + 1 for epoch in module.epochs]
    return module, data


@pytest.mark.parametrize("stack", STACKS)
def test_every_family_is_replayed_and_its_recording_is_kept(stack, monkeypatch):
    module, _ = train(**STACKS[stack])
    assert module._update.replays

    def refuse(*arguments):
        raise AssertionError("recorded again")

    monkeypatch.setattr(replaying, "record", refuse)
    again, _ = train(**STACKS[stack])
    assert torch.equal(again.network.matrix, module.network.matrix)


def test_families_whose_modules_print_alike_share_no_recording(monkeypatch):
    """Two and four heads have parameters of equal shapes, and a module does not print its number of heads."""

    def attentive(heads, shape, classes, width, depth):
        return chain(Flatten(), Linear(4 * width), Reshape((4, width)), Attention(heads), Flatten(), Linear(classes))

    for heads in (2, 4):
        family = Family(f"heads_{heads}", "", partial(attentive, heads), default_width=8, default_depth=1)
        monkeypatch.setitem(FAMILIES, family.name, family)
    train(model="heads_2", width=8)
    after, _ = train(model="heads_4", width=8)
    monkeypatch.setattr(replaying, "_recordings", OrderedDict())
    alone, _ = train(model="heads_4", width=8)
    assert torch.equal(after.network.matrix, alone.network.matrix)


@pytest.mark.parametrize("stack", STACKS)
def test_an_update_without_replays_has_the_same_bits(stack, monkeypatch):
    module, _ = train(**STACKS[stack])
    monkeypatch.setattr(Replayed, "__call__", lambda replayed, *inputs: replayed._function(*inputs))
    plain, _ = train(**STACKS[stack])
    assert torch.equal(plain.network.matrix, module.network.matrix)
    assert all(map(torch.equal, plain.network.constants.values(), module.network.constants.values()))
