"""Dataset: the arrays of a classification problem, with checks that apply to every source.

The array types and the content hash are the same for every source, so that a user's own data set is treated exactly
like a built-in one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_modules.errors import DataError, one_line

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Shape = tuple[int, ...]

SHAPES = "(d,) for vectors, (channels, length) for signals or (channels, height, width) for images"


@dataclass(frozen=True)
class Facts:
    """The facts about a data set that planning needs: numbers of examples and classes, and the shape of one input."""

    train_size: int
    test_size: int
    shape: Shape
    classes: int


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification problem with a fixed split. All arrays are C-contiguous and must not be written to.

    Inputs are float32 [n, *shape]; a shape is (d,) for vectors, (channels, length) for signals, (channels, height,
    width) for images. Labels are int64 in 0..classes-1. Ids are int64, unique, and stable under re-loading.
    """

    train_inputs: Floats
    train_labels: Ints
    test_inputs: Floats
    test_labels: Ints
    train_ids: Ints
    test_ids: Ints
    classes: int

    @classmethod
    def of(
        cls,
        train_inputs: ArrayLike,
        train_labels: ArrayLike,
        test_inputs: ArrayLike,
        test_labels: ArrayLike,
        *,
        classes: int | None = None,
        train_ids: ArrayLike | None = None,
        test_ids: ArrayLike | None = None,
        name: str = "the data set",
    ) -> Dataset:
        """Check four array-likes and convert them to a Dataset.

        `classes` defaults to the largest label plus one; every smaller label must then occur. Ids default to the
        position, with the test examples counted after the training examples. Raises DataError("data") for unusable
        arrays; the message contains `name` and the array's name.
        """
        inputs = [_inputs(train_inputs, name, "train_inputs"), _inputs(test_inputs, name, "test_inputs")]
        if inputs[0].shape[1:] != inputs[1].shape[1:]:
            raise DataError(
                "data",
                f"{name}: train_inputs are of shape {inputs[0].shape[1:]} and test_inputs of shape "
                f"{inputs[1].shape[1:]} per example; they must be the same",
            )
        labels = [
            _labels(train_labels, len(inputs[0]), name, "train_labels"),
            _labels(test_labels, len(inputs[1]), name, "test_labels"),
        ]
        total = len(inputs[0]) + len(inputs[1])
        ids = [
            np.arange(len(inputs[0])) if train_ids is None else np.asarray(train_ids),
            np.arange(len(inputs[0]), total) if test_ids is None else np.asarray(test_ids),
        ]
        if [len(part) for part in ids] != [len(part) for part in labels] or len(np.unique(np.concatenate(ids))) < total:
            raise DataError("data", f"{name}: the ids must be one for each example, and no two the same")
        return cls(
            train_inputs=inputs[0],
            train_labels=labels[0],
            test_inputs=inputs[1],
            test_labels=labels[1],
            train_ids=np.ascontiguousarray(ids[0], dtype=np.int64),
            test_ids=np.ascontiguousarray(ids[1], dtype=np.int64),
            classes=count_classes(np.concatenate(labels), classes, name),
        )

    @property
    def shape(self) -> Shape:
        return tuple(self.train_inputs.shape[1:])

    @property
    def facts(self) -> Facts:
        return Facts(len(self.train_labels), len(self.test_labels), self.shape, self.classes)

    def digest(self) -> str:
        """Hash the inputs, labels and classes. Ids follow from the order, so they are left out."""
        return content_hash(
            self.train_inputs, self.train_labels, self.test_inputs, self.test_labels, np.int64(self.classes)
        )


def content_hash(*arrays: np.ndarray | np.generic) -> str:
    """Hash the types, shapes and values of the arrays to 20 hexadecimal digits."""
    state = hashlib.blake2b(digest_size=10)
    for array in arrays:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        state.update(f"{little.dtype.str}{array.shape}".encode())
        state.update(little.reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def count_classes(labels: Ints, classes: int | None, name: str) -> int:
    """Return the number of classes, checked against the labels.

    If `classes` is None, the number is the largest label plus one, and each class must occur. Otherwise, labels 1..10
    would silently add a class without examples.
    """
    largest = int(labels.max())
    if classes is not None:
        if largest >= classes:
            raise DataError("data", f"{name}: label {largest} found; valid labels are 0..{classes - 1}")
        return classes
    present = np.unique(labels)
    if len(present) <= largest:
        # The smallest missing label is where the sorted labels first differ from 0, 1, 2, ...
        missing = int(np.flatnonzero(np.append(present, -1) != np.arange(len(present) + 1))[0])
        raise DataError(
            "data",
            f"{name}: labels go up to {largest} but none is {missing}; number the classes 0, 1, 2, ... without gaps",
        )
    return largest + 1


def _inputs(values: ArrayLike, name: str, array: str) -> Floats:
    given = _array(values, name, array)
    if given.dtype.kind not in "fiub":
        raise DataError("data", f"{name}: {array} has elements of type {given.dtype}; they must be numbers")
    if given.ndim not in (2, 3, 4) or prod(given.shape) == 0:
        raise DataError(
            "data", f"{name}: {array} has shape {given.shape}; valid is [examples, *shape], none empty, with {SHAPES}"
        )
    with np.errstate(over="ignore"):  # what is infinite afterwards is refused
        result = np.ascontiguousarray(given, dtype=np.float32)
    if not np.isfinite(result).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(result))[0])
        raise DataError("data", f"{name}: {array}{list(where)} is {result[where]}; every number must be finite")
    return result


def _labels(values: ArrayLike, expected: int, name: str, array: str) -> Ints:
    given = _array(values, name, array)
    if given.dtype.kind not in "iu":
        raise DataError("data", f"{name}: {array} has elements of type {given.dtype}; they must be integers")
    if given.shape != (expected,):
        raise DataError("data", f"{name}: {array} has shape {given.shape}; one label per example is ({expected},)")
    if given.min() < 0:
        raise DataError("data", f"{name}: {array} has the label {given.min()}; valid labels are 0 and above")
    return np.ascontiguousarray(given, dtype=np.int64)


def _array(values: Any, name: str, array: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except Exception as error:  # a user's class may raise anything
        problem = f"{array} is a {type(values).__name__} that is no array: {one_line(error)}"
        raise DataError("data", f"{name}: {problem}") from error
