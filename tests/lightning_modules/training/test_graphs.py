"""Programs replay as CUDA graphs with the numbers that they have without, or run as they are. No GPU is needed."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from memsweep.testing import make_entries
from torch import Tensor

from lightning_modules.data import sources
from lightning_modules.training.checkpoint import decode, encode
from lightning_modules.training.entry import Entry
from lightning_modules.training.program import comparison, graphs, program
from lightning_modules.training.program.graphs import WARM_UPS
from lightning_modules.training.program.replayed import COMPARISONS, Replayed
from lightning_modules.training.stack import MemberResult, Stack
from lightning_modules.training.train import CohortResult, train_cohort
from sweeps.execution.inline import Inline
from sweeps.planning.plan import Plan
from sweeps.spec.point import Point
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.store import Store
from tests.lightning_modules.training.fake_cuda import FakeCuda, fake_cuda

DIGITS = sources.load("digits")
NOT_LAUNCHED = COMPARISONS + WARM_UPS
"""The number of calls of a new recording before its graph is launched."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    with fake_cuda(monkeypatch) as fake:
        yield fake


class Sums:
    """A function with a state, replayed, beside the same function called as it is."""

    def __init__(self, name: str = "sums") -> None:
        self.total, self.plain_total = torch.zeros(2, 3, 3), torch.zeros(2, 3, 3)
        self.replayed = Replayed(lambda x: add(self.total, x), {"total": self.total}, ["total"], None, name)

    def call(self, step: int, size: int = 4) -> None:
        """Call both, and compare their results and states."""
        x = torch.sin(torch.arange(2.0 * size * 3) * (step + 1)).view(2, size, 3)
        results = self.replayed(x)
        assert all(map(torch.equal, results, add(self.plain_total, x)))
        assert torch.equal(self.total, self.plain_total)

    def run(self, calls: int) -> None:
        for step in range(calls):
            self.call(step)


def add(total: Tensor, x: Tensor) -> list[Tensor]:
    products = torch.bmm(x.mT, x)
    total.add_(products)
    return [total.exp().mul_(0.5), torch.softmax(x, 2)]


def test_a_program_is_launched_as_a_graph_after_its_first_calls(gpu):
    sums = Sums()
    for step in range(NOT_LAUNCHED + 5):
        sums.call(step)
        assert len(gpu.living) == (step >= NOT_LAUNCHED)
        assert gpu.launches == max(0, step + 1 - NOT_LAUNCHED)


def test_operators_that_allocate_are_launched_too(gpu, monkeypatch):
    monkeypatch.setattr(program, "_FAST", {})
    monkeypatch.setattr(program, "_FAST_IN_PLACE", {})
    monkeypatch.setattr(program, "_out_variant", lambda call: None)
    monkeypatch.setattr(program, "_in_place", lambda operator: None)
    Sums().run(NOT_LAUNCHED + 3)
    assert gpu.launches == 3


@given(st.lists(st.integers(1, 3), min_size=1, max_size=30))
def test_every_call_has_the_numbers_of_the_function_whatever_the_order_of_shapes(sizes):
    with pytest.MonkeyPatch.context() as patch, fake_cuda(patch) as gpu:
        sums = Sums()
        for step, size in enumerate(sizes):
            sums.call(step, size)
        assert gpu.launches == sum(max(0, sizes.count(size) - NOT_LAUNCHED) for size in (1, 2, 3))


def test_elsewhere_a_program_is_called_as_it_is(gpu, monkeypatch, caplog):
    caplog.set_level("INFO", "memsweep.training")
    calls = program.Program.__call__

    def launched() -> Callable[..., Any]:
        compared = type("", (), {"device": torch.device("cpu")})()
        return graphs.launched(calls, compared, "a program")

    assert launched() is not calls
    with monkeypatch.context() as patch:
        patch.setattr(graphs, "_version", lambda: (2, 12))
        assert launched() is calls
    with monkeypatch.context() as patch:
        patch.setattr(graphs, "DEVICES", frozenset({"cuda"}))
        assert launched() is calls
    assert caplog.messages == ["a program runs without CUDA graphs: they need torch 2.13"]


def test_what_cannot_be_captured_runs_as_it_is_and_is_named_once(gpu, caplog):
    def refuse(operator: object) -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    caplog.set_level("INFO", "memsweep.training")
    gpu.fails = refuse
    for name in ("mlp", "mlp", "convnet"):
        Sums(name).run(NOT_LAUNCHED + 4)
    assert gpu.current is gpu.default
    assert (gpu.launches, gpu.living, len(gpu.graphs)) == (0, [], 3), "a capture is tried once, and then freed"
    reason = "runs without CUDA graphs: CUDA error: operation not permitted when stream is capturing"
    assert caplog.messages == [f"mlp {reason}", f"convnet {reason}"]


