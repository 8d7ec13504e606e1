"""A training that resumes from a checkpoint has bit for bit the results of an uninterrupted training."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from memsweep.testing import make_entries

from lightning_modules.data import sources
from lightning_modules.data.sources import Dataset
from lightning_modules.measures import critical_samples
from lightning_modules.measures.catalogue import MEASURES_ON_DEMAND
from lightning_modules.training.checkpoint import VERSION, Checkpoint, decode, encode
from lightning_modules.training.entry import Entry
from lightning_modules.training.stack import Keeper, MemberResult
from lightning_modules.training.train import CohortResult, train_cohort
from sweeps.spec.point import Point

STACKS = {
    "mlp, AdamW, dropout": {"width": 7, "depth": 2, "dropout": 0.3, "optimizer": "adamw", "weight_decay": 0.1},
    "mlp, momentum, cosine": {"width": 7, "depth": 1, "momentum": 0.9, "lr_schedule": "cosine"},
    "resnet, BatchNorm, augmented": {"model": "resnet", "width": 2, "depth": 1, "rotation": 10.0, "crop_flip": 1},
}
EPOCHS, STOP = 5, 2


@pytest.fixture(scope="module", autouse=True)
def short_searches() -> Iterator[None]:
    """Shorten the searches for critical samples, which otherwise take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(critical_samples, "EXAMPLES", 12)
        patch.setattr(critical_samples, "STEPS", 6)
        yield


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return sources.load("digits")


def members(stack: str, precision: str = "float64", count: int = 3) -> list[Point]:
    point = Point(data="digits", dataset_size=41, batch_size=16, validation_fraction=0.2, epochs=EPOCHS,
                  label_noise=0.3, learning_rate=0.05, precision=precision, **STACKS[stack])  # fmt: skip
    return [point.with_(seed=seed, learning_rate=0.05 / (1 + seed)) for seed in range(count)]


def names(stack: str) -> tuple[str, ...]:
    return tuple(name for name in MEASURES_ON_DEMAND if name != "loss_sensitivity" or stack == "mlp, momentum, cosine")


def entries(points, stack) -> list[Entry]:
    return make_entries(points, [0, 1, 3, EPOCHS], {3: names(stack), EPOCHS: names(stack)})


def trained(points, dataset, stack, **more) -> CohortResult:
    return train_cohort(entries(points, stack), dataset, **more)


class Interrupted(Exception):
    pass


def interrupted(points, dataset, stack, after: int = STOP) -> list[Entry]:
    """Interrupt a training after some epochs, and return its entries with the last checkpoint."""
    kept: list[list[Entry]] = []

    def lose(epoch: int) -> None:
        if epoch > after:
            raise Interrupted

    with pytest.raises(Interrupted):
        trained(points, dataset, stack, on_epoch=lose, keeper=Keeper(kept.append, seconds=0))
    assert [each[0].epoch for each in kept] == list(range(1, after + 1))
    return stored_and_read(kept[-1])


def stored_and_read(entries: list[Entry]) -> list[Entry]:
    return [replace(each, checkpoint=decode(encode(each.checkpoint))) for each in entries]


def assert_same(found: MemberResult, expected: MemberResult) -> None:
    assert found.rows == expected.rows
    assert found.diverged == expected.diverged
    assert len(found.examples) == len(expected.examples)
    for (epoch, ours), (at, theirs) in zip(found.examples, expected.examples, strict=True):
        assert epoch == at
        for mine, its in zip(astuple(ours), astuple(theirs), strict=True):
            assert np.array_equal(mine, its, equal_nan=isinstance(mine, np.ndarray))


RESNET = "resnet, BatchNorm, augmented"


@pytest.mark.parametrize(
    ("stack", "precision"),
    [
        ("mlp, AdamW, dropout", "float64"),
        ("mlp, momentum, cosine", "float32"),
        pytest.param("mlp, AdamW, dropout", "float32", marks=pytest.mark.slow),
        pytest.param("mlp, momentum, cosine", "float64", marks=pytest.mark.slow),
        pytest.param(RESNET, "float32", marks=pytest.mark.slow),
        pytest.param(RESNET, "float64", marks=pytest.mark.slow),
    ],
)
def test_it_goes_on_to_the_same_bits_in_any_stack(stack, precision, digits):
    points = members(stack, precision)
    whole = trained(points, digits, stack).members
    kept = interrupted(points, digits, stack)
    epochs: list[int] = []
    again = train_cohort(kept[::-1], digits, on_epoch=epochs.append).members[::-1]
    (alone,) = train_cohort(kept[1:2], digits).members
    assert epochs == [3, 4, 5]
    for found, expected in zip((*again, alone), (*whole, whole[1]), strict=True):
        assert_same(found, expected)


