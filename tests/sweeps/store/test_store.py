"""Tests of stores in a folder, where files can be damaged. tests/contracts/test_stores.py tests all kinds of stores."""

from __future__ import annotations

import pickle
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.measures.values import PerExample
from sweeps.errors import StoreError
from sweeps.store.atomic_files import Location
from sweeps.store.compaction import compact
from sweeps.store.done import Done
from sweeps.store.records import example_schema
from sweeps.store.store import Store

ids, epochs = st.sampled_from("abc"), st.integers(0, 6)
rows = st.tuples(ids, epochs, st.sampled_from(["finished", "diverged", "stopped", "failed"]))
parts = st.lists(st.lists(rows, min_size=1, max_size=4), max_size=5)


def table_of(rows: list[tuple[str, int, str]]) -> pa.Table:
    columns = {name: [row[i] for row in rows] for i, name in enumerate(("trajectory_id", "epoch", "outcome"))}
    stopped_by = ["settings" if row[2] == "stopped" else None for row in rows]
    return pa.table({**columns, "stopped_by": pa.array(stopped_by, pa.string())})


def appended(folder: str, parts: list[list[tuple[str, int, str]]], make_record) -> Store:
    store = Store(folder)
    store.prepare()
    for part in parts:
        store.append(
            [
                make_record(i, (e,)) if outcome == "finished" else make_record(i, **{outcome: e})
                for i, e, outcome in part
            ]
        )
    return store


class TestDone:
    @pytest.mark.parametrize(
        ("epoch", "outcome"), [(1, "finished"), (2, "missing"), (3, "finished"), (5, "diverged"), (99, "diverged")]
    )
    def test_a_training_that_diverged_is_settled_from_there_on(self, epoch, outcome):
        done = Done(frozenset({("a", 1), ("a", 3)}), {"a": 5})
        assert done.outcome("a", epoch) == outcome
        assert done.covers("a", epoch) == (outcome != "missing")
        assert not done.covers("b", epoch)

    @pytest.mark.parametrize(("epoch", "outcome"), [(0, "failed"), (3, "finished"), (5, "failed"), (6, "missing")])
    def test_a_training_that_failed_is_settled_up_to_where_it_was_going(self, epoch, outcome):
        done = Done(frozenset({("a", 3)}), {}, {"a": 5})
        assert done.outcome("a", epoch) == outcome
        assert done.covers("a", epoch) == (outcome != "missing")

    def test_without_failed_they_are_to_do_again_and_nothing_else_is(self):
        done = Done(frozenset({("a", 3)}), {"b": 2}, {"a": 5, "b": 9})
        again = done.without_failed()
        assert again == Done(frozenset({("a", 3)}), {"b": 2})
        assert [again.covers("a", epoch) for epoch in (3, 5)] == [True, False]
        assert [again.covers("b", epoch) for epoch in (1, 2)] == [False, True]

    def test_nothing_is_done_of_nothing(self):
        assert not Done().covers("a", 0)
        assert Done.of(table_of([("x", 1, "finished")]).slice(0, 0)) == Done()

    @given(st.lists(rows))
    def test_of_rows_says_of_every_epoch_what_the_rows_say(self, given_rows):
        done = Done.of(table_of(given_rows))
        for i in "abcd":
            mine = [(e, outcome) for name, e, outcome in given_rows if name == i]
            for epoch in range(8):
                finished = (epoch, "finished") in mine
                diverged = any(outcome == "diverged" and e <= epoch for e, outcome in mine)
                failed = any(outcome == "failed" and e >= epoch for e, outcome in mine)
                stopped = any(outcome == "stopped" and e >= epoch for e, outcome in mine)
                expected = "finished" * finished or "diverged" * diverged or "failed" * failed or "missing"
                assert done.outcome(i, epoch) == done.outcome(i, epoch, "other settings") == expected
                under = "stopped" if stopped and expected in ("failed", "missing") else expected
                assert done.outcome(i, epoch, "settings") == under

    @given(st.lists(rows), st.lists(rows))
    def test_more_rows_never_undo_anything(self, some, more):
        fewer, all_of_them = Done.of(table_of(some)), Done.of(table_of(some + more))
        for i in "abc":
            for epoch in range(8):
                assert all_of_them.covers(i, epoch) >= fewer.covers(i, epoch)


