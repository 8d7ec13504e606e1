"""Compaction merges parts without changing what a reader sees, and leaves alone what it cannot merge."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memsweep import cli
from memsweep.cli import app
from pyarrow import fs
from typer.testing import CliRunner

from lightning_modules.measures.catalogue import MEASURES
from lightning_modules.measures.values import PerExample
from sweeps.errors import StoreError
from sweeps.store.atomic_files import Location
from sweeps.store.checkpoints import Checkpoints
from sweeps.store.compaction import compact
from sweeps.store.parts import encode, name_of
from sweeps.store.records import SCHEMA_VERSION, Record
from sweeps.store.store import Contents, Store
from tests.lightning_modules.training.wrong_checkpoints import good_checkpoint
from tests.sweeps.store.contents import parts, plain, seen


def sizes(store: Store) -> list[int]:
    return sorted(path.stat().st_size for path in (Path(store.uri) / "parts").iterdir())


@pytest.fixture
def filled(store: Store, make_record) -> Store:
    """Fill a store with twelve parts, which contain eight trainings, some of them twice, and one failed training."""
    store.prepare()
    for i in range(12):
        more = [make_record("broken", failed=9, wall_seconds=float(i))] if i % 3 else []
        store.append(
            [make_record(f"{i % 8}", (1, 2), data="digits" if i % 2 else "clusters", wall_seconds=i / 7), *more]
        )
    return store


def per_example(record: Record, *epochs: int) -> Record:
    values = np.array([1.0, np.nan, 0.0])
    return replace(record, examples=tuple((e, PerExample("correct", "train", np.arange(3), values)) for e in epochs))


class TestMerging:
    def test_small_parts_become_one_of_the_same_rows(self, filled):
        before = seen(filled)
        done = compact(filled)
        assert (done.parts_before, done.parts_after, done.left_alone) == (12, 1, {})
        assert done.bytes_before > 5 * done.bytes_after == 5 * sum(sizes(filled))
        assert seen(filled) == before
        (part,) = parts(filled)
        rows = pq.read_table(Path(filled.uri) / "parts" / part)
        assert rows.num_rows == before.table.num_rows, "any reader of Parquet sees each row once"

    def test_again_it_finds_nothing_to_do(self, filled):
        compact(filled)
        with mock.patch.object(Location, "write", side_effect=AssertionError), \
             mock.patch.object(Location, "delete", side_effect=AssertionError):  # fmt: skip
            done = compact(filled)
        assert (done.parts_before, done.parts_after) == (1, 1)

    def test_the_name_depends_on_the_rows_alone(self, filled, tmp_path, make_record):
        compact(filled)
        other = Store(tmp_path / "other")
        other.prepare()
        for row in range(8):
            i = row if row > 3 else row + 8
            other.append([make_record(f"{row}", (1, 2), data="digits" if i % 2 else "clusters", wall_seconds=i / 7)])
        other.append([make_record("broken", failed=9, wall_seconds=11.0)])
        compact(other)
        assert parts(other) == parts(filled)

    def test_only_parts_below_a_size_are_touched(self, filled, make_record):
        large = filled.append([make_record(f"large {i}", range(60)) for i in range(8)])
        before = seen(filled)
        compact(filled, small=max(sizes(filled)))
        assert large in parts(filled)
        assert len(parts(filled)) == 2
        assert seen(filled) == before

    def test_merged_parts_have_a_largest_size(self, filled):
        before, size = seen(filled), max(sizes(filled))
        compact(filled, large=4 * size)
        assert len(parts(filled)) == 3
        assert seen(filled) == before

    def test_memory_has_a_bound(self, filled):
        """Parts are left as they are if no two fit into memory."""
        before = parts(filled)
        compact(filled, memory=1)
        assert parts(filled) == before

    def test_a_part_that_has_the_rows_of_the_others_is_kept(self, store, make_record):
        store.prepare()
        records = [make_record("a", (1, 2)), make_record("b", (1,))]
        whole = store.append(records)
        for record in records:
            store.append([record])
        with mock.patch.object(Location, "write", side_effect=AssertionError):
            compact(store)
        assert parts(store) == {whole}

    def test_of_equal_parts_all_keep_the_same(self, store, make_record):
        """Otherwise two compactions could delete each other's part."""
        store.prepare()
        records = [make_record("a", (1, 2)), make_record("b", (1,))]
        names = {store.append(order) for order in (records, records[::-1])}
        assert len(names) == 2
        compact(store)
        assert parts(store) == {min(names)}

    def test_measures_of_single_examples(self, store, make_record):
        store.prepare()
        for name in "abc":
            store.append([per_example(make_record(name, (1, 2)), 1), per_example(make_record("all", (2,)), 2)])
        before = seen(store), plain(store.read_examples(["a", "b", "c", "all"]))
        assert before[1].table.num_rows == 12
        done = compact(store)
        assert (done.parts_before, done.parts_after) == (6, 2)
        assert (seen(store), plain(store.read_examples(["a", "b", "c", "all"]))) == before

    def test_a_store_that_is_not_there(self, store):
        assert compact(store).parts_before == 0
        assert not Path(store.uri).exists()


