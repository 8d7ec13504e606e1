"""Checks of what a part contains: its columns, their types, and the values on which every reader relies."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sweeps.store.records import STORED_OUTCOMES, plain_type


def problem_of_columns(stored: pa.Schema, expected: pa.Schema) -> str | None:
    """Compare the columns of a part, read or not, with those of its kind, so that every reader decides alike.

    Columns that this version does not know are not checked. A missing column is a problem if it may not be null.
    """
    count = Counter(stored.names)
    for column in expected:
        if count[column.name] > 1:
            return f"there are {count[column.name]} columns `{column.name}`; valid: one"
        if not count[column.name]:
            if not column.nullable:
                return f"the column `{column.name}` is missing"
            continue
        kind = stored.field(column.name).type
        if _kind(kind) != _kind(column.type) and not (column.nullable and pa.types.is_null(kind)):
            return f"the column `{column.name}` is of type {kind!s:.100}; valid: {plain_type(column.type)}"
    return None


def problem_of_rows(rows: pa.Table, expected: pa.Schema) -> str | None:
    """Check the values of the columns that identify a row. Raises pyarrow's errors for text that is not UTF-8."""
    rows.validate(full=True)
    for column in expected:
        if not column.nullable and (nulls := rows[column.name].is_null()) and pc.any(nulls).as_py():
            return f"the column `{column.name}` is null in row {_first(nulls)}"
    if rows.num_rows and (smallest := pc.min(rows["epoch"]).as_py()) < 0:
        return f"the column `epoch` is {smallest} in row {_first(pc.less(rows['epoch'], 0))}; valid: 0 and above"
    if "outcome" in rows.column_names:
        for outcome in rows["outcome"].unique().to_pylist():
            if outcome not in STORED_OUTCOMES:
                return f"the column `outcome` has {outcome[:40]!r}; valid: {', '.join(STORED_OUTCOMES)}"
    return None


def _first(mask: pa.ChunkedArray) -> int:
    return int(np.flatnonzero(mask.to_numpy())[0])


def _kind(kind: pa.DataType) -> str:
    """Return one word for the types that differ only in width or encoding."""
    kind = plain_type(kind)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return "time" if pa.types.is_timestamp(kind) else str(kind)
