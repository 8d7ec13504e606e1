"""The properties of a store that memsweep relies on, as a pytest suite for any store location."""

from __future__ import annotations

import pickle
import threading
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memsweep.testing.records import make_record
from pyarrow import fs

from lightning_modules.measures.catalogue import MEASURES
from sweeps.store.compaction import compact
from sweeps.store.records import SCHEMA_VERSION, schema
from sweeps.store.store import Store

DAY = 1_700_000_000_000_000


def files(store: Store) -> list[str]:
    """Return the names of the files under parts/, listed without the store's own code."""
    filesystem, root = filesystem_of(store)
    return sorted(
        info.base_name for info in filesystem.get_file_info(fs.FileSelector(f"{root}/parts", allow_not_found=True))
    )


def filesystem_of(store: Store) -> tuple[fs.FileSystem, str]:
    if store.is_local:
        return fs.LocalFileSystem(), str(store)
    return fs.FileSystem.from_uri(store.uri.raw)


def content_of(store: Store, name: str) -> bytes:
    filesystem, root = filesystem_of(store)
    with filesystem.open_input_stream(f"{root}/parts/{name}") as file:
        return file.read()


def put(store: Store, name: str, content: bytes) -> None:
    filesystem, root = filesystem_of(store)
    with filesystem.open_output_stream(f"{root}/parts/{name}") as file:
        file.write(content)


def hash_name(content: bytes) -> str:
    return f"{blake2b(content, digest_size=10).hexdigest()}.parquet"


def outcomes(store: Store) -> list[tuple[str, int, str]]:
    columns = store.read([]).table.to_pydict()
    return list(zip(columns["trajectory_id"], columns["epoch"], columns["outcome"], strict=True))


