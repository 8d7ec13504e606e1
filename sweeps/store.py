"""The store: append-only Parquet parts on any file system that pyarrow knows. Every path in a store is made here.

    ROOT/parts/<hash of its bytes>.parquet       a row a training and evaluated epoch
    ROOT/examples/<hash of its bytes>.parquet    a row an example, where a sweep asks for measures of single examples

A part is written whole or not at all. What is done is read from the parts alone; a file that is damaged or foreign is
reported by name and never counted: Parquet's page checksums leave headers and footer out, so a part is named after all
of its bytes. Stores are shared: two sweeps with a training in common find it under one id.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from lightning_modules.probes.registry import PROBES
from sweeps.errors import StoreError
from sweeps.records import ON_DEMAND, SCHEMA_VERSION, Record, example_schema, examples_of, plain_type, schema, table_of
from sweeps.spec import DEFAULTS

READERS = 16
_BETTER = {"finished": 0, "diverged": 1, "failed": 2}
KEY = ("trajectory_id", "epoch")
MARKS = {name: next(iter(probe.columns)) for name, probe in PROBES.items()}
"""By measure on demand: its first column, which is never null where it was taken."""
_PART = re.compile(r"[0-9a-f]{20}\.parquet")


@dataclass(frozen=True)
class Done:
    """The set of finished ids: what a plan need not train again."""

    rows: frozenset[tuple[str, int]] = frozenset()
    """(trajectory id, epoch) with measures."""
    diverged: dict[str, int] = field(default_factory=dict)
    """trajectory id -> the epoch it diverged in: every later epoch is settled as well."""
    failed: dict[str, int] = field(default_factory=dict)
    """trajectory id -> the horizon it was to reach: not tried again up to there unless asked."""
    measured: frozenset[tuple[str, int, str]] = frozenset()
    """(trajectory id, epoch, measure on demand) that was taken."""

    @classmethod
    def of(cls, table: pa.Table) -> Done:
        """What rows with the columns trajectory_id, epoch and outcome say; of measures on demand, where the columns
        of MARKS are there too."""
        ids, epochs, outcomes = (table[name].to_pylist() for name in ("trajectory_id", "epoch", "outcome"))
        rows: set[tuple[str, int]] = set()
        diverged: dict[str, int] = {}
        failed: dict[str, int] = {}
        for trajectory_id, epoch, outcome in zip(ids, epochs, outcomes, strict=True):
            if outcome == "finished":
                rows.add((trajectory_id, epoch))
            elif outcome == "diverged":
                diverged[trajectory_id] = min(epoch, diverged.get(trajectory_id, epoch))
            else:
                failed[trajectory_id] = max(epoch, failed.get(trajectory_id, epoch))
        measured: set[tuple[str, int, str]] = set()
        for measure, mark in MARKS.items():
            if mark in table.column_names:
                taken = table.filter(table[mark].is_valid())
                pairs = zip(taken["trajectory_id"].to_pylist(), taken["epoch"].to_pylist(), strict=True)
                measured.update((trajectory_id, epoch, measure) for trajectory_id, epoch in pairs)
        return cls(frozenset(rows), diverged, failed, frozenset(measured))

    def outcome(self, trajectory_id: str, epoch: int) -> str:
        """finished, diverged (in this or an earlier epoch), failed (on the way to it), or missing."""
        if (trajectory_id, epoch) in self.rows:
            return "finished"
        if self.diverged.get(trajectory_id, epoch + 1) <= epoch:
            return "diverged"
        return "failed" if self.failed.get(trajectory_id, -1) >= epoch else "missing"

    def covers(self, trajectory_id: str, epoch: int) -> bool:
        return self.outcome(trajectory_id, epoch) != "missing"

    def without_failed(self) -> Done:
        return Done(self.rows, self.diverged, measured=self.measured)


@dataclass(frozen=True)
class Contents:
    """What a store holds: one row per (trajectory, epoch), and the files that could not be read, with why."""

    table: pa.Table
    damaged: dict[str, str]


class Store:
    """A folder or a URI (`s3://bucket/path?endpoint_override=...`, `gs://...`). Cheap to make and to pickle.

    A relative folder is taken from where the driver runs, also by workers that run elsewhere.
    """

    def __init__(self, uri: str | Path) -> None:
        self.uri = str(uri)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return Store, (self._place[1] if self.is_local else self.uri,)

    @cached_property
    def _place(self) -> tuple[fs.FileSystem, str]:
        if "://" not in self.uri:
            return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(self.uri))
        try:
            filesystem, path = fs.FileSystem.from_uri(self.uri)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise StoreError(f"store {self.uri}: {error}; valid: a folder, s3://BUCKET/PATH or gs://...") from None
        return filesystem, path.rstrip("/")

    @property
    def _parts(self) -> str:
        return f"{self._place[1]}/parts"

    @property
    def _examples(self) -> str:
        return f"{self._place[1]}/examples"

    @property
    def is_local(self) -> bool:
        return isinstance(self._place[0], fs.LocalFileSystem)

    def prepare(self) -> None:
        """Make the store if it is not there, and find out now, not after the training, that it cannot be written."""
        filesystem, _ = self._place
        probe = f"{self._parts}/.probe-{uuid.uuid4().hex}"
        try:
            filesystem.create_dir(self._parts, recursive=True)
            with filesystem.open_output_stream(probe) as stream:
                stream.write(b"memsweep")
            filesystem.delete_file(probe)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"store {self.uri}: cannot be written: {_one_line(error)}") from None

    def append(self, records: Sequence[Record]) -> str:
        """Write one part and return its name. The name is a hash of its bytes, so a repetition replaces itself.

        Measures of single examples go into a part of their own, first: what a row says was measured is there.
        """
        examples = examples_of(records)
        if examples.num_rows:
            self._append(self._examples, examples)
        return self._append(self._parts, table_of(records))

    def _append(self, folder: str, table: pa.Table) -> str:
        content = _parquet(table)
        name = _part_name(content)
        try:
            self._write(f"{folder}/{name}", content)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"store {self.uri}: part {name} cannot be written: {_one_line(error)}") from None
        return name

    def _write(self, path: str, content: pa.Buffer) -> None:
        filesystem, _ = self._place
        if not self.is_local:
            with filesystem.open_output_stream(path) as stream:  # an object appears when the upload is complete
                stream.write(content)
            return
        aside = f"{os.path.dirname(path)}/.{uuid.uuid4().hex}.tmp"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            with open(aside, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        finally:
            if os.path.exists(aside):
                os.remove(aside)

    def read(self, columns: Sequence[str] | None = None) -> Contents:
        """All parts, each (trajectory, epoch) once; a finished row wins over a diverged one, that over a failed one."""
        kept = schema()
        if columns is not None:
            kept = pa.schema([kept.field(name) for name in dict.fromkeys((*KEY, "outcome", *columns))])
        table, damaged = self._read(self._parts, kept)
        return Contents(_once(table), damaged)

    def read_examples(self, trajectory_ids: Collection[str], measures: Collection[str] | None = None) -> Contents:
        """Measures of single examples of these trajectories: each (trajectory, epoch, measure, split, example) once."""
        condition = pc.field("trajectory_id").isin(pa.array(sorted(trajectory_ids), pa.string()))
        if measures is not None:
            condition &= pc.field("measure").isin(pa.array(sorted(measures), pa.string()))
        table, damaged = self._read(self._examples, example_schema(), condition)
        keys = example_schema().names[:-1]
        plain = pa.schema([(field.name, plain_type(field.type)) for field in example_schema()])  # can be sorted
        once = table.cast(plain).group_by(keys).aggregate([("value", "max")]).rename_columns(plain.names)
        return Contents(once.sort_by([(key, "ascending") for key in keys]).cast(example_schema()), damaged)

    def done(self) -> Done:
        """What the parts say is finished. Raises StoreError if the store is there but cannot be listed."""
        return Done.of(self.read([*MARKS.values()]).table)

    def _read(
        self, folder: str, kept: pa.Schema, condition: pc.Expression | None = None
    ) -> tuple[pa.Table, dict[str, str]]:
        """These columns of all parts in a folder, and the files that are none."""
        tables: list[pa.Table] = []
        damaged: dict[str, str] = {}
        paths = self._part_paths(folder, damaged)
        with ThreadPoolExecutor(READERS) as pool:
            read = pool.map(lambda path: self._read_part(path, kept, condition), paths)
            for path, result in zip(paths, read, strict=True):
                if isinstance(result, str):
                    damaged[path] = result
                else:
                    tables.append(result)
        return pa.concat_tables([kept.empty_table(), *tables]).unify_dictionaries(), damaged

    def _part_paths(self, folder: str, damaged: dict[str, str]) -> list[str]:
        filesystem, root = self._place
        if self.is_local and os.path.exists(root) and not os.path.isdir(root):
            raise StoreError(f"store {self.uri}: is a file; valid: a folder, s3://BUCKET/PATH or gs://...")
        try:
            found = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"store {self.uri}: cannot be read: {_one_line(error)}") from None
        paths = []
        for info in sorted(found, key=lambda info: info.path):
            if info.base_name.startswith("."):
                continue  # being written, or left behind by a killed writer
            if info.type == fs.FileType.File and _PART.fullmatch(info.base_name):
                paths.append(info.path)
            else:
                damaged[info.path] = "not a part of memsweep"
        return paths

    def _read_part(self, path: str, kept: pa.Schema, condition: pc.Expression | None) -> pa.Table | str:
        """The part's rows of these columns, or why it is none."""
        filesystem, _ = self._place
        try:
            with filesystem.open_input_file(path) as source:
                content = source.read_buffer()
            if _part_name(content) != os.path.basename(path):
                return "damaged: its bytes do not hash to its name"
            with pq.ParquetFile(pa.BufferReader(content)) as file:
                version = (file.schema_arrow.metadata or {}).get(b"memsweep_schema")
                if version is None:
                    return "a Parquet file, but not one of memsweep's"
                if int(version) > SCHEMA_VERSION:
                    return f"written by a newer memsweep (schema {int(version)}; this one reads up to {SCHEMA_VERSION})"
                held = file.read([name for name in kept.names if name in file.schema_arrow.names])
            for name in kept.names:
                if name not in held.column_names:  # a field added since: its rows were trained at the default
                    held = held.append_column(kept.field(name), _default_column(kept.field(name), held.num_rows))
            held = held.select(kept.names).cast(kept)
            return held if condition is None else held.filter(condition)
        except (OSError, pa.ArrowException, ValueError) as error:
            return f"damaged: {_one_line(error)}"