class TestWhatIsLeftAlone:
    def test_damaged_foreign_and_newer_files(self, filled, make_record):
        folder = Path(filled.uri) / "parts"
        damaged = filled.append([make_record("damaged", (1,))])
        (folder / damaged).write_bytes((folder / damaged).read_bytes()[:-1])
        (folder / "notes.txt").write_text("mine")
        rows = filled.read().table
        newer = encode(rows.replace_schema_metadata({"memsweep_schema": str(SCHEMA_VERSION + 1)}))
        (folder / name_of(newer)).write_bytes(newer)
        before = seen(filled)
        kept = {name: (folder / name).read_bytes() for name in (damaged, "notes.txt", name_of(newer))}
        done = compact(filled)
        assert done.left_alone == before.damaged == seen(filled).damaged
        assert {path.rpartition("/")[2] for path in done.left_alone} == set(kept)
        assert {name: (folder / name).read_bytes() for name in kept} == kept
        assert len(parts(filled)) == len(kept) + 1
        assert seen(filled) == before

    def test_parts_with_columns_that_we_do_not_know(self, filled):
        rows = filled.read().table.slice(0, 2)
        more = encode(rows.append_column("of_tomorrow", pa.array([1, 2])))
        path = Path(filled.uri) / "parts" / name_of(more)
        path.write_bytes(more)
        assert compact(filled).left_alone == {}
        assert path.read_bytes() == more
        assert len(parts(filled)) == 2

    def test_leftovers_of_killed_writers_go_after_a_day(self, filled):
        old, young = time.time() - 25 * 3600, time.time() - 23 * 3600
        for folder, when, name in (
            ("parts", old, f".{'a' * 32}.tmp"),
            ("parts", young, f".{'b' * 32}.tmp"),
            ("parts", old, f".probe-{'a' * 32}"),
            ("parts", old, ".gitignore"),
            ("checkpoints", old, f".{'a' * 32}.tmp"),
        ):
            path = Path(filled.uri) / folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"half")
            os.utime(path, (when, when))
        assert compact(filled).leftovers == 3
        assert {name for name in parts(filled) if name.startswith(".")} == {f".{'b' * 32}.tmp", ".gitignore"}
        assert parts(filled, "checkpoints") == set()