def test_after_a_capture_that_does_not_end_nothing_runs_on_its_stream(gpu):
    """It would be recorded there instead of computed."""
    gpu.never_ends = True
    sums = Sums()
    for step in range(3 * NOT_LAUNCHED):
        sums.call(step)
        sums.call(step, 2 if step > 2 else 3)
    assert gpu.launches == 0
    assert gpu.current is gpu.default


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), KeyboardInterrupt()], ids=lambda error: type(error).__name__
)
def test_a_lack_of_memory_and_an_interrupt_end_the_training(gpu, error):
    """The end of the capture raises another error, which must not hide them."""

    def fail(operator: object) -> None:
        raise error

    gpu.fails = fail
    sums = Sums()
    sums.run(NOT_LAUNCHED)
    with pytest.raises(type(error)) as raised:
        sums.call(NOT_LAUNCHED)
    assert raised.value is error
    assert gpu.current is gpu.default


GRAPHS = {
    "a kernel is missing": lambda calls: calls.pop(),
    "a kernel runs twice": lambda calls: calls.append(next(call for call in calls if "add_" in str(call[0]))),
    "nothing is in it": lambda calls: calls.clear(),
}


@pytest.mark.parametrize("wrong", GRAPHS)
def test_a_graph_with_other_numbers_is_not_used(wrong, gpu, caplog):
    caplog.set_level("INFO", "memsweep.training")
    gpu.change_graph = GRAPHS[wrong]
    Sums("a model").run(NOT_LAUNCHED + 4)
    Sums("a model").run(NOT_LAUNCHED + 4)
    assert (gpu.launches, gpu.living) == (2, [])
    assert caplog.messages == ["a model runs without CUDA graphs: its graph gives other numbers"]


def noisy_sums(gpu: FakeCuda, noise: float) -> tuple[Sums, float]:
    """Return sums on a device that adds in any order, and their largest relative error."""
    sums = Sums("a model")
    gpu.noise = noise
    for step in range(NOT_LAUNCHED + 4):
        x = torch.cos(torch.arange(24.0) * (step + 1)).view(2, 4, 3)
        sums.replayed(x)
        add(sums.plain_total, x)
    difference = (sums.total - sums.plain_total).abs().max() / sums.plain_total.abs().max()
    return sums, float(difference)


def test_on_a_device_that_adds_in_any_order_replays_are_compared_within_a_tolerance(gpu, caplog):
    caplog.set_level("INFO", "memsweep.training")
    sums, difference = noisy_sums(gpu, 1e-6)
    assert 0 < difference < 1e-4
    assert sums.replayed.replays
    assert gpu.launches > 0
    (line,) = caplog.messages
    assert line.startswith("a model is not deterministic on this device")
    assert line.endswith("within 0.0001")


def test_what_differs_by_more_than_the_tolerance_is_not_replayed(gpu):
    sums, _ = noisy_sums(gpu, 1e-2)
    assert not sums.replayed.replays
    assert gpu.launches == 0


@pytest.mark.parametrize("noisy", [False, True])
def test_a_graph_that_differs_is_within_the_tolerance_only_where_the_program_differs_too(noisy, gpu):
    """An error of the size of the noise is an error on a device without noise."""

    def scale(calls: list[Any]) -> None:
        (half,) = (
            index for index, call in enumerate(calls) if not isinstance(call[1][-1], Tensor) and call[1][-1] == 0.5
        )
        operator, args, kwargs, fresh = calls[half]
        calls[half] = (operator, (*args[:-1], 0.5 + 1e-6), kwargs, fresh)

    gpu.change_graph = scale
    sums, _ = noisy_sums(gpu, 1e-6 if noisy else 0.0)
    assert sums.replayed.replays
    assert len(gpu.living) == noisy