def _default_column(column: pa.Field, rows: int) -> pa.Array:
    kind, value = column.type, DEFAULTS.get(column.name)
    if pa.types.is_dictionary(kind):
        return pa.array([value] * rows, kind.value_type).dictionary_encode().cast(kind)
    return pa.array([value] * rows, kind)


def _parquet(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _part_name(content: pa.Buffer) -> str:
    return f"{hashlib.blake2b(content, digest_size=10).hexdigest()}.parquet"


def _once(table: pa.Table) -> pa.Table:
    """Each (trajectory, epoch) once, in the order of id and epoch, whatever the parts' order.

    A training that was done again for another measure has a row without the first: measures on demand are united.
    """
    rank = pc.index_in(table["outcome"], pa.array(list(_BETTER)))
    table = table.append_column("_rank", rank).sort_by(
        [("trajectory_id", "ascending"), ("epoch", "ascending"), ("_rank", "ascending")]
    )
    if table.num_rows > 1:
        same = pc.and_(
            pc.equal(table["trajectory_id"].combine_chunks()[1:], table["trajectory_id"].combine_chunks()[:-1]),
            pc.equal(table["epoch"].combine_chunks()[1:], table["epoch"].combine_chunks()[:-1]),
        )
        if pc.any(same).as_py():
            united = _on_demand(table)
            table = table.filter(pa.concat_arrays([pa.array([True]), pc.invert(same)]))
            for name in united.column_names:
                table = table.set_column(table.column_names.index(name), table.schema.field(name), united[name])
    return table.drop_columns("_rank")


def _on_demand(table: pa.Table) -> pa.Table:
    """Measures on demand of each (trajectory, epoch), in the order of both: what any of its rows has."""
    names = [name for name in ON_DEMAND if name in table.column_names]
    each = table.select([*KEY, *names]).group_by([*KEY]).aggregate([(name, "max") for name in names])
    each = each.sort_by([(name, "ascending") for name in KEY])
    return each.select([f"{name}_max" for name in names]).rename_columns(names)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
