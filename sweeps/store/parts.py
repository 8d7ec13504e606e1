"""Parts: Parquet files of rows, named by the hash of their bytes.

Parquet's page checksums do not cover headers and the footer, but this hash covers all bytes: a part whose bytes do not
hash to its name is damaged. The hash proves only that a part is what somebody wrote, so `part_checks` also checks what
its columns mean. A part that fails is reported and left as it is, and the rest of the store is read without it. A row
may be in several parts. The choice between copies depends only on the rows.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from lightning_modules.errors import one_line
from lightning_modules.measures.catalogue import ALL_MEASURES
from lightning_modules.settings import DEFAULTS
from sweeps.errors import StoreError
from sweeps.store.atomic_files import Location
from sweeps.store.deduplication import KEY, deduplicate, deduplicate_examples
from sweeps.store.part_checks import problem_of_columns, problem_of_rows
from sweeps.store.records import SCHEMA_VERSION, Outcome, example_schema, schema

_NAME = re.compile(r"[0-9a-f]{20}\.parquet")
_MERGED = b"memsweep_merged"


@dataclass(frozen=True)
class Part:
    """The contents of a part."""

    rows: pa.Table
    merged: bool
    """Whether the part was merged from other parts."""
    whole: bool
    """Whether `rows` has every column of the part."""
    rest: pa.Table | None = None
    """The trajectory_id and epoch of the omitted rows, which are all finished, or None if no rows were omitted."""

    def at_epochs(self, wanted: np.ndarray) -> Part:
        """Omit finished rows whose epochs are not in `wanted` (sorted), except for the last row of each training.

        The remaining rows, about one in thirty for long curves, still show how every training ended.
        """
        ids, outcomes = (self.rows[name].combine_chunks() for name in ("trajectory_id", "outcome"))
        finished = pc.equal(outcomes.dictionary, Outcome.FINISHED).to_numpy(zero_copy_only=False)
        epochs, code = self.rows["epoch"].to_numpy(), ids.indices.to_numpy()
        kept = np.isin(epochs, wanted) | ~finished[outcomes.indices.to_numpy()]
        kept |= np.append(code[1:] != code[:-1], True)[: len(kept)]
        if kept.all():
            return self
        return replace(self, rows=self.rows.filter(pa.array(kept)), rest=self.rows.select(KEY).filter(pa.array(~kept)))


def name_of(content: bytes | pa.Buffer) -> str:
    return f"{hashlib.blake2b(content, digest_size=10).hexdigest()}.parquet"


def encode(table: pa.Table, merged: bool = False) -> bytes:
    if merged:
        table = table.replace_schema_metadata({**table.schema.metadata, _MERGED: b"yes"})
    # Compared with zstd, dictionaries for all columns, and statistics, these settings halve the reading time and reduce
    # the size by a fifth. Measured values rarely repeat, and statistics would take up a third of a small part's footer.
    few_values = [name for name in table.column_names if name not in ALL_MEASURES]
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="lz4", use_dictionary=few_values, write_statistics=False)
    return sink.getvalue().to_pybytes()


def listed(location: Location, folder: str) -> tuple[list[fs.FileInfo], dict[str, str]]:
    """Return the files that are named like parts, and a mapping from every other file's path to why it is not a part.

    Files whose names begin with a dot are in neither: they are being written, or a killed writer left them behind.
    """
    parts, foreign = [], {}
    for info in location.list(folder):
        if info.type == fs.FileType.File and _NAME.fullmatch(info.base_name):
            parts.append(info)
        elif not info.base_name.startswith("."):
            broken = location.is_local and os.path.islink(info.path) and info.type == fs.FileType.Unknown
            foreign[info.path] = "a link to a file that is not there" if broken else "not a part of memsweep"
    return parts, foreign


def load(location: Location, path: str, kept: pa.Schema, condition: pc.Expression | None = None) -> Part | str | None:
    """Load the columns `kept` of a part. Return the reason if the file is not a valid part, and None if it is gone.

    Raises StoreError if a remote store fails, since the part may be intact.
    """
    name = path.rpartition("/")[2]
    try:
        content = location.read(path, lambda content: name_of(content) == name)
    except StoreError as error:
        if not location.is_local:
            raise
        return f"damaged: {error}"
    return None if content is None else _decode(path, content, kept, condition)


def _decode(path: str, content: bytes, kept: pa.Schema, condition: pc.Expression | None) -> Part | str:
    folder, _, name = path.rpartition("/")
    if name_of(content) != name:
        return "damaged: its bytes do not hash to its name"
    try:
        return _checked(content, folder, kept, condition)
    except Exception as error:  # a library may raise anything about bytes that it has not written
        return f"damaged: {one_line(error)}"


def _checked(content: bytes, folder: str, kept: pa.Schema, condition: pc.Expression | None) -> Part | str:
    expected, _, most_rows = KINDS[folder]
    dictionaries = [column.name for column in kept if pa.types.is_dictionary(column.type)]
    with _open(content, dictionaries) as file:
        about, names = file.metadata.metadata or {}, file.schema_arrow.names
        version = about.get(b"memsweep_schema")
        if version is None:
            return "a Parquet file, but not one of memsweep's"
        if int(version) > SCHEMA_VERSION:
            return f"written by a newer memsweep (schema {int(version)}; this one reads up to {SCHEMA_VERSION})"
        if int(version) < 1:
            return f"damaged: its schema is {int(version)}; valid: 1 to {SCHEMA_VERSION}"
        if file.metadata.num_rows > most_rows:
            return f"damaged: it declares {file.metadata.num_rows:,} rows; valid: up to {most_rows:,}"
        if problem := problem_of_columns(file.schema_arrow, expected()):
            return f"damaged: {problem}"
        # Do not use threads, since several parts are already read at once.
        table = file.read([name for name in kept.names if name in names], use_threads=False)
    for column in kept:
        if column.name not in names:  # the field was added later: these rows were trained at its default
            table = table.append_column(column, _default_column(column, table.num_rows))
    rows = table.select(kept.names)
    if problem := problem_of_rows(rows, kept):
        return f"damaged: {problem}"
    if not rows.schema.equals(kept):
        rows = rows.cast(kept)
    if condition is not None:
        rows = rows.filter(condition)
    return Part(rows, _MERGED in about, set(names) <= set(kept.names))


def _open(content: bytes, dictionaries: list[str]) -> pq.ParquetFile:
    """Open a Parquet file whose columns `dictionaries` are read as stored, without building dictionaries again."""
    try:
        return pq.ParquetFile(pa.BufferReader(content), read_dictionary=dictionaries)
    except KeyError:  # the file lacks one of the columns
        return pq.ParquetFile(pa.BufferReader(content))


def _default_column(column: pa.Field, rows: int) -> pa.Array:
    kind, value = column.type, DEFAULTS.get(column.name)
    if pa.types.is_dictionary(kind):
        return pa.array([value] * rows, kind.value_type).dictionary_encode().cast(kind)
    return pa.array([value] * rows, kind)


PARTS, EXAMPLES = "parts", "examples"
KINDS: dict[str, tuple[Callable[[], pa.Schema], Callable[[pa.Table], pa.Table], int]] = {
    PARTS: (schema, deduplicate, 2**24),
    EXAMPLES: (example_schema, deduplicate_examples, 2**30),
}
"""folder -> (the columns of its parts, the function that deduplicates their rows, the most rows of one part).

A few bytes of Parquet can declare any number of equal rows. No cohort fits into memory that writes so many."""
