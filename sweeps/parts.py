"""A part: rows as the bytes of a Parquet file that is named after them.

Parquet's page checksums leave headers and footer out, so a part is named after all of its bytes: what does not hash to
its name is damaged. Rows may be in several parts; which one is shown depends on the rows alone, not on the parts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from sweeps.errors import StoreError
from sweeps.place import Place, one_line
from sweeps.records import MEASURES, ON_DEMAND, SCHEMA_VERSION, example_schema, plain_type, schema
from sweeps.spec import DEFAULTS

KEY = ("trajectory_id", "epoch")
LATEST = ("finished_at", "wall_seconds")
"""Of two rows of one (trajectory, epoch) and outcome the one written last is shown."""
_BETTER = ("finished", "diverged", "stopped", "failed")
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
        finished = pc.equal(outcomes.dictionary, "finished").to_numpy(zero_copy_only=False)
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


def listed(place: Place, folder: str) -> tuple[list[fs.FileInfo], dict[str, str]]:
    """What is named as a part, and by path why other files are none. What begins with a dot is being written, or was
    left behind by a killed writer: it is neither."""
    parts, foreign = [], {}
    for info in place.list(folder):
        if info.type == fs.FileType.File and _NAME.fullmatch(info.base_name):
            parts.append(info)
        elif not info.base_name.startswith("."):
            foreign[info.path] = "not a part of memsweep"
    return parts, foreign


def load(place: Place, path: str, kept: pa.Schema, condition: pc.Expression | None = None) -> Part | str | None:
    """These columns of a part, or why it is none; None if it is gone. Raises StoreError if a remote store fails: its
    parts are not damaged then."""
    name = path.rpartition("/")[2]
    try:
        content = place.read(path, lambda content: name_of(content) == name)
    except StoreError as error:
        if not place.is_local:
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


def once(table: pa.Table, columns: Sequence[str] | None = None, ordered: bool = True) -> pa.Table:
    """Each (trajectory, epoch) once, in the order of id and epoch: finished before diverged before stopped before
    failed, the latest of these. The table has the columns of KEY and LATEST, and outcome; of its columns these are
    kept, or all. Where that order is not asked for, rows that are there once stay where they are.

    A training that was done again for another measure has a row without the first: measures on demand are united.
    Taken of some of the parts first, it says the same of all of them.
    """
    columns = table.column_names if columns is None else columns
    if not ordered:
        ids = _ids(table)
        key = np.sort(_key(ids.indices.to_numpy(), table))
        if not (key[1:] == key[:-1]).any():
            return table.select(columns).combine_chunks()  # whose rows are looked up faster
    order, again = _order(table)
    if not again.any():
        table = table.select(columns)
        return table if order is None else table.take(order)
    table = table if order is None else table.take(order)
    several = pa.array(again | np.append(again[1:], False))
    alone, best = table.filter(pc.invert(several)), _best(table.filter(several))
    table = pa.concat_tables([alone.select(columns), best.select(columns)]).unify_dictionaries()
    order, _ = _order(table)
    return table if order is None else table.take(order)


def _order(table: pa.Table) -> tuple[pa.Array | None, np.ndarray]:
    """What to take for the order of id and epoch, None where the rows are in it; and for each row of that order whether
    the one before it has the same two.

    By numbers: to sort 3 million rows by their text takes 2 s, and this a tenth of a second.
    """
    ids = _ids(table)
    rank = np.empty(len(ids.dictionary), np.int64)
    rank[pc.sort_indices(ids.dictionary).to_numpy()] = np.arange(len(rank))
    key, order = _key(rank[ids.indices.to_numpy()], table), None
    if (key[1:] < key[:-1]).any():
        order = np.argsort(key, kind="stable")
        key = key[order]
    again = np.append(False, key[1:] == key[:-1])[: len(key)]
    return None if order is None else pa.array(order), again


def _ids(table: pa.Table) -> pa.DictionaryArray:
    return table["trajectory_id"].dictionary_encode().combine_chunks()


def _key(trainings: np.ndarray, table: pa.Table) -> np.ndarray:
    """One number for each (training, epoch), in their order."""
    return trainings.astype(np.int64) << 32 | table["epoch"].to_numpy()


def _best(table: pa.Table) -> pa.Table:
    """Of rows that come several times, each once."""
    schema = table.schema
    for name in ("trajectory_id", "outcome"):  # which may be dictionaries, and those are not grouped by
        table = table.set_column(schema.get_field_index(name), name, table[name].cast(pa.string()))
    rank = pc.index_in(table["outcome"], pa.array(_BETTER))
    order = [("trajectory_id", "ascending"), ("epoch", "ascending"), ("_rank", "ascending")]
    order += [(name, "descending") for name in LATEST]
    table = table.append_column("_rank", rank).sort_by(order)
    _, again = _order(table)
    united = _on_demand(table)
    table = table.filter(pa.array(~again))
    for name in united.column_names:
        table = table.set_column(table.column_names.index(name), table.schema.field(name), united[name])
    return table.drop_columns("_rank").cast(schema)


def _on_demand(table: pa.Table) -> pa.Table:
    """Measures on demand of each (trajectory, epoch), in the order of both: what any of its rows has."""
    names = [name for name in ON_DEMAND if name in table.column_names]
    each = table.select([*KEY, *names]).group_by([*KEY]).aggregate([(name, "max") for name in names])
    each = each.sort_by([(name, "ascending") for name in KEY])
    return each.select([f"{name}_max" for name in names]).rename_columns(names)


def once_examples(table: pa.Table) -> pa.Table:
    """Each (trajectory, epoch, measure, split, example) once, in their order."""
    keys = example_schema().names[:-1]
    plain = pa.schema([(field.name, plain_type(field.type)) for field in example_schema()])  # can be sorted
    each = table.cast(plain).group_by(keys).aggregate([("value", "max")]).rename_columns(plain.names)
    return each.sort_by([(key, "ascending") for key in keys]).combine_chunks().cast(example_schema())


def canonical(table: pa.Table) -> pa.Table:
    """The same rows in the form that depends on nothing else: one chunk, dictionaries in the order of first use."""
    columns = []
    for column in table.columns:
        kind = column.type
        plain = column.cast(plain_type(kind)).combine_chunks()
        columns.append(plain.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else plain)
    return pa.Table.from_arrays(columns, schema=table.schema)


PARTS, EXAMPLES = "parts", "examples"
KINDS: dict[str, tuple[Callable[[], pa.Schema], Callable[[pa.Table], pa.Table]]] = {
    PARTS: (schema, once),
    EXAMPLES: (example_schema, once_examples),
}
"""By folder: the columns of its parts, and each of their rows once."""