class TestOrder:
    @given(parts, st.randoms())
    def test_the_order_in_which_parts_are_written_is_irrelevant(self, make_record, written, order):
        shuffled = order.sample(written, len(written))
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            first, second = appended(one, written, make_record), appended(other, shuffled, make_record)
            assert first.read().table.equals(second.read().table)
            assert first.done() == second.done()

    @given(parts)
    def test_each_epoch_is_there_once_with_its_best_outcome_in_order(self, make_record, written):
        flat = [row for part in written for row in part]
        with tempfile.TemporaryDirectory() as folder:
            table = appended(folder, written, make_record).read([]).table.to_pydict()
        rank = ["finished", "diverged", "stopped", "failed"].index
        best = {
            key: min((outcome for *other, outcome in flat if tuple(other) == key), key=rank)
            for key in {(i, epoch) for i, epoch, _ in flat}
        }
        keys = list(zip(table["trajectory_id"], table["epoch"], strict=True))
        assert keys == sorted(best)
        assert table["outcome"] == [best[key] for key in keys]


class TestDamage:
    def test_no_flipped_bit_and_no_truncation_goes_unnoticed(self, store, make_record):
        """Flip 100 random bits, half of them in the footer, which Parquet's checksums omit, and truncate 100 times."""
        store.prepare()
        damaged = store.append([make_record("a", (1, 2, 3)), make_record("b", (1, 2), diverged=3)])
        store.append([make_record("c", (1,))])
        path = Path(store.uri) / "parts" / damaged
        sound = path.read_bytes()
        others = store.read([]).table.slice(5 + 1)
        assert others["trajectory_id"].to_pylist() == ["c"]
        rng = random.Random(0)
        footer = len(sound) - 8 - int.from_bytes(sound[-8:-4], "little")
        places = [rng.randrange(start, len(sound)) for start in (0, footer) for _ in range(50)]
        flipped = [sound[:i] + bytes([sound[i] ^ 1 << rng.randrange(8)]) + sound[i + 1 :] for i in places]
        truncated = [sound[: rng.randrange(len(sound))] for _ in range(100)]
        for content in (*flipped, *truncated):
            path.write_bytes(content)
            contents = store.read([])
            assert contents.damaged == {str(path): "damaged: its bytes do not hash to its name"}
            assert contents.table.equals(others)
            assert Done.of(contents.table).rows == {("c", 1)}
        path.write_bytes(sound)
        assert store.read().damaged == {}
        assert store.read().table.num_rows == 7

    def test_a_part_that_cannot_be_opened_is_reported(self, store, make_record):
        store.prepare()
        store.append([make_record("a", (1,))])
        closed = store.append([make_record("b", (1,))])
        read = Location.read

        def refuse(place: Location, path: str, sound: Any) -> bytes | None:
            if path == f"parts/{closed}":
                raise StoreError("permission denied")
            return read(place, path, sound)

        with mock.patch.object(Location, "read", refuse):
            contents = store.read()
        assert contents.damaged == {f"{store.uri}/parts/{closed}": "damaged: permission denied"}
        assert contents.table["trajectory_id"].to_pylist() == ["a"]

    def test_a_part_that_is_listed_but_never_there_is_reported(self, store, make_record):
        store.prepare()
        name = store.append([make_record("a", (1,))])
        with mock.patch.object(Location, "read", return_value=None):
            contents = store.read()
        assert contents.damaged == {f"{store.uri}/parts/{name}": "damaged: listed, but not there"}
        assert contents.table.num_rows == 0

    def test_a_folder_among_the_parts_is_reported(self, store):
        store.prepare()
        (Path(store.uri) / "parts" / "old.parquet").mkdir()
        assert store.read().damaged == {f"{store.uri}/parts/old.parquet": "not a part of memsweep"}

    def test_a_write_that_breaks_off_leaves_nothing(self, store, make_record):
        store.prepare()
        full = mock.patch("os.replace", side_effect=OSError(28, "No space left on device"))
        with full, pytest.raises(StoreError, match="No space left on device"):
            store.append([make_record("a", (1,))])
        assert list((Path(store.uri) / "parts").iterdir()) == []