def test_a_network_with_batch_norm_and_augmentation_goes_on_to_the_same_bits(digits):
    """This test omits the on-demand measures, which take most of the time. The slow tests include them."""
    points = members(RESNET, "float32", count=2)
    kept: list[list[Entry]] = []
    keeper = Keeper(kept.append, seconds=0)
    whole = train_cohort(make_entries(points, [0, 1, 3, EPOCHS]), digits, keeper=keeper).members
    again = stored_and_read(kept[STOP - 1])
    assert [entry.epoch for entry in again] == [STOP, STOP]
    found = train_cohort(again[::-1], digits).members[::-1]
    (alone,) = train_cohort(again[1:], digits).members
    for result, expected in zip((*found, alone), (*whole, whole[1]), strict=True):
        assert_same(result, expected)


def test_one_that_trained_alone_goes_on_in_a_stack(digits):
    points = members("mlp, momentum, cosine", "float32")
    whole = trained(points, digits, "mlp, momentum, cosine").members
    kept = [interrupted([point], digits, "mlp, momentum, cosine")[0] for point in points]
    again = train_cohort(kept, digits).members
    for found, expected in zip(again, whole, strict=True):
        assert_same(found, expected)


def test_a_member_that_diverged_before_stays_as_it_is(digits):
    wild, tame = members("mlp, momentum, cosine", count=2)
    wild = wild.with_(learning_rate=1e9)
    whole = trained([wild, tame], digits, "mlp, momentum, cosine").members
    assert whole[0].diverged == 1
    kept = interrupted([wild, tame], digits, "mlp, momentum, cosine")
    assert kept[0].checkpoint.serves(EPOCHS, [0, 1, 3, EPOCHS], {})
    again = train_cohort(kept, digits).members
    for found, expected in zip(again, whole, strict=True):
        assert_same(found, expected)


@pytest.fixture(scope="module")
def checkpoint(digits) -> Checkpoint:
    stack = "mlp, momentum, cosine"
    return interrupted(members(stack, count=1), digits, stack, 3)[0].checkpoint


@pytest.mark.parametrize(
    ("epochs", "evaluated", "measured", "serves"),
    [
        (5, [0, 1, 3, 5], {3: ["forgetting"], 5: ["forgetting", "cumulative_loss"]}, True),
        (4, [1, 4], {}, True),
        (3, [3], {}, False),
        (5, [2, 5], {}, False),  # epoch 2 was not evaluated
        (5, [1, 5], {1: ["forgetting"]}, False),  # epoch 1 was not measured
    ],
)
def test_it_serves_only_what_was_seen_on_the_way(checkpoint, epochs, evaluated, measured, serves):
    assert checkpoint.serves(epochs, evaluated, measured) is serves


def test_it_does_not_serve_a_measure_that_was_not_added_up(checkpoint):
    less = replace(checkpoint, probes={})
    assert less.serves(5, [5], {})
    assert not less.serves(5, [5], {5: ["forgetting"]})


def test_what_is_none_or_of_another_version_is_refused(checkpoint, monkeypatch):
    content = encode(checkpoint)
    assert decode(content).rows == checkpoint.rows
    assert decode(content[:-1]) is None
    assert decode(b"") is None
    assert decode(b"no checkpoint") is None
    monkeypatch.setattr("lightning_modules.training.checkpoint.VERSION", VERSION + 1)
    assert decode(content) is None


def test_nothing_is_built_from_what_a_file_names(tmp_path):
    """A pickle that would run code when it is loaded is refused."""

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "evil"), "w"))

    held = io.BytesIO()
    torch.save({"version": Evil()}, held)
    assert decode(held.getvalue()) is None
    assert not (tmp_path / "evil").exists()