def test_a_small_difference_is_no_noise_where_the_program_has_none(gpu):
    total, calls = torch.zeros(3), 0

    def count(x: Tensor) -> list[Tensor]:
        nonlocal calls
        calls += 1
        return [total.add_(x * (1 + 1e-6 * calls))]

    counted = Replayed(count, {"total": total}, ["total"], None, "a network that counts")
    for _ in range(4):
        counted(torch.ones(3))
    assert not counted.replays
    assert calls == 4, "the function was called besides its updates"
    assert total[0] == pytest.approx(4 + 1e-6 * (1 + 2 + 3 + 4), abs=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([[1.0, 100.0], [1e-3, 1e-4]], [[1.5, 100.0], [1e-3, 1.1e-4]], 0.01),
        ([[1.0, torch.nan], [torch.inf, 1.0]], [[1.0, torch.nan], [torch.inf, 1.0]], 0.0),
        ([[1.0, torch.nan]], [[1.0, 2.0]], math.inf),
        ([[1.0, 2.0]], [[1.0, torch.inf]], math.inf),
        ([[0.0, 0.0]], [[0.0, 1e-9]], math.inf),
        ([1, 2], [1, 3], math.inf),
        (2.0, 2.5, 0.25),
        ([[]], [[]], 0.0),
    ],
)
def test_differences_are_relative_to_the_largest_element_of_a_member(a, b, expected):
    first, second = (comparison.Outcome((torch.tensor(values),), ()) for values in (a, b))
    assert comparison.difference(first, second) == pytest.approx(expected, rel=1e-5)


STACKS = {
    "mlp, SGD": {"width": 6, "depth": 2, "weight_decay": 0.01, "momentum": 0.9},
    "mlp, AdamW, dropout": {"width": 6, "depth": 1, "optimizer": "adamw", "dropout": 0.3},
    "convnet, augmented": {"model": "convnet", "width": 2, "rotation": 10.0, "crop_flip": 1, "augment_noise": 0.1},
    "resnet": {"model": "resnet", "width": 2, "depth": 1, "dropout": 0.1},
    "transformer, AdamW": {"model": "transformer", "width": 8, "depth": 1, "optimizer": "adamw"},
}
EPOCHS = 6
MEASURED = {EPOCHS: ("forgetting", "input_gradient")}


def members(stack: str, count: int) -> list[Entry]:
    point = Point(data="digits", dataset_size=45, batch_size=8, validation_fraction=0.2, epochs=EPOCHS,
                  label_noise=0.3, learning_rate=0.02, **STACKS[stack])  # fmt: skip
    return make_entries([point.with_(seed=seed) for seed in range(count)], range(EPOCHS + 1), MEASURED)


def shrinking(stack: str) -> Sequence[MemberResult]:
    """Train three members with measures on demand. One leaves, and the others go on from checkpoints."""
    training = Stack(DIGITS)
    training.change(joining=members(stack, 3))
    training.advance(2)
    kept = [replace(entry, checkpoint=decode(encode(entry.checkpoint))) for entry in training.entries([0, 2])]
    training.change(leaving=range(3))
    training.change(joining=kept)
    training.advance(EPOCHS - 2)
    results = training.results
    training.change(leaving=range(2))
    return results


@pytest.mark.parametrize("stack", [
    "mlp, SGD", *(pytest.param(name, marks=pytest.mark.slow) for name in STACKS if name != "mlp, SGD")
])  # fmt: skip
def test_stacks_that_shrink_resume_and_measure_have_the_same_bits(stack, monkeypatch, caplog):
    caplog.set_level("INFO", "memsweep.training")
    expected = shrinking(stack)
    gc.disable()
    try:
        with fake_cuda(monkeypatch) as gpu:
            found = shrinking(stack)
            assert gpu.living == [], "a stack that ended keeps its graphs"
    finally:
        gc.enable()
    assert gpu.launches > 10
    assert len(gpu.graphs) > 2, "graphs of the updates of both stacks, and of evaluations"
    assert not caplog.messages
    for one, other in zip(found, expected, strict=True):
        assert (one.rows, one.diverged) == (other.rows, other.diverged)
        assert [(epoch, each.measure) for epoch, each in one.examples] == [
            (epoch, each.measure) for epoch, each in other.examples
        ]
        for (_, a), (_, b) in zip(one.examples, other.examples, strict=True):
            np.testing.assert_array_equal(a.values, b.values)


SWEEP = """
name: large
fixed: {data: digits, dataset_size: 60, batch_size: 10, width: 6, depth: 1, epochs: 2}
grid: {seed: [0, 1, 2, 3]}
"""


def test_a_cohort_whose_capture_lacks_memory_is_halved(gpu, tmp_path):
    sizes: list[int] = []

    def train(entries: Sequence[Entry], *more: Any, **options: Any) -> CohortResult:
        sizes.append(len(entries))

        def fail(operator: object) -> None:
            if len(entries) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")

        gpu.fails = fail
        return train_cohort(entries, *more, **options)

    plan, store = Plan.of(parse_sweep(SWEEP, "large.yaml")), Store(tmp_path)
    Inline(train=train).execute(plan, store, lambda event: None)
    assert sizes == [4, 2, 2]
    assert gpu.launches > 0
    assert set(store.read(["outcome"]).table["outcome"].to_pylist()) == {"finished"}
