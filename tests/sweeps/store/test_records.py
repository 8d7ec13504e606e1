"""Tests of the schema: its columns, their types, and how records are stored."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from lightning_modules.measures.catalogue import COLUMNS_ON_DEMAND, MEASURES
from lightning_modules.settings import FIELDS
from sweeps.store.provenance import software
from sweeps.store.records import PROVENANCE, SCHEMA_VERSION, schema, table_of


def test_the_columns_are_the_keys_the_fields_the_measures_and_the_provenance():
    assert schema().names == ["trajectory_id", "epoch", "outcome", *FIELDS, *MEASURES, *COLUMNS_ON_DEMAND, *PROVENANCE]
    assert len(set(schema().names)) == len(schema().names)
    assert schema().metadata == {b"memsweep_schema": str(SCHEMA_VERSION).encode()}


def test_types_follow_the_fields():
    words = pa.dictionary(pa.int32(), pa.string())
    expected = {"data": words, "optimizer": words, "seed": pa.int64(), "width": pa.int64(), "dropout": pa.float64(),
                "test_loss": pa.float64(), "epoch": pa.int32(),
                "finished_at": pa.timestamp("us", tz="UTC")}  # fmt: skip
    assert {name: schema().field(name).type for name in expected} == expected
    assert [field.name for field in schema() if not field.nullable] == ["trajectory_id", "epoch", "outcome"]


def test_a_record_is_a_row_for_each_epoch_and_one_for_how_it_broke(make_record):
    table = table_of([make_record("a", (1, 2), diverged=3, seed=2**63 - 1), make_record("b", failed=9)])
    assert table.schema.equals(schema())
    assert table["epoch"].to_pylist() == [1, 2, 3, 9]
    assert table["outcome"].to_pylist() == ["finished", "finished", "diverged", "failed"]
    assert table["reason"].to_pylist() == [None, None, "diverged in 3", "RuntimeError: broke\n\nbefore 9"]
    assert table["test_accuracy"].null_count == 2
    assert table["seed"].to_pylist() == [2**63 - 1] * 3 + [0]


def test_a_row_has_its_record_s_values_and_its_own(make_record):
    """The table, which is converted one training at a time, equals a table that is built row by row."""
    records = [make_record("a", (1, 2), diverged=3, seed=5, model="linear"), make_record("b", (7,), flops=2.0)]
    rows = [
        {"trajectory_id": record.trajectory_id, "epoch": row.epoch, "outcome": row.outcome, **vars(record.point),
         **row.measures, **record.provenance, "reason": row.reason}
        for record in records
        for row in record.rows
    ]  # fmt: skip
    assert table_of(records).equals(pa.Table.from_pylist(rows, schema=schema()), check_metadata=True)


def test_no_records_are_an_empty_table():
    assert table_of([]).equals(schema().empty_table())


def test_the_software_is_named_without_importing_it():
    code = (
        "import sys; from sweeps.store.provenance import software; from sweeps.store.records import PROVENANCE;"
        "s = software();"
        "assert s.keys() <= PROVENANCE.keys();"
        "assert s['torch_version'] and s['ray_version'] and not {'torch', 'ray'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(software()) == {"host", "memsweep_version", "commit", "torch_version", "ray_version"}


def test_the_commit_is_that_of_the_checkout():
    root = Path(__file__).parents[3]
    done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, cwd=root)
    assert software()["commit"].removesuffix("+") == done.stdout.strip()
