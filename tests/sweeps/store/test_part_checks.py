"""A part with the right hash and wrong content is named, and the rest of the store is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.errors import LONGEST_REASON
from sweeps.store.compaction import compact
from sweeps.store.parts import KINDS, PARTS, encode, name_of
from sweeps.store.records import SCHEMA_VERSION, STORED_OUTCOMES, schema, table_of
from sweeps.store.store import Store

OUTCOMES = "finished, diverged, stopped, failed"


@pytest.fixture
def table(make_record) -> pa.Table:
    return table_of([make_record("bad", (1, 2, 3))])


@pytest.fixture
def shared(store: Store, make_record) -> Store:
    """Return a store with a sound part."""
    store.prepare()
    store.append([make_record("a", (1,))])
    return store


def put(store: Store, table: pa.Table | bytes, folder: str = "parts") -> str:
    """Write a part with the right hash, and return its path."""
    content = table if isinstance(table, bytes) else encode(table)
    path = Path(store.uri) / folder / name_of(content)
    path.write_bytes(content)
    return str(path)


def replaced(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def doubled(table: pa.Table, name: str) -> pa.Table:
    names = [*table.column_names, name]
    return pa.Table.from_arrays([*table.columns, table[name]], names, metadata=table.schema.metadata)


WRONG: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "no epoch": (lambda table: table.drop_columns("epoch"), "the column `epoch` is missing"),
    "no id": (lambda table: table.drop_columns("trajectory_id"), "the column `trajectory_id` is missing"),
    "no outcome": (lambda table: table.drop_columns("outcome"), "the column `outcome` is missing"),
    "two epochs": (lambda table: doubled(table, "epoch"), "there are 2 columns `epoch`; valid: one"),
    "two losses": (lambda table: doubled(table, "test_loss"), "there are 2 columns `test_loss`; valid: one"),
    "negative": (
        lambda table: replaced(table, "epoch", pa.array([1, 2, -3])),
        "the column `epoch` is -3 in row 2; valid: 0 and above",
    ),
    "nested": (
        lambda table: replaced(table, "epoch", pa.array([[1], [2], [3]])),
        "the column `epoch` is of type list<element: int64>; valid: int32",
    ),
    "a struct": (
        lambda table: replaced(table, "test_loss", pa.array([{"epoch": 1}] * 3)),
        "the column `test_loss` is of type struct<epoch: int64>; valid: double",
    ),
    "words": (
        lambda table: replaced(table, "epoch", pa.array(["1", "2", "3"])),
        "the column `epoch` is of type string; valid: int32",
    ),
    "null epoch": (
        lambda table: replaced(table, "epoch", pa.array([1, None, 3])),
        "the column `epoch` is null in row 1",
    ),
    "null id": (
        lambda table: replaced(table, "trajectory_id", pa.array([None, "b", "b"])),
        "the column `trajectory_id` is null in row 0",
    ),
    "banana": (
        lambda table: replaced(table, "outcome", pa.array(["finished", "banana", "failed"])),
        f"the column `outcome` has 'banana'; valid: {OUTCOMES}",
    ),
    "missing": (
        lambda table: replaced(table, "outcome", pa.array(["missing"] * 3)),
        f"the column `outcome` has 'missing'; valid: {OUTCOMES}",
    ),
    "schema -1": (
        lambda table: table.replace_schema_metadata({"memsweep_schema": "-1"}),
        f"its schema is -1; valid: 1 to {SCHEMA_VERSION}",
    ),
    "schema 0": (
        lambda table: table.replace_schema_metadata({"memsweep_schema": "0"}),
        f"its schema is 0; valid: 1 to {SCHEMA_VERSION}",
    ),
    "too large": (
        lambda table: replaced(table, "epoch", pa.array([1, 2, 2**40])),
        "Integer value 1099511627776 not in range: -2147483648 to 2147483647",
    ),
    "not text": (
        lambda table: replaced(table, "trajectory_id", pa.array([b"\xff"] * 3).view(pa.string())),
        "Invalid UTF8",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_part_with_wrong_content_is_named_and_the_rest_is_read(shared, table, kind):
    change, problem = WRONG[kind]
    path = put(shared, change(table))
    for contents in (shared.read(), shared.read([], epochs=[1])):
        assert contents.damaged.keys() == {path}
        assert contents.damaged[path].startswith("damaged: ")
        assert problem in contents.damaged[path]
        assert contents.table["trajectory_id"].to_pylist() == ["a"]
    assert shared.done().rows == {("a", 1)}
    assert compact(shared).left_alone.keys() == {path}
    assert Path(path).exists()


def test_a_part_that_declares_more_rows_than_a_cohort_has_is_not_read(shared, monkeypatch):
    """A few kilobytes of Parquet declare any number of equal rows."""
    rows = 100_001
    monkeypatch.setitem(KINDS, PARTS, (*KINDS[PARTS][:2], rows - 1))
    columns = {"trajectory_id": pa.repeat("a", rows), "epoch": pa.repeat(1, rows), "outcome": pa.repeat("failed", rows)}
    path = put(shared, pa.table(columns).replace_schema_metadata(schema().metadata))
    assert os.path.getsize(path) < 10_000
    assert shared.read().damaged == {path: f"damaged: it declares {rows:,} rows; valid: up to {rows - 1:,}"}


def test_examples_are_checked_too(shared):
    path = put_examples(shared, {"trajectory_id": ["a"], "epoch": [1], "measure": ["correct"], "split": ["train"]})
    assert shared.read_examples(["a"]).damaged == {path: "damaged: the column `example_id` is missing"}


def put_examples(store: Store, columns: dict[str, Any]) -> str:
    (Path(store.uri) / "examples").mkdir()
    return put(store, pa.table(columns).replace_schema_metadata(schema().metadata), "examples")


def test_links_that_lead_nowhere_are_named(shared):
    folder = Path(shared.uri) / "parts"
    names = [f"{digit * 20}.parquet" for digit in "abcd"]
    (folder / names[0]).symlink_to(names[0])
    (folder / names[1]).symlink_to("nowhere")
    (folder / names[2]).mkdir()
    os.mkfifo(folder / names[3])
    reasons = ["a link to a file that is not there"] * 2 + ["not a part of memsweep"] * 2
    assert shared.read().damaged == {f"{folder}/{name}": reason for name, reason in zip(names, reasons, strict=True)}
    assert shared.done().rows == {("a", 1)}


COLUMNS = ("trajectory_id", "epoch", "outcome", "test_loss", "label_noise", "seed", "data", "finished_at", "reason")
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=5), st.binary(max_size=5),
    st.lists(st.integers(0, 9), max_size=2), st.sampled_from([*STORED_OUTCOMES, "missing", ""]),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(COLUMNS), st.lists(VALUES, min_size=3, max_size=3), min_size=1, max_size=3))
def test_any_values_are_read_as_rows_or_named_in_one_short_sentence(tmp_path_factory, make_record, changes):
    table = table_of([make_record("bad", (1, 2, 3))])
    for name, values in changes.items():
        try:
            table = replaced(table, name, pa.array(values))
        except (pa.ArrowException, OverflowError):  # such values have no common type
            table = table.drop_columns(name)
    shared = Store(tmp_path_factory.mktemp("parts"))
    shared.prepare()
    shared.append([make_record("a", (1,))])
    path = put(shared, table)
    contents = shared.read()
    assert contents.table.schema.equals(schema())
    if contents.damaged:
        ((named, reason),) = contents.damaged.items()
        assert named == path
        assert "\n" not in reason
        assert len(reason) < LONGEST_REASON + 100
    assert ("a", 1) in shared.done().rows
    rows = contents.table.to_pylist()
    assert len(rows) == 1 if contents.damaged else 1 < len(rows) <= 4
    assert all(row["epoch"] >= 0 and row["outcome"] in STORED_OUTCOMES for row in rows)
