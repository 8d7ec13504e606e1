"""Deduplication of rows that are stored in several parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lightning_modules.measures.catalogue import COLUMNS_ON_DEMAND
from sweeps.store.done import STOPPED_BY
from sweeps.store.records import Outcome, example_schema, plain_type

KEY = ("trajectory_id", "epoch")

LATEST = ("finished_at", "wall_seconds")
"""Columns that select the latest of several rows with the same training, epoch and outcome."""


def deduplicate(table: pa.Table, columns: Sequence[str] | None = None, ordered: bool = True) -> pa.Table:
    """Keep one row per training and epoch: the best outcome first (see `Outcome`), then the latest row.

    If the best outcome is `stopped` and the table has the column stopped_by, one row is kept per value of stopped_by,
    since a training that was stopped under other settings of early stopping is still stopped under the first.

    If a training was repeated for another on-demand measure, its new row lacks the first measure, so the
    on-demand measures of all rows are merged. Deduplicating some of the parts first does not change the result.

    Args:
        table: rows with the columns of KEY and LATEST, and `outcome`.
        columns: the columns of the result; all by default.
        ordered: whether to sort by id and epoch. If False, a table without duplicates keeps its order.
    """
    columns = table.column_names if columns is None else columns
    if not ordered:
        ids = _ids(table)
        key = np.sort(_key(ids.indices.to_numpy(), table))
        if not (key[1:] == key[:-1]).any():
            return table.select(columns).combine_chunks()  # lookups are faster in one chunk
    order, repeats = _order(table)
    if not repeats.any():
        table = table.select(columns)
        return table if order is None else table.take(order)
    table = table if order is None else table.take(order)
    duplicated = pa.array(repeats | np.append(repeats[1:], False))
    unique, best = table.filter(pc.invert(duplicated)), _resolve_duplicates(table.filter(duplicated))
    table = pa.concat_tables([unique.select(columns), best.select(columns)]).unify_dictionaries()
    order, _ = _order(table)
    return table if order is None else table.take(order)


def _order(table: pa.Table) -> tuple[pa.Array | None, np.ndarray]:
    """Return the indices that sort rows by id and epoch, and a mask of the rows that repeat the previous row's key.

    The indices are None if the rows are already in order. The mask refers to the sorted rows. Ids are sorted as
    integer ranks, which takes 0.1 s for 3 million rows, whereas sorting the rows by text takes 2 s.
    """
    ids = _ids(table)
    rank = np.empty(len(ids.dictionary), np.int64)
    rank[pc.sort_indices(ids.dictionary).to_numpy()] = np.arange(len(rank))
    key, order = _key(rank[ids.indices.to_numpy()], table), None
    if (key[1:] < key[:-1]).any():
        order = np.argsort(key, kind="stable")
        key = key[order]
    repeats = np.append(False, key[1:] == key[:-1])[: len(key)]
    return None if order is None else pa.array(order), repeats


def _ids(table: pa.Table) -> pa.DictionaryArray:
    return table["trajectory_id"].dictionary_encode().combine_chunks()


def _key(trainings: np.ndarray, table: pa.Table) -> np.ndarray:
    """Return one integer per row. Sorting by this integer is the same as sorting by (training, epoch)."""
    return trainings.astype(np.int64) << 32 | table["epoch"].to_numpy()


def _resolve_duplicates(table: pa.Table) -> pa.Table:
    """Keep one row per (training, epoch): best outcome first, then the latest. See `deduplicate` for `stopped`."""
    schema = table.schema
    for name in ("trajectory_id", "outcome"):  # pyarrow cannot group by dictionary columns
        table = table.set_column(schema.get_field_index(name), name, table[name].cast(pa.string()))
    rank = pc.index_in(table["outcome"], pa.array([*Outcome], pa.string()))
    by = table[STOPPED_BY].cast(pa.string()) if STOPPED_BY in table.column_names else pa.scalar("")
    by = pc.if_else(pc.equal(table["outcome"], Outcome.STOPPED), pc.fill_null(by, ""), "")
    order = [(name, "ascending") for name in (*KEY, "_rank", "_by")] + [(name, "descending") for name in LATEST]
    table = table.append_column("_rank", rank).append_column("_by", by).sort_by(order)
    _, repeats = _order(table)
    merged = _on_demand(table)
    group = np.cumsum(~repeats) - 1
    rank, by = table["_rank"].to_numpy(), table["_by"].to_numpy()
    # Only rows with the outcome `stopped` have a text in `_by`, which is sorted within the rows of one rank.
    kept = ~repeats | ((rank == rank[~repeats][group]) & np.append(False, by[1:] != by[:-1]))
    table = table.filter(pa.array(kept))
    for name in merged.column_names:
        values = merged[name].take(pa.array(group[kept]))
        table = table.set_column(table.column_names.index(name), table.schema.field(name), values)
    return table.drop_columns(["_rank", "_by"]).cast(schema)


def _on_demand(table: pa.Table) -> pa.Table:
    """Merge the on-demand measures of all rows per (training, epoch), and sort the result by these two keys."""
    names = [name for name in COLUMNS_ON_DEMAND if name in table.column_names]
    merged = table.select([*KEY, *names]).group_by([*KEY]).aggregate([(name, "max") for name in names])
    merged = merged.sort_by([(name, "ascending") for name in KEY])
    return merged.select([f"{name}_max" for name in names]).rename_columns(names)


def deduplicate_examples(table: pa.Table) -> pa.Table:
    """Keep one row per (training, epoch, measure, split, example), sorted by these keys."""
    keys = example_schema().names[:-1]
    plain = pa.schema([(field.name, plain_type(field.type)) for field in example_schema()])  # plain types can be sorted
    unique = table.cast(plain).group_by(keys).aggregate([("value", "max")]).rename_columns(plain.names)
    return unique.sort_by([(key, "ascending") for key in keys]).combine_chunks().cast(example_schema())


def canonical(table: pa.Table) -> pa.Table:
    """Return the rows in a form that depends only on values: one chunk, with dictionaries in order of first use."""
    columns = []
    for column in table.columns:
        kind = column.type
        plain = column.cast(plain_type(kind)).combine_chunks()
        columns.append(plain.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else plain)
    return pa.Table.from_arrays(columns, schema=table.schema)