class TestPlaces:
    def test_a_relative_folder_is_taken_from_where_the_store_was_pickled(self, tmp_path, monkeypatch, make_record):
        (tmp_path / "driver").mkdir()
        (tmp_path / "worker").mkdir()
        monkeypatch.chdir(tmp_path / "driver")
        sent = pickle.dumps(Store("results"))
        monkeypatch.chdir(tmp_path / "worker")
        received = pickle.loads(sent)
        received.prepare()
        received.append([make_record("a", (1,))])
        assert len(list((tmp_path / "driver" / "results" / "parts").iterdir())) == 1
        assert list((tmp_path / "worker").iterdir()) == []

    def test_a_relative_folder_stays_where_it_was_first_used(self, tmp_path, monkeypatch):
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path)
        store = Store("results")
        store.prepare()
        monkeypatch.chdir(tmp_path / "elsewhere")
        store.prepare()
        assert (tmp_path / "results" / "parts").is_dir()
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        Store("~/results").prepare()
        assert (tmp_path / "results" / "parts").is_dir()

    def test_a_file_uri_is_a_folder(self, tmp_path, make_record):
        store = Store(f"file://{tmp_path}/results/")
        assert store.is_local
        store.prepare()
        store.append([make_record("a", (1,))])
        assert pickle.loads(pickle.dumps(store)).done() == Store(tmp_path / "results").done()
        assert Store(tmp_path / "results").done().rows == {("a", 1)}

    def test_making_one_does_no_work(self, tmp_path):
        Store(tmp_path / "results")
        Store("nosuch://place")
        assert list(tmp_path.iterdir()) == []

    def test_reading_what_is_not_there_makes_nothing(self, tmp_path):
        Store(tmp_path / "results").done()
        assert list(tmp_path.iterdir()) == []

    def test_an_unknown_scheme(self):
        with pytest.raises(StoreError) as caught:
            Store("nosuch://place").done()
        assert str(caught.value).startswith("store nosuch://place: ")
        assert str(caught.value).endswith("valid: a folder, s3://BUCKET/PATH or gs://BUCKET/PATH")

    def test_a_file_is_no_store(self, tmp_path):
        (tmp_path / "results").write_text("precious")
        for use in (lambda store: store.done(), lambda store: store.prepare()):
            with pytest.raises(StoreError, match=r"^store .*/results: "):
                use(Store(tmp_path / "results"))
        assert (tmp_path / "results").read_text() == "precious"

    def test_where_there_is_no_store_reading_results_says_so(self, tmp_path):
        (tmp_path / "file").write_text("")
        (tmp_path / "empty").mkdir()
        for name in ("empty", "nothing", "deep/nothing"):
            with pytest.raises(StoreError, match=f"^there is no store at {tmp_path}/{name}; valid: "):
                Store(tmp_path / name, must_exist=True).read()
            assert Store(tmp_path / name).read().table.num_rows == 0, "a run may begin one here"
        for store in (Store(tmp_path / "file" / "store"), Store(tmp_path / "file" / "store", must_exist=True)):
            with pytest.raises(StoreError, match="is below a file"):
                store.read()
        Store(tmp_path / "prepared").prepare()
        assert Store(tmp_path / "prepared", must_exist=True).done().rows == frozenset()

    def test_a_place_that_cannot_be_written(self, tmp_path, make_record):
        (tmp_path / "file").write_text("")
        store = Store(tmp_path / "file" / "results")
        with pytest.raises(StoreError, match=r"^store .*/file/results: cannot be written: "):
            store.prepare()
        with pytest.raises(
            StoreError, match=r"^store .*/file/results: parts/[0-9a-f]{20}\.parquet cannot be written: "
        ):
            store.append([make_record("a", (1,))])