class TestCheckpoints:
    """Tests of checkpoints of a worker that died after it stored the rows and before it deleted the checkpoints."""

    def left(self, store: Store, epoch: int, days: float, trajectory_id: str = "a") -> Path:
        """Write a checkpoint, `days` old, of a training that reached `epoch` and was evaluated at every epoch."""
        measures = dict.fromkeys(MEASURES, 0.5)
        content = good_checkpoint(epoch=epoch, rows=[(past, measures) for past in range(1, epoch + 1)])
        Checkpoints(store.location).write({trajectory_id: content})
        path = Path(store.uri) / "checkpoints" / f"{trajectory_id}.pt"
        os.utime(path, (time.time() - days * 86400,) * 2)
        return path

    def ago(self, days: float) -> int:
        """Return the time `days` ago in microseconds, as in `finished_at`."""
        return int((time.time() - days * 86400) * 1e6)

    def test_goes_where_the_store_has_all_that_it_reached(self, store, make_record):
        path = self.left(store, 3, days=3)
        store.append([make_record("a", (1, 2, 3, 4), finished_at=self.ago(2))])
        assert compact(store).leftovers == 1
        assert not path.exists()
        assert store.read().table.num_rows == 4

    def test_goes_where_the_training_diverged(self, store, make_record):
        path = self.left(store, 3, days=3)
        store.append([make_record("a", (1,), diverged=2, finished_at=self.ago(2))])
        assert compact(store).leftovers == 1
        assert not path.exists()

    @pytest.mark.parametrize(
        ("reached", "days", "record"),
        [
            (3, 3, {"epochs": (1, 2, 4), "finished_at": 2}),
            (6, 3, {"epochs": (1, 2, 3, 4), "finished_at": 2}),
            (3, 3, {"failed": 9, "finished_at": 2}),
            (3, 3, {"epochs": (1, 2, 3), "failed": 9, "finished_at": 4}),
            (3, 3, {"epochs": (1, 2, 3, 4), "finished_at": 4}),
            (3, 3, {"epochs": (1, 2, 3, 4), "finished_at": None}),
            (3, 0.5, {"epochs": (1, 2, 3, 4), "finished_at": 0.25}),
            (3, 3, {"name": "another", "epochs": (1, 2, 3, 4), "finished_at": 2}),
        ],
        ids=["an epoch is missing", "stopped on the way to a later one", "failed", "failed later", "trained again",
             "no date", "young", "another training"],
    )  # fmt: skip
    def test_stays_while_it_may_be_gone_on_from(self, store, make_record, reached, days, record):
        path = self.left(store, reached, days)
        name, epochs, ended = record.pop("name", "a"), record.pop("epochs", ()), record.pop("finished_at")
        store.append([make_record(name, epochs, finished_at=None if ended is None else self.ago(ended), **record)])
        assert compact(store).leftovers == 0
        assert path.exists()

    @pytest.mark.parametrize("content", [b"no checkpoint", b""])
    def test_one_that_cannot_be_read_stays(self, store, make_record, content):
        path = self.left(store, 3, days=3)
        path.write_bytes(content)
        os.utime(path, (time.time() - 3 * 86400,) * 2)
        store.append([make_record("a", (1, 2, 3, 4), finished_at=self.ago(2))])
        assert compact(store).leftovers == 0
        assert path.exists()


class TestFailures:
    def test_a_merged_part_that_is_not_read_as_written_replaces_nothing(self, filled):
        before, names = seen(filled), parts(filled)
        write = Location.write
        with mock.patch.object(Location, "write", lambda place, path, content: write(place, path, content[:-1])), \
             pytest.raises(StoreError, match=r"parts/[0-9a-f]{20}\.parquet is not read as it was written"):  # fmt: skip
            compact(filled)
        assert names < parts(filled)
        assert seen(filled).table.equals(before.table)

    def test_a_merged_part_that_is_gone_replaces_nothing(self, filled):
        """A merged part disappears if another compaction has already merged it into another part."""
        names = parts(filled)
        with mock.patch.object(Location, "write"):
            compact(filled)
        assert parts(filled) == names

    def test_a_disk_without_room(self, filled):
        before, names = seen(filled), parts(filled)
        full = mock.patch("os.fsync", side_effect=OSError(28, "No space left on device"))
        with full, pytest.raises(StoreError, match=r"cannot be written: .*No space left on device"):
            compact(filled)
        assert parts(filled) == names
        assert seen(filled) == before


