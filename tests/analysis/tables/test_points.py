"""Tests that tables have one row per point in the order of the sweep, whatever the store contains."""

from __future__ import annotations

import csv
import tempfile

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from analysis.report.export import write_table
from analysis.tables.points import curves_table, failures, point_columns, points_table, stored_columns
from lightning_modules.measures.catalogue import COLUMNS_ON_DEMAND, MEASURES
from lightning_modules.settings import FIELDS
from sweeps.errors import ExportError
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.store import Store

SWEEP = parse_sweep("name: x\nfixed: {data: digits}\ngrid: {epochs: [8, 2, 5], seed: [1, 0]}", "s.yaml")
PLAN = Plan.of(SWEEP)
FIRST, SECOND = (trajectory.id for trajectory in PLAN.trainings)  # seed 1, seed 0


@pytest.fixture
def filled(store: Store, make_record) -> Store:
    """Fill a store: seed 1 is measured up to epoch 5 and diverges in 7; seed 0 is measured at 2 and fails before 5."""
    store.prepare()
    store.append([make_record(FIRST, (1, 2, 4, 5), diverged=7, seed=1), make_record("another sweep's", (2, 8))])
    store.append([make_record(SECOND, (2,), failed=5)])
    return store


def test_columns():
    assert point_columns()[:2] == ("point_id", "trajectory_id")
    assert point_columns()[-1] == "outcome"
    assert set(point_columns()) == {
        "point_id",
        "trajectory_id",
        *FIELDS,
        "parameters",
        "epoch",
        *MEASURES,
        *COLUMNS_ON_DEMAND,
        "outcome",
    }


class TestPoints:
    def test_are_rows_in_the_order_of_the_sweep(self, filled):
        table = points_table(PLAN, filled.read())
        assert table.column_names == list(point_columns())
        assert table["epochs"].to_pylist() == [8, 8, 2, 2, 5, 5]
        assert table["seed"].to_pylist() == [1, 0, 1, 0, 1, 0]
        assert table["epoch"].to_pylist() == table["epochs"].to_pylist()
        assert table["point_id"].to_pylist() == [point.id for point in SWEEP.points()]
        assert table["trajectory_id"].to_pylist() == [FIRST, SECOND] * 3

    def test_say_how_each_ended(self, filled):
        table = points_table(PLAN, filled.read())
        assert table["outcome"].to_pylist() == ["diverged", "missing", "finished", "finished", "finished", "failed"]

    def test_have_measures_where_they_finished_and_nulls_elsewhere(self, filled):
        table = points_table(PLAN, filled.read())
        rows = {(row["trajectory_id"], row["epoch"]): row for row in filled.read().table.to_pylist()}
        for row in table.to_pylist():
            for name in (*MEASURES, "parameters"):
                finished = row["outcome"] == "finished"
                assert row[name] == (rows[row["trajectory_id"], row["epoch"]][name] if finished else None)

    def test_of_an_empty_store_are_all_missing(self, store):
        table = points_table(PLAN, store.read())
        assert table["outcome"].to_pylist() == ["missing"] * 6
        assert table["test_loss"].null_count == 6
        assert table.schema.equals(points_table(PLAN, store.read(stored_columns())).schema)

    def test_text_is_plain_for_readers_that_know_nothing_of_memsweep(self, filled):
        types = points_table(PLAN, filled.read()).schema
        assert types.field("data").type == types.field("outcome").type == types.field("point_id").type == pa.string()

    @given(st.lists(st.tuples(
        st.sampled_from([FIRST, SECOND]), st.sampled_from(["finished", "diverged", "failed"]), st.integers(0, 9)
    ), max_size=6))  # fmt: skip
    def test_are_missing_exactly_where_the_plan_would_train_them(self, make_record, rows):
        with tempfile.TemporaryDirectory() as folder:
            store = Store(folder)
            store.prepare()
            for i, outcome, epoch in rows:
                ended = {"finished": (epoch,)} if outcome == "finished" else {outcome: epoch}
                store.append([make_record(i, **ended)])
            table, left = points_table(PLAN, store.read()), PLAN.without(store.done())
        missing = [cell for cell, how in zip(PLAN.cells, table["outcome"].to_pylist(), strict=True) if how == "missing"]
        assert missing == list(left.missing)


