"""Tests of the checks on the arrays of every source, and of the content hash."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lightning_modules.data.dataset import Dataset, Facts, content_hash
from lightning_modules.errors import DataError


def arrays(**changes: Any) -> dict[str, Any]:
    good = {
        "train_inputs": np.arange(12.0).reshape(4, 3),
        "train_labels": np.array([0, 1, 2, 0]),
        "test_inputs": [[1, 2, 3], [4, 5, 6]],
        "test_labels": [1, 2],
    }
    return good | changes


def test_arrays_have_the_documented_types():
    dataset = Dataset.of(**arrays(train_inputs=np.arange(12.0).reshape(3, 4).T))
    assert dataset.facts == Facts(4, 2, (3,), 3)
    for name, array in vars(dataset).items():
        if name != "classes":
            assert array.dtype == (np.float32 if "inputs" in name else np.int64)
            assert array.flags.c_contiguous
    assert dataset.train_ids.tolist() == [0, 1, 2, 3]
    assert dataset.test_ids.tolist() == [4, 5]


def test_classes_may_be_declared_where_not_all_occur():
    assert Dataset.of(**arrays(), classes=10).classes == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_inputs": "text"}, "it: train_inputs has elements of type <U4; they must be numbers"),
        ({"train_inputs": [[1.0], [1.0, 2.0]]}, "it: train_inputs is a list that is no array"),
        ({"train_inputs": np.zeros(4)}, r"it: train_inputs has shape \(4,\); valid is \[examples, \*shape\]"),
        ({"test_inputs": np.zeros((2, 4))}, r"train_inputs are of shape \(3,\) and test_inputs of shape \(4,\)"),
        ({"test_inputs": np.zeros((0, 3)), "test_labels": []}, r"test_inputs has shape \(0, 3\)"),
        ({"train_inputs": np.full((4, 3), np.inf)}, r"train_inputs\[0, 0\] is inf; every number must be finite"),
        ({"train_labels": [0.0, 1.0, 2.0, 0.0]}, "train_labels has elements of type float64; they must be integers"),
        ({"train_labels": [True, False, True, True]}, "train_labels has elements of type bool"),
        ({"train_labels": [0, 1, 2]}, r"train_labels has shape \(3,\); one label per example is \(4,\)"),
        ({"test_labels": [1, -2]}, "test_labels has the label -2; valid labels are 0 and above"),
        ({"train_labels": [1, 2, 3, 1]}, "labels go up to 3 but none is 0; number the classes 0, 1, 2"),
        ({"train_labels": [0, 1, 9, 0]}, "labels go up to 9 but none is 3"),
        ({"classes": 2}, r"label 2 found; valid labels are 0\.\.1"),
        ({"train_ids": [1, 1, 2, 3]}, "ids must be one for each example"),
        ({"test_ids": [3, 4]}, "no two the same"),
        ({"test_ids": [5]}, "ids must be one for each example"),
    ],
)
def test_unusable_arrays_are_refused_by_name(changes, message):
    with pytest.raises(DataError, match=message) as caught:
        Dataset.of(**arrays(**changes), name="it")
    assert caught.value.field == "data"


@given(st.data())
def test_the_hash_tells_values_types_and_shapes_apart_but_not_memory_layouts(data):
    array = data.draw(npst.arrays(st.sampled_from([np.int64, np.float32]), npst.array_shapes(min_dims=2, max_dims=3)))
    assert (
        content_hash(array)
        == content_hash(np.asfortranarray(array))
        == content_hash(array.astype(">" + array.dtype.str[1:]))
    )
    others = [array.reshape(-1), array.astype(np.float64), array.view(np.uint8)]
    changed = array.copy()
    changed.flat[data.draw(st.integers(0, array.size - 1))] += 1
    if not np.array_equal(changed, array, equal_nan=True):
        others.append(changed)
    assert content_hash(array) not in {content_hash(other) for other in others}


def test_the_hash_tells_where_one_array_ends():
    assert content_hash(np.array([1, 2]), np.array([3])) != content_hash(np.array([1]), np.array([2, 3]))


@pytest.mark.parametrize(
    "changes",
    [
        {"train_inputs": np.arange(12.0).reshape(4, 3) + 1},
        {"train_labels": [0, 1, 2, 1]},
        {"test_inputs": [[1, 2, 3], [4, 5, 7]]},
        {"test_labels": [2, 1]},
        {"classes": 4},
    ],
)
def test_the_digest_depends_on_every_part(changes):
    assert Dataset.of(**arrays()).digest() == Dataset.of(**arrays()).digest()
    assert Dataset.of(**arrays(**changes)).digest() != Dataset.of(**arrays()).digest()