class TestReaders:
    """Tests of the worst listings of a store during a compaction, since a listing is not a snapshot."""

    def read_after(self, store: Store, *shown: set[str]) -> Contents:
        """Read a store whose first listings are `shown`, files that exist or existed. Later listings are correct."""
        infos = [[mock.Mock(base_name=name, type=fs.FileType.File) for name in sorted(names)] for names in shown]
        real = Location.list
        with mock.patch.object(Location, "list", lambda place, folder: infos.pop(0) if infos else real(place, folder)):
            return seen(store)

    def test_a_listing_from_the_middle_of_a_compaction(self, filled, make_record):
        large = filled.append([make_record(f"large {i}", range(60)) for i in range(8)])
        expected, before = seen(filled), parts(filled)
        compact(filled, small=max(sizes(filled)))
        after = parts(filled)
        assert before & after == {large}
        assert self.read_after(filled, before) == expected, "all that was listed is gone"
        assert self.read_after(filled, before & after) == expected, "the new part is behind it, the old ones are gone"
        assert self.read_after(filled, set()) == expected
        assert self.read_after(filled, {large, *sorted(before)[:4]}) == expected

    def test_listings_from_the_middle_of_two_compactions(self, filled):
        expected, before = seen(filled), parts(filled)
        compact(filled, large=7 * max(sizes(filled)))
        middle = parts(filled)
        assert len(middle) == 2
        delete, kept = Location.delete, []
        with mock.patch.object(
            Location, "delete", lambda place, path: delete(place, path) if kept else kept.append(path)
        ):
            compact(filled)
        (still_there,) = parts(filled) & middle
        assert self.read_after(filled, set(), {still_there}) == expected, "a merged part is new: others may be gone"
        assert self.read_after(filled, before, middle) == expected

    def test_a_store_that_never_holds_still(self, filled):
        infos = [mock.Mock(base_name=f"{i:020x}.parquet", type=fs.FileType.File) for i in range(100)]
        listed = mock.patch.object(Location, "list", side_effect=[[info] for info in infos])
        with listed, mock.patch.object(Location, "read", return_value=None), \
             pytest.raises(StoreError, match="changed 20 times while it was read; read it again"):  # fmt: skip
            filled.read()


class TestCommand:
    def test_says_what_it_did(self, filled):
        (Path(filled.uri) / "parts" / "notes.txt").write_text("mine")
        ran = CliRunner().invoke(cli.app, ["compact", "--store", filled.uri])
        assert ran.exit_code == 0, ran.output
        assert ran.stdout.startswith(f"{filled.uri}: 12 parts (0.")
        assert " MB) before, 1 (0." in ran.stdout
        assert f"warning: {filled.uri}/parts/notes.txt: not a part of memsweep; skipped" in ran.stderr

    def test_speaks_to_machines(self, filled):
        ran = CliRunner().invoke(cli.app, ["compact", "--store", filled.uri, "--json"])
        said = json.loads(ran.stdout)
        assert (said["parts_before"], said["parts_after"], said["leftovers"], said["left_alone"]) == (12, 1, 0, {})
        assert said["bytes_after"] == sum(sizes(filled))

    def test_a_place_that_is_none(self, tmp_path):
        (tmp_path / "store").write_text("precious")
        ran = CliRunner().invoke(cli.app, ["compact", "--store", str(tmp_path / "store")])
        assert isinstance(ran.exception, StoreError)
        assert "is a file" in str(ran.exception)


def test_a_run_merges_what_it_leaves_if_that_is_many_parts(tmp_path, monkeypatch):
    sweep = tmp_path / "x.yaml"
    sweep.write_text("name: x\nfixed: {data: digits, model: linear, epochs: 1}\ngrid: {seed: 0..3}\n")
    words = ["run", str(sweep), "--inline", "--max-cohort", "1", "--store"]
    tables = []
    for many, left in ((5, 4), (4, 1)):
        monkeypatch.setattr("sweeps.store.compaction.MANY", many)
        folder = tmp_path / str(many)
        result = CliRunner().invoke(app, [*words, str(folder)])
        assert result.exit_code == 0, result.output
        assert ("store merged: 4 parts" in result.output) == (left == 1)
        assert len([*(folder / "parts").glob("*.parquet")]) == left
        tables.append(Store(folder).read(["test_accuracy", "seed"]).table)
    assert tables[0].equals(tables[1])
    assert tables[0].num_rows == 4