class TestMeasuresOnDemand:
    """Tests of on-demand measures, which may be added to a training that is already stored without them."""

    def test_those_of_two_parts_are_united_in_one_row(self, store, make_record):
        store.prepare()
        plain = make_record("a", (1, 2))
        some = with_measures(plain, {2: {"correct_fraction": 0.5, "left_out_accuracy": None}})
        more = with_measures(plain, {1: {"correct_fraction": 0.25}, 2: {"cumulative_loss": 3.0}})
        for record in (plain, some, more):
            store.append([record, make_record("b", (1,))])
        table = store.read().table
        assert table["trajectory_id"].to_pylist() == ["a", "a", "b"]
        assert table["correct_fraction"].to_pylist() == [0.25, 0.5, None]
        assert table["cumulative_loss"].to_pylist() == [None, 3.0, None]
        assert table["test_loss"].null_count == 0
        assert store.done().measured == {
            ("a", 1, "example_correctness"), ("a", 2, "example_correctness"), ("a", 2, "cumulative_loss")
        }  # fmt: skip

    def test_of_single_examples_have_a_table_of_their_own(self, store, make_record):
        store.prepare()
        values = np.array([1.0, np.nan, 0.0])
        blocks = tuple(
            (epoch, PerExample("correct", split, np.array([5, 2, 9]), values + shift))
            for epoch, split, shift in ((3, "train", 0), (1, "train", 1), (3, "test", 2))
        )
        record = replace(make_record("a", (1, 3)), examples=blocks)
        store.append([record, make_record("b", (1,))])
        store.append([record])  # again
        contents = store.read_examples(["a", "b"])
        assert contents.damaged == {}
        assert contents.table.schema.equals(example_schema())
        rows = [tuple(row.values()) for row in contents.table.to_pylist()]
        assert rows == [
            ("a", epoch, "correct", split, example, value)
            for epoch, split, shift in ((1, "train", 1), (3, "test", 2), (3, "train", 0))
            for example, value in ((2, None), (5, 1.0 + shift), (9, 0.0 + shift))
        ]
        assert store.read_examples(["a"], ["forgetting_events"]).table.num_rows == 0
        assert store.read_examples(["b"]).table.num_rows == 0
        assert len(list(Path(store.uri).glob("examples/*.parquet"))) == 1, "equal content has one name"

    def test_a_damaged_part_of_examples_is_named(self, store, make_record):
        store.prepare()
        block = (1, PerExample("correct", "train", np.arange(3), np.ones(3)))
        store.append([replace(make_record("a", (1,)), examples=(block,))])
        (path,) = Path(store.uri).glob("examples/*.parquet")
        path.write_bytes(path.read_bytes()[:-1])
        contents = store.read_examples(["a"])
        assert contents.damaged == {str(path): "damaged: its bytes do not hash to its name"}
        assert contents.table.num_rows == 0

    def test_a_row_is_never_there_before_its_examples(self, store, make_record, monkeypatch):
        """If a run dies between the two writes, examples without a row are ignored; no row ever lacks its examples."""
        store.prepare()
        block = (1, PerExample("correct", "train", np.arange(3), np.ones(3)))
        written = []
        monkeypatch.setattr(Location, "write", lambda self, path, content: written.append(path.split("/")[-2]))
        store.append([replace(make_record("a", (1,)), examples=(block,))])
        assert written == ["examples", "parts"]


def with_measures(record, more):
    rows = tuple(replace(row, measures={**row.measures, **more.get(row.epoch, {})}) for row in record.rows)
    return replace(record, rows=rows)


class TestStoppedUnderSeveralSettings:
    """A sweep with other settings of early stopping may continue a training that the first stopped, and stop it too."""

    stops = st.tuples(
        ids, st.integers(0, 3), st.sampled_from(["finished", "diverged", "stopped"]), st.sampled_from("xy")
    )

    @pytest.mark.slow
    @settings(max_examples=15)
    @given(st.lists(st.lists(stops, min_size=1, max_size=3), max_size=4))
    def test_no_stop_is_replaced_by_one_under_other_settings(self, make_record, written):
        """A store says of each settings what it says without the stops under others, also after a compaction."""

        def store_of(folder: str, named: str) -> Store:
            store = Store(folder)
            store.prepare()
            for part in written:
                store.append([
                    make_record(i, **({"finished": (e,)} if outcome == "finished" else {outcome: e}), stopped_by=by)
                    for i, e, outcome, by in part
                    if outcome != "stopped" or by in named
                ])  # fmt: skip
            return store

        with tempfile.TemporaryDirectory() as folder:
            stores = {named: store_of(f"{folder}/{named}", named) for named in ("x", "y", "xy")}
            for _ in range(2):
                done = {named: store.done() for named, store in stores.items()}
                for by in "xy":
                    for i in "abc":
                        for epoch in range(5):
                            assert done["xy"].outcome(i, epoch, by) == done[by].outcome(i, epoch, by)
                compact(stores["xy"])

    def test_a_sweep_stays_stopped_after_another_one_has_stopped_its_training_later(self, tmp_path, make_record):
        store = Store(tmp_path)
        store.prepare()
        store.append([make_record("a", (1, 2), stopped=9, stopped_by="x", stopped_after=2)])
        store.append([make_record("a", (1, 2, 3, 4), stopped=9, stopped_by="y", stopped_after=4)])
        for _ in range(2):
            assert [store.done().outcome("a", 9, by) for by in "xyz"] == ["stopped", "stopped", "missing"]
            rows = store.read(["stopped_by", "stopped_after"]).table.to_pylist()
            assert [(row["stopped_by"], row["stopped_after"]) for row in rows if row["epoch"] == 9] == [
                ("x", 2), ("y", 4),
            ]  # fmt: skip
            assert [row["epoch"] for row in store.read().table.to_pylist()] == [1, 2, 3, 4, 9, 9]
            assert [row["epoch"] for row in store.read([]).table.to_pylist()] == [1, 2, 3, 4, 9]
            compact(store)
        store.append([make_record("a", (9,))])
        assert [store.done().outcome("a", 9, by) for by in "xyz"] == ["finished"] * 3
