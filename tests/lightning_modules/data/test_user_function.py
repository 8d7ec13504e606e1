"""Tests of `package.module:function`: a user's own data set, and the errors for invalid ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from lightning_modules.data.dataset import Dataset
from lightning_modules.data.sources import content_digest, load
from lightning_modules.errors import DataError

ARRAYS = (np.zeros((3, 2)), np.array([0, 1, 0]), np.ones((2, 2)), np.array([1, 0]))
NAMES = ("train_inputs", "train_labels", "test_inputs", "test_labels")


@pytest.fixture
def returning(tmp_path, monkeypatch) -> Callable[[Any], str]:
    """Create a function that returns the given value, and return its import path."""
    module = ModuleType("a_users_data")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def named(value: Any) -> str:
        module.make = lambda: value  # type: ignore[attr-defined]
        return "a_users_data:make"

    return named


@pytest.mark.parametrize(
    "value",
    [
        ARRAYS,
        dict(zip(NAMES, ARRAYS, strict=True)),
        Dataset.of(*ARRAYS),
        tuple(torch.from_numpy(array) for array in ARRAYS),
        tuple(array.tolist() for array in ARRAYS),
    ],
    ids=["tuple", "dict", "Dataset", "tensors", "lists"],
)
def test_forms_give_the_same_data_and_the_same_digest(returning, value):
    path = returning(value)
    dataset = load(path)
    assert np.array_equal(dataset.train_inputs, ARRAYS[0])
    assert dataset.test_ids.tolist() == [3, 4]
    assert content_digest(path) == Dataset.of(*ARRAYS).digest()


def test_a_dataset_keeps_its_ids_and_classes(returning):
    result = Dataset.of(*ARRAYS, classes=7, train_ids=[5, 6, 7], test_ids=[0, 1])
    dataset = load(returning(result))
    assert dataset.classes == 7
    assert dataset.train_ids.tolist() == [5, 6, 7]


def test_the_ten_line_example_from_a_file(tmp_path, monkeypatch):
    (tmp_path / "two_moons_example.py").write_text(
        "from sklearn.datasets import make_moons\n"
        "\n"
        "def make():\n"
        "    x, y = make_moons(300, noise=0.2, random_state=0)\n"
        "    return x[:200], y[:200], x[200:], y[200:]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    dataset = load("two_moons_example:make")
    assert (dataset.shape, dataset.classes, len(dataset.test_labels)) == ((2,), 2, 100)
    monkeypatch.delitem(sys.modules, "two_moons_example")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            None,
            "returned a NoneType; valid is a Dataset, or a dict or tuple of train_inputs, train_labels, test_inputs",
        ),
        (ARRAYS[:3], "returned a tuple of 3; valid is"),
        ({"x": 1}, "returned a dict of x; it must have train_inputs, train_labels, test_inputs, test_labels"),
        ({}, "returned a dict of nothing"),
        ((ARRAYS[0], ARRAYS[1] / 2, *ARRAYS[2:]), r"a_users_data:make: train_labels has elements of type float64"),
        ((np.zeros((2, 2)), *ARRAYS[1:]), r"train_labels has shape \(3,\); one label per example is \(2,\)"),
    ],
)
def test_what_is_no_data_set_is_refused(returning, value, message):
    with pytest.raises(DataError, match=message) as caught:
        load(returning(value))
    assert caught.value.field == "data"
    assert str(caught.value).startswith("a_users_data:make")


def test_a_dataset_built_around_the_checks_is_checked(returning):
    inputs, labels = np.zeros((3, 2), dtype=np.float32), np.array([0, 1, 5])
    ids = np.arange(3)
    with pytest.raises(DataError, match=r"label 5 found; valid labels are 0\.\.1"):
        load(returning(Dataset(inputs, labels, inputs, labels, ids, ids + 3, classes=2)))


def test_what_cannot_be_imported_is_named(returning, tmp_path, monkeypatch):
    returning(ARRAYS)
    with pytest.raises(DataError, match=r"cannot import no_such_module\.data: ModuleNotFoundError: No module named"):
        load("no_such_module.data:make")
    with pytest.raises(DataError, match="a_users_data has no function mak; did you mean make"):
        load("a_users_data:mak")
    sys.modules["a_users_data"].constant = 3  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="constant is not a function but "):
        load("a_users_data:constant")
    (tmp_path / "broken_users_data.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match="cannot import broken_users_data: ZeroDivisionError: division by zero"):
        load("broken_users_data:make")


def test_a_function_that_fails_is_named(monkeypatch, returning):
    returning(ARRAYS)

    def fail() -> None:
        raise KeyError("column")

    monkeypatch.setattr(sys.modules["a_users_data"], "make", fail)
    with pytest.raises(DataError, match="a_users_data:make failed: KeyError: 'column'"):
        load("a_users_data:make")


def test_data_that_change_from_call_to_call_are_refused(monkeypatch) -> None:
    module, calls = ModuleType("restless_data"), iter(range(9))
    module.make = lambda: (ARRAYS[0] + next(calls), *ARRAYS[1:])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(DataError, match="returned different data when it was called again; seed its generators"):
        content_digest("restless_data:make")
