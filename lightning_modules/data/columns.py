"""Columns: read a data set from the columns of an Arrow table, which comes from Parquet files or from the hub.

column                        | Arrow type                                   | becomes
`features` or `image`         | list of numbers                              | as given, in the shape below
`image`                       | struct with `bytes`, or binary: PNG, JPEG, … | (1 or 3, height, width), scaled to -1..1
`label`                       | integer                                      | the class, from 0
`split`                       | string                                       | `train` or `test`

The shape of a list is the value of `shape` in the schema's metadata, e.g. "1,40". Without that key, `features` are
vectors, and an `image` is square and has 1 channel, or 3 channels on the first axis.

A malformed column raises DataError("data"), which names the file or split, the column, the value and the valid values.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt, prod
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lightning_modules.data.border import listed, short
from lightning_modules.data.dataset import Dataset, Floats, Ints, Shape, content_hash
from lightning_modules.data.images import decode
from lightning_modules.errors import DataError

NUMBERS = ("features", "image")
"""The possible names of the input column, in the order in which they are looked up."""

NO_VALUES = np.empty(0, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Columns:
    """The n training and test examples of one or more tables.

    `encoded` contains the bytes of encoded images, and is empty if `values` contains the inputs.
    """

    values: Floats
    encoded: tuple[bytes, ...]
    shape: Shape | None
    """The shape of one example; None for encoded images, whose shape is known only after decoding."""
    labels: Ints
    is_train: NDArray[np.bool_]
    places: tuple[tuple[str, int], ...]
    """For each file or split, in order: (name for messages, number of examples)."""
    classes: int | None = None

    def dataset(self, name: str) -> Dataset:
        """Decode images, and convert the columns to a `Dataset`. Ids are positions in `labels`."""
        for split, chosen in (("train", self.is_train), ("test", ~self.is_train)):
            if not chosen.any():
                raise DataError("data", f"{name}: there is no example of the split {split!r}; both splits are needed")
        inputs = decode(self.encoded, self.place) if self.encoded else self.values.reshape(-1, *(self.shape or ()))
        train, test = np.flatnonzero(self.is_train), np.flatnonzero(~self.is_train)
        return Dataset.of(
            inputs[train],
            self.labels[train],
            inputs[test],
            self.labels[test],
            classes=self.classes,
            train_ids=train,
            test_ids=test,
            name=name,
        )

    def place(self, position: int) -> str:
        """Return the name of the file or split and the row of an example, for a message."""
        for name, count in self.places:
            if position < count:
                return f"{name}, row {position}"
            position -= count
        raise IndexError(position)

    def digest(self) -> str:
        """Hash the content, independently of paths, compression, partitioning into files and image decoder."""
        lengths = np.array([len(part) for part in self.encoded], dtype=np.int64)
        joined = np.frombuffer(b"".join(self.encoded), dtype=np.uint8)
        shape = np.array(self.shape or (), dtype=np.int64)
        classes = np.int64(-1 if self.classes is None else self.classes)
        return content_hash(self.values, lengths, joined, shape, self.labels, self.is_train, classes)


def read_columns(
    table: pa.Table, name: str, *, split: str | None = None, inputs: str | None = None, label: str = "label"
) -> Columns:
    """Read the columns of one table, called `name` in messages.

    Args:
        split: The split of every row, for a table without the column `split`.
        inputs: The name of the input column, if it is not one of NUMBERS.
        label: The name of the label column.
    """
    column = inputs or _input_column(table, name)
    values, encoded, shape = _inputs(table, column, name)
    labels = _integers(_column(table, label, name, "integers from 0"), label, name)
    is_train = np.full(table.num_rows, split == "train") if split else _splits(table, name)
    return Columns(values, encoded, shape, labels, is_train, ((name, table.num_rows),))


def concatenate(parts: list[Columns]) -> Columns:
    """Join the examples of several tables in order. Raises DataError if their inputs differ in kind or shape."""
    first = parts[0]
    for part in parts[1:]:
        if part.shape != first.shape:
            raise DataError(
                "data",
                f"{part.places[0][0]}: inputs are {_described(part)}, but in {first.places[0][0]} {_described(first)}; "
                "they must be the same",
            )
    return Columns(
        values=np.concatenate([part.values for part in parts]),
        encoded=tuple(image for part in parts for image in part.encoded),
        shape=first.shape,
        labels=np.concatenate([part.labels for part in parts]),
        is_train=np.concatenate([part.is_train for part in parts]),
        places=tuple(place for part in parts for place in part.places),
    )


def _described(columns: Columns) -> str:
    return "encoded images" if columns.shape is None else f"numbers of shape {columns.shape}"


def _input_column(table: pa.Table, name: str) -> str:
    present = [column for column in NUMBERS if column in table.column_names]
    if len(present) != 1:
        names = " and ".join(f"`{column}`" for column in present) or f"the columns {_listed(table)}"
        raise DataError("data", f"{name}: found {names}; valid is one column of inputs, `features` or `image`")
    return present[0]


def _listed(table: pa.Table) -> str:
    return listed(table.column_names) or "none"


def _column(table: pa.Table, column: str, name: str, wanted: str) -> pa.Array:
    """Return a column as one array. Raises DataError unless it occurs once and has no nulls."""
    count = table.column_names.count(column)
    if count != 1:
        problem = "missing" if count == 0 else f"there {count} times"
        raise DataError("data", f"{name}: column `{column}` ({wanted}) is {problem}; found {_listed(table)}")
    array = table.column(column).combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if array.null_count:
        raise DataError(
            "data", f"{name}: column `{column}` is null in row {_first(array.is_null())}; every row needs {wanted}"
        )
    return array


def _first(mask: pa.Array) -> int:
    return int(np.flatnonzero(np.asarray(mask))[0])


def _wrong_type(array: pa.Array, column: str, name: str, wanted: str) -> DataError:
    return DataError("data", f"{name}: column `{column}` is of type {short(array.type)}; it must hold {wanted}")


def _integers(array: pa.Array, column: str, name: str) -> Ints:
    if not pa.types.is_integer(array.type):
        raise _wrong_type(array, column, name, "integers from 0")
    labels = np.asarray(array)
    if len(labels) and labels.min() < 0:
        row = int(np.argmin(labels))
        raise DataError("data", f"{name}: column `{column}` is {labels[row]} in row {row}; valid are integers from 0")
    return labels.astype(np.int64)


def _splits(table: pa.Table, name: str) -> NDArray[np.bool_]:
    wanted = "`train` or `test`"
    array = _column(table, "split", name, wanted)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        raise _wrong_type(array, "split", name, wanted)
    invalid = np.asarray(pc.invert(pc.is_in(array, value_set=pa.array(["train", "test"], array.type))))
    if invalid.any():
        row = int(np.flatnonzero(invalid)[0])
        raise DataError(
            "data", f"{name}: column `split` is {short(repr(array[row].as_py()))} in row {row}; valid is {wanted}"
        )
    return np.asarray(pc.equal(array, pa.scalar("train", array.type)))


def _inputs(table: pa.Table, column: str, name: str) -> tuple[Floats, tuple[bytes, ...], Shape | None]:
    wanted = "lists of numbers" + (
        ", or encoded images as bytes or a struct with `bytes`" if column != "features" else ""
    )
    array = _column(table, column, name, wanted)
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        values = _numbers(array, column, name)
        return values, (), _shape(table, values.shape[1], column, name)
    if column != "features":
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            array = pc.struct_field(array, "bytes")
        if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
            if array.null_count:
                raise DataError(
                    "data",
                    f"{name}: column `{column}` has no bytes in row {_first(array.is_null())}; images must be inside "
                    "the file, not named by a path",
                )
            return NO_VALUES, tuple(array.to_pylist()), None
    raise _wrong_type(table.column(column), column, name, wanted)


def _numbers(array: Any, column: str, name: str) -> Floats:
    flat = array.flatten()
    if not (pa.types.is_floating(flat.type) or pa.types.is_integer(flat.type)):
        raise _wrong_type(array, column, name, "lists of numbers")
    lengths = np.asarray(pc.list_value_length(array))
    if len(lengths) == 0:
        raise DataError("data", f"{name}: column `{column}` has no rows")
    uneven = np.flatnonzero((lengths != lengths[0]) | (lengths == 0))
    if len(uneven):
        raise DataError(
            "data",
            f"{name}: column `{column}` has {lengths[uneven[0]]} numbers in row {uneven[0]} and {lengths[0]} in row "
            "0; every row needs the same number, at least 1",
        )
    if flat.null_count:
        row = _first(flat.is_null()) // int(lengths[0])
        raise DataError("data", f"{name}: column `{column}` has a null in row {row}; every number must be there")
    with np.errstate(over="ignore"):  # what is infinite afterwards is refused
        values = np.ascontiguousarray(flat.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(len(array), -1)
    if not np.isfinite(values).all():
        row, place = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise DataError(
            "data", f"{name}: column `{column}` has {values[row, place]} in row {row}; every number must be finite"
        )
    return values


def _shape(table: pa.Table, length: int, column: str, name: str) -> Shape:
    text = (table.schema.metadata or {}).get(b"shape")
    if text is not None:
        try:
            shape = tuple(int(part) for part in text.decode().split(","))
        except ValueError:
            shape = ()
        if len(shape) not in (1, 2, 3) or min(shape) < 1 or prod(shape) != length:
            raise DataError(
                "data",
                f"{name}: the schema's metadata has shape {short(repr(text.decode(errors='replace')))} and column "
                f"`{column}` {length} numbers per row; valid are 1 to 3 positive integers, as '3,32,32', whose product "
                "is that",
            )
        return shape
    if column == "features":
        return (length,)
    for channels in (1, 3):
        side = isqrt(length // channels)
        if channels * side * side == length:
            return (channels, side, side)
    raise DataError(
        "data",
        f"{name}: column `{column}` has {length} numbers per row, which is not a square image of 1 or 3 channels; give "
        "the shape in the schema's metadata, as shape='1,28,20'",
    )
