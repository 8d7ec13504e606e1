"""A part: rows as the bytes of a Parquet file that is named after them.

Parquet's page checksums leave headers and footer out, so a part is named after all of its bytes: what does not hash to
its name is damaged. Rows may be in several parts; which one is shown depends on the rows alone, not on the parts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from lightning_modules.measures.catalogue import MEASURES, ON_DEMAND
from lightning_modules.settings import DEFAULTS
from sweeps.errors import StoreError
from sweeps.store.atomic_files import Location, one_line
from sweeps.store.deduplication import KEY, deduplicate, deduplicate_examples
from sweeps.store.records import SCHEMA_VERSION, Outcome, example_schema, schema

_NAME = re.compile(r"[0-9a-f]{20}\.parquet")
_MERGED = b"memsweep_merged"
_MEASURED = frozenset((*MEASURES, *ON_DEMAND))


@dataclass(frozen=True)
class Part:
    """What a part holds."""

    rows: pa.Table
    merged: bool
    """It took the place of other parts."""
    whole: bool
    """`rows` are all it holds: it has no column that was not asked for."""
    rest: pa.Table | None = None
    """Where rows were left out, the trajectory_id and epoch of those: all finished."""

    def of_epochs(self, wanted: np.ndarray) -> Part:
        """Without the rows that finished at other epochs than these ascending ones, but for the last of each training:
        a thirtieth of long curves, with every training and all that says how it ended."""
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
    # Read against zstd, dictionaries everywhere and statistics: half the time, with parts of four fifths the size. What
    # was measured repeats itself too seldom for a dictionary, and statistics make a third of a small part's footer.
    few_values = [name for name in table.column_names if name not in _MEASURED]
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="lz4", use_dictionary=few_values, write_statistics=False)
    return sink.getvalue().to_pybytes()


def listed(location: Location, folder: str) -> tuple[list[fs.FileInfo], dict[str, str]]:
    """List the files that are named as parts, and map the path of every other file to why it is no part.

    Names that begin with a dot are in neither: those files are being written, or were left by a killed writer.
    """
    parts, foreign = [], {}
    for info in location.list(folder):
        if info.type == fs.FileType.File and _NAME.fullmatch(info.base_name):
            parts.append(info)
        elif not info.base_name.startswith("."):
            foreign[info.path] = "not a part of memsweep"
    return parts, foreign


def load(location: Location, path: str, kept: pa.Schema, condition: pc.Expression | None = None) -> Part | str | None:
    """These columns of a part, or why it is none; None if it is gone. Raises StoreError if a remote store fails: its
    parts are not damaged then."""
    name = path.rpartition("/")[2]
    try:
        content = location.read(path, lambda content: name_of(content) == name)
    except StoreError as error:
        if not location.is_local:
            raise
        return f"damaged: {error}"
    return None if content is None else _decode(name, content, kept, condition)


def _decode(name: str, content: bytes, kept: pa.Schema, condition: pc.Expression | None) -> Part | str:
    if name_of(content) != name:
        return "damaged: its bytes do not hash to its name"
    numbered = [column.name for column in kept if pa.types.is_dictionary(column.type)]
    try:
        with _opened(content, numbered) as file:
            about, names = file.metadata.metadata or {}, file.schema.names
            version = about.get(b"memsweep_schema")
            if version is None:
                return "a Parquet file, but not one of memsweep's"
            if int(version) > SCHEMA_VERSION:
                return f"written by a newer memsweep (schema {int(version)}; this one reads up to {SCHEMA_VERSION})"
            # No threads of its own: several parts are read at once.
            held = file.read([name for name in kept.names if name in names], use_threads=False)
        for column in kept:
            if column.name not in names:  # a field added since: its rows were trained at the default
                held = held.append_column(column, _default_column(column, held.num_rows))
        rows = held.select(kept.names)
        if not rows.schema.equals(kept):
            rows = rows.cast(kept)
        if condition is not None:
            rows = rows.filter(condition)
        return Part(rows, _MERGED in about, set(names) <= set(kept.names))
    except (OSError, pa.ArrowException, ValueError) as error:
        return f"damaged: {one_line(error)}"


def _opened(content: bytes, numbered: list[str]) -> pq.ParquetFile:
    """With these columns as dictionaries, if it has them: they are so in the file, and need not be made again."""
    try:
        return pq.ParquetFile(pa.BufferReader(content), read_dictionary=numbered)
    except KeyError:  # it lacks one
        return pq.ParquetFile(pa.BufferReader(content))


def _default_column(column: pa.Field, rows: int) -> pa.Array:
    kind, value = column.type, DEFAULTS.get(column.name)
    if pa.types.is_dictionary(kind):
        return pa.array([value] * rows, kind.value_type).dictionary_encode().cast(kind)
    return pa.array([value] * rows, kind)


PARTS, EXAMPLES = "parts", "examples"
KINDS: dict[str, tuple[Callable[[], pa.Schema], Callable[[pa.Table], pa.Table]]] = {
    PARTS: (schema, deduplicate),
    EXAMPLES: (example_schema, deduplicate_examples),
}
"""By folder: the columns of its parts, and each of their rows once."""