def _encode(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


class StoreSuite:
    """Tests that every store location must pass.

    Subclasses define the fixture `uri`, which returns an unused address that contains the word `store`. Addresses with
    another word in place of `store` must be unused as well.
    """

    @pytest.fixture
    def store(self, uri: str) -> Store:
        store = Store(uri)
        store.prepare()
        return store

    def test_a_store_that_is_not_there_is_empty(self, uri: str) -> None:
        store = Store(uri)
        assert store.read().table.equals(schema().empty_table())
        assert store.read().damaged == {}
        assert store.done().rows == frozenset()

    def test_preparing_leaves_nothing_behind_and_may_be_repeated(self, store: Store) -> None:
        store.prepare()
        assert files(store) == []

    def test_what_is_appended_is_read_as_it_was(self, store: Store) -> None:
        records = [
            make_record(
                "b", (1, 2, 30), seed=3, label_noise=0.1, data="digits", wall_seconds=1.5, commit="abc", flops=1e9
            ),
            make_record("a", (1,), diverged=2, width=7, finished_at=DAY),
        ]
        name = store.append(records)
        assert files(store) == [name]
        contents = store.read()
        assert contents.damaged == {}
        assert contents.table.schema.equals(schema())
        read = contents.table.to_pylist()
        assert [(row["trajectory_id"], row["epoch"]) for row in read] == [
            ("a", 1),
            ("a", 2),
            ("b", 1),
            ("b", 2),
            ("b", 30),
        ]
        by_key = {(row["trajectory_id"], row["epoch"]): row for row in read}
        for record in records:
            for row in record.rows:
                stored = by_key[record.trajectory_id, row.epoch]
                assert {name: stored[name] for name in MEASURES} == row.measures
                assert {name: stored[name] for name in vars(record.point)} == vars(record.point)
                assert (stored["outcome"], stored["reason"]) == (row.outcome, row.reason)
                assert stored["parameters"] == 99
        assert by_key["b", 1]["wall_seconds"] == 1.5
        assert by_key["b", 1]["commit"] == "abc"
        assert by_key["a", 1]["finished_at"].timestamp() == DAY / 1e6
        assert by_key["a", 1]["device"] is None

    def test_what_is_done_is_what_was_appended(self, store: Store) -> None:
        store.append([make_record("a", (1, 2)), make_record("b", (1,), diverged=3), make_record("c", failed=8)])
        done = store.done()
        assert done.rows == {("a", 1), ("a", 2), ("b", 1)}
        assert (done.diverged, done.failed) == ({"b": 3}, {"c": 8})

    def test_chosen_columns_come_with_their_keys(self, store: Store) -> None:
        store.append([make_record("a", (1,), seed=4)])
        table = store.read(["seed", "test_loss", "seed", "epoch"]).table
        assert table.column_names == ["trajectory_id", "epoch", "outcome", "seed", "test_loss"]
        assert table["seed"].to_pylist() == [4]

    def test_appending_again_changes_nothing(self, store: Store) -> None:
        records = [make_record("a", (1, 2)), make_record("b", (1,))]
        before = store.append(records), store.read().table
        assert store.append(records) == before[0]
        assert files(store) == [before[0]]
        assert store.read().table.equals(before[1])

    def test_the_same_training_from_two_runs_is_one_result(self, store: Store) -> None:
        store.append([make_record("a", (1, 2), wall_seconds=1.0), make_record("b", (1,), wall_seconds=1.0)])
        store.append([make_record("a", (1, 2), wall_seconds=2.0)])
        table = store.read().table
        assert outcomes(store) == [("a", 1, "finished"), ("a", 2, "finished"), ("b", 1, "finished")]
        assert len(set(table.filter(pa.compute.equal(table["trajectory_id"], "a"))["wall_seconds"].to_pylist())) == 1

    def test_racing_writers_leave_one_result(self, store: Store) -> None:
        records = [make_record("a", (1, 2)), make_record("b", (5,))]
        start, names = threading.Barrier(4), []

        def write(extra: int) -> None:
            copy = pickle.loads(pickle.dumps(store))
            start.wait()
            names.append(copy.append(records))
            copy.append([*records, make_record(f"own {extra}", (1,))])

        threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(names)) == 1
        assert len(files(store)) == 5
        assert store.read().damaged == {}
        assert outcomes(store) == [
            ("a", 1, "finished"), ("a", 2, "finished"), ("b", 5, "finished"),
            *((f"own {i}", 1, "finished") for i in range(4)),
        ]  # fmt: skip

    def test_finished_wins_over_diverged_over_stopped_over_failed(self, uri: str) -> None:
        best_first: list[dict[str, Any]] = [{"finished": (4,)}, {"diverged": 4}, {"stopped": 4}, {"failed": 4}]
        for name, order in (("worst first", best_first[::-1]), ("best first", best_first)):
            store = Store(uri.replace("store", name.replace(" ", "-")))
            store.prepare()
            seen = []
            for kind in order:
                store.append([make_record("a", **kind)])
                seen += outcomes(store)
            expected = ["failed", "stopped", "diverged", "finished"] if name == "worst first" else ["finished"] * 4
            assert seen == [("a", 4, outcome) for outcome in expected]

    def test_a_truncated_part_is_reported_by_name_and_not_counted(self, store: Store) -> None:
        whole, other = store.append([make_record("a", (1, 2))]), store.append([make_record("b", (1,))])
        content = content_of(store, whole)
        for length in (0, 1, 4, 100, len(content) // 2, len(content) - 1):
            put(store, whole, content[:length])
            contents = store.read()
            assert [path.rpartition("/")[2] for path in contents.damaged] == [whole]
            assert contents.damaged.popitem()[1] == "damaged: its bytes do not hash to its name"
            assert outcomes(store) == [("b", 1, "finished")]
            assert store.done().rows == {("b", 1)}
        put(store, whole, content)
        assert store.read().damaged == {}
        assert whole != other

    def test_foreign_files_are_reported_by_name_and_not_counted(self, store: Store) -> None:
        part = store.append([make_record("a", (1,))])
        own = content_of(store, part)
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"trajectory_id": ["z"], "epoch": [1], "outcome": ["finished"]}), sink)
        foreign = sink.getvalue().to_pybytes()
        text = b"trajectory_id,epoch\nz,1\n"
        strange = {
            "notes.txt": (text, "not a part of memsweep"),
            "table.parquet": (foreign, "not a part of memsweep"),
            "copy.parquet": (own, "not a part of memsweep"),
            hash_name(foreign): (foreign, "a Parquet file, but not one of memsweep's"),
            hash_name(text): (text, "damaged: "),
            f"{'0' * 20}.parquet": (own, "damaged: its bytes do not hash to its name"),
        }
        for name, (content, _) in strange.items():
            put(store, name, content)
        contents = store.read()
        assert {path.rpartition("/")[2] for path in contents.damaged} == set(strange)
        for path, reason in contents.damaged.items():
            assert reason.startswith(strange[path.rpartition("/")[2]][1])
        assert outcomes(store) == [("a", 1, "finished")]

    def test_a_part_of_a_newer_schema_is_reported_and_not_counted(self, store: Store) -> None:
        part = store.append([make_record("a", (1,))])
        table = pq.read_table(pa.BufferReader(content_of(store, part)))
        for version in (SCHEMA_VERSION + 1, "new"):
            content = _encode(table.replace_schema_metadata({"memsweep_schema": str(version)}))
            put(store, hash_name(content), content)
        reasons = sorted(store.read().damaged.values())
        assert reasons == [
            "damaged: invalid literal for int() with base 10: b'new'",
            f"written by a newer memsweep (schema {SCHEMA_VERSION + 1}; this one reads up to {SCHEMA_VERSION})",
        ]
        assert outcomes(store) == [("a", 1, "finished")]

    def test_a_part_from_before_a_field_was_added_has_it_at_its_default(self, store: Store) -> None:
        part = store.append([make_record("a", (1, 2), learning_rate=0.5, momentum=0.1, optimizer="adamw", depth=2)])
        table = pq.read_table(pa.BufferReader(content_of(store, part)))
        content = _encode(table.drop_columns(["momentum", "optimizer", "depth", "test_loss", "commit"]))
        older = Store(store.uri.raw.replace("store", "older"))
        older.prepare()
        put(older, hash_name(content), content)
        contents = older.read()
        assert contents.damaged == {}
        assert contents.table.schema.equals(schema())
        (first, second) = contents.table.to_pylist()
        assert {name: first[name] for name in ("momentum", "optimizer", "depth", "learning_rate")} == {
            "momentum": 0.9, "optimizer": "sgd", "depth": None, "learning_rate": 0.5,
        }  # fmt: skip
        assert (second["test_loss"], second["commit"]) == (None, None)
        assert older.read(["optimizer"]).table["optimizer"].to_pylist() == ["sgd", "sgd"]

    def test_what_a_killed_writer_left_is_passed_over(self, store: Store) -> None:
        store.append([make_record("a", (1,))])
        put(store, ".0123.tmp", b"half a par")
        put(store, ".probe-0123", b"memsweep")
        assert store.read().damaged == {}
        assert outcomes(store) == [("a", 1, "finished")]

    def test_a_pickled_store_is_the_same_store(self, store: Store) -> None:
        store.append([make_record("a", (1,))])
        copy = pickle.loads(pickle.dumps(store))
        assert outcomes(copy) == [("a", 1, "finished")]
        copy.append([make_record("b", (1,))])
        assert outcomes(store) == [("a", 1, "finished"), ("b", 1, "finished")]

    def test_many_parts_are_read_as_one_table(self, store: Store) -> None:
        for i in range(20):
            store.append([make_record(f"{19 - i:02}", (1, 2), data="digits" if i % 2 else "clusters")])
        table = store.read(["data"]).table
        assert table["trajectory_id"].to_pylist() == [f"{i:02}" for i in range(20) for _ in (1, 2)]
        assert table["data"].to_pylist() == [name for i in range(20) for name in [["digits", "clusters"][i % 2]] * 2]

    def test_objects_are_written_whole_read_listed_and_deleted(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sweeps.store.atomic_files.CHUNK", 1000)
        objects = store.location
        assert objects.read("checkpoints/a.pt") is None
        assert objects.list("checkpoints") == []
        for content in (b"first", b"", bytes(range(256)) * 13):
            objects.write("checkpoints/a.pt", content)
            assert objects.read("checkpoints/a.pt") == content
        objects.write("checkpoints/b.pt", b"b")
        assert [(info.base_name, info.size) for info in objects.list("checkpoints")] == [("a.pt", 3328), ("b.pt", 1)]
        for _ in range(2):
            objects.delete("checkpoints/a.pt")
            assert objects.read("checkpoints/a.pt") is None
        assert [info.base_name for info in objects.list("checkpoints")] == ["b.pt"]

    def test_compaction_leaves_what_is_read_as_it_was(self, store: Store) -> None:
        for i in range(6):
            store.append(
                [make_record(f"{i}", (1, 2), wall_seconds=float(i)), make_record("again", (1,), wall_seconds=i / 7)]
            )
        put(store, "notes.txt", b"not mine")
        before = store.read()
        done = compact(store)
        assert (done.parts_before, done.parts_after) == (6, 1)
        assert [path.rpartition("/")[2] for path in done.left_alone] == ["notes.txt"]
        assert len(files(store)) == 2
        assert store.read() == before
        store.append([make_record("later", (1,))])
        assert compact(store).parts_after == 1
        assert store.read().table.filter(pa.compute.field("trajectory_id") != "later").equals(before.table)
        assert content_of(store, "notes.txt") == b"not mine"

    def test_two_compactions_and_a_writer_at_once(self, store: Store) -> None:
        for i in range(8):
            store.append([make_record(f"{i}", (1,))])

        def write() -> None:
            for i in range(8, 14):
                pickle.loads(pickle.dumps(store)).append([make_record(f"{i:x}", (1,))])

        threads = [
            threading.Thread(target=run) for run in (write, lambda: compact(store), lambda: compact(Store(store.uri)))
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert {i for i, _, _ in outcomes(store)} >= set("01234567")
        for thread in threads:
            thread.join()
        assert store.read().damaged == {}
        assert outcomes(store) == [(f"{i:x}", 1, "finished") for i in range(14)]