class TestCurves:
    def test_are_every_finished_epoch_of_the_sweeps_trainings(self, filled):
        table = curves_table(PLAN, filled.read())
        assert table.column_names == list(point_columns())
        rows = {(row["seed"], row["epoch"]) for row in table.to_pylist()}
        assert rows == {(1, 1), (1, 2), (1, 4), (1, 5), (0, 2)}
        assert table.num_rows == 5
        assert set(table["outcome"].to_pylist()) == {"finished"}
        assert table["test_loss"].null_count == 0

    def test_end_at_the_last_epoch_that_the_sweep_asks_for(self, filled):
        """Another sweep's longer training of the same trajectory is in the store too."""
        shorter = Plan.of(parse_sweep("name: x\nfixed: {data: digits, epochs: 2}\ngrid: {seed: [1, 0]}", "s.yaml"))
        rows = {(row["seed"], row["epoch"]) for row in curves_table(shorter, filled.read()).to_pylist()}
        assert rows == {(1, 1), (1, 2), (0, 2)}
        assert [row["trajectory_id"] for row in failures(shorter, filled.read())] == [SECOND]

    def test_of_an_empty_store_are_empty(self, store):
        assert curves_table(PLAN, store.read()).num_rows == 0


def test_failures_are_the_sweeps_own_with_their_reasons(filled):
    failed = {row["trajectory_id"]: row for row in failures(PLAN, filled.read())}
    assert set(failed) == {FIRST, SECOND}
    assert (failed[FIRST]["outcome"], failed[FIRST]["epoch"], failed[FIRST]["reason"]) == (
        "diverged",
        7,
        "diverged in 7",
    )
    assert (failed[SECOND]["outcome"], failed[SECOND]["epoch"]) == ("failed", 5)
    assert failed[SECOND]["reason"].startswith("RuntimeError: broke")


class TestFiles:
    def test_parquet_comes_back_as_it_was(self, filled, tmp_path):
        table = points_table(PLAN, filled.read())
        write_table(table, tmp_path / "new" / "points.parquet")
        assert parquet.read_table(tmp_path / "new" / "points.parquet").equals(table)

    def test_csv_comes_back_with_the_same_bits(self, filled, tmp_path):
        table = points_table(PLAN, filled.read())
        write_table(table, tmp_path / "points.csv")
        with open(tmp_path / "points.csv", newline="") as file:
            read = list(csv.DictReader(file))
        assert list(read[0]) == list(point_columns())
        for row, expected in zip(read, table.to_pylist(), strict=True):
            assert {name: text and type(expected[name])(text) for name, text in row.items()} == {
                name: "" if value is None else value for name, value in expected.items()
            }

    @pytest.mark.parametrize("name", ["points.xlsx", "points", "points.CSV", "parquet"])
    def test_another_suffix_is_refused_and_nothing_is_written(self, tmp_path, name):
        with pytest.raises(ExportError, match=r"valid suffixes: \.parquet, \.csv$"):
            write_table(pa.table({"a": [1]}), tmp_path / "new" / name)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_a_place_that_cannot_be_written_is_named(self, tmp_path, suffix):
        (tmp_path / "file").write_text("")
        (tmp_path / f"folder{suffix}").mkdir()
        for out in (tmp_path / "file" / f"points{suffix}", tmp_path / f"folder{suffix}"):
            with pytest.raises(ExportError) as caught:
                write_table(pa.table({"a": [1]}), out)
            assert str(caught.value).startswith(f"--out {out}: cannot be written: ")
