"""The store: append-only Parquet parts in a folder or a bucket.

    ROOT/parts/<hash of its bytes>.parquet       one row per training and evaluated epoch
    ROOT/examples/<hash of its bytes>.parquet    one row per example, if a sweep requests per-example measures

Parts are written atomically, and only the parts determine which points are done. Damaged and foreign files are
reported by name and never counted. A store can be shared: a training that two sweeps have in common has the same id in
both, and any number of processes may append, read and compact at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lightning_modules.machine_limits import usable_cores
from sweeps.errors import StoreError
from sweeps.store.address import Address
from sweeps.store.atomic_files import Location
from sweeps.store.deduplication import KEY, LATEST, deduplicate, deduplicate_examples
from sweeps.store.done import STOPPED_BY, Done, Pairs, marks
from sweeps.store.parts import EXAMPLES, PARTS, Part, encode, listed, load, name_of
from sweeps.store.records import Outcome, Record, example_schema, examples_of, schema, table_of

READERS = 16
ROUNDS = 20


@dataclass(frozen=True)
class Contents:
    """The contents of a store: one row per (training, epoch), and the files that could not be read."""

    table: pa.Table
    damaged: dict[str, str]
    """path -> the reason why the file could not be read."""

    @cached_property
    def trajectories(self) -> pa.DictionaryArray:
        """The dictionary-encoded trajectory_id column, in which a search compares each distinct id only once."""
        return self.table["trajectory_id"].cast(pa.string()).dictionary_encode().combine_chunks()


class Store:
    """A store in a folder or at a URI (`s3://bucket/path?endpoint_override=...`, `gs://...`).

    A store is cheap to create and to pickle. A relative folder is resolved against the driver's working directory, even
    for workers that run elsewhere.

    Args:
        uri: a folder or a URI.
        must_exist: whether it is an error to read a store that does not exist, and not one without results.
    """

    def __init__(self, uri: str | Path | Address, *, must_exist: bool = False) -> None:
        self.uri = Address(uri)
        self._must_exist = must_exist

    def __str__(self) -> str:
        return str(self.uri)

    def __format__(self, spec: str) -> str:
        return format(self.uri, spec)

    def __repr__(self) -> str:
        return f"Store({str(self)!r})"

    def __reduce__(self) -> tuple[type, tuple[str | Address]]:
        return Store, (self.location.root if self.is_local else self.uri,)

    @cached_property
    def location(self) -> Location:
        return Location(self.uri)

    @property
    def is_local(self) -> bool:
        return self.location.is_local

    def check_exists(self) -> None:
        """Raise StoreError if there is no store, so that a misspelt name does not look like lost results."""
        if not self.location.exists():
            raise StoreError(f"there is no store at {self}; valid: a folder or URI to which `memsweep run` has written")

    def prepare(self) -> None:
        """Create the store if it does not exist, and check that it is writable before any training starts."""
        self.location.prepare(PARTS)

    def append(self, records: Sequence[Record]) -> str:
        """Write one part and return its name, the hash of its bytes. Appending the same records again has no effect.

        Per-example measures are written first, to a separate part, so that every stored row has its measures.
        """
        examples = examples_of(records)
        if examples.num_rows:
            self._append(EXAMPLES, examples)
        return self._append(PARTS, table_of(records))

    def _append(self, folder: str, table: pa.Table) -> str:
        content = encode(table)
        name = name_of(content)
        self.location.write(f"{folder}/{name}", content)
        return name

    def read(
        self, columns: Sequence[str] | None = None, epochs: Collection[int] | None = None, ordered: bool = True
    ) -> Contents:
        """Read all parts, and keep one row per (training, epoch), which `deduplicate` selects.

        If there are no parts, pandas is not imported, which pyarrow does when it converts a value for the first time.

        Args:
            columns: the columns to read besides KEY and `outcome`; all by default.
            epochs: if given, omit finished rows at other epochs, except for one per training to show how it ended.
            ordered: whether to sort by id and epoch.
        """
        names = schema().names if columns is None else [*dict.fromkeys((*KEY, "outcome", *columns))]
        kept = pa.schema(
            [schema().field(name) for name in dict.fromkeys((*names, *LATEST))], metadata=schema().metadata
        )
        wanted = None if epochs is None else np.array(sorted(epochs), np.int32)
        parts, damaged = self._read(PARTS, _with_dictionaries(kept), wanted=wanted)
        plain = pa.schema([kept.field(name) for name in names], metadata=kept.metadata)
        if not parts:
            return Contents(pa.table([pa.nulls(0, field.type) for field in plain], schema=plain), damaged)
        table = _concatenate(_with_dictionaries(kept), [part.rows for part in parts])
        rows = deduplicate(_without_superseded(table, parts), names, ordered)
        return Contents(rows.cast(plain), damaged)

    def read_examples(self, trajectory_ids: Collection[str], measures: Collection[str] | None = None) -> Contents:
        """Read the per-example measures of trainings, with one row per (training, epoch, measure, split, example)."""
        condition = pc.field("trajectory_id").isin(pa.array(sorted(trajectory_ids), pa.string()))
        if measures is not None:
            condition &= pc.field("measure").isin(pa.array(sorted(measures), pa.string()))
        parts, damaged = self._read(EXAMPLES, example_schema(), condition)
        return Contents(deduplicate_examples(_concatenate(example_schema(), [part.rows for part in parts])), damaged)

    def done(self) -> Done:
        """Return the settled points. Raises StoreError if the store exists but cannot be listed."""
        return Done.of(self.read([*marks().values(), STOPPED_BY]).table)

    def _read(
        self,
        folder: str,
        kept: pa.Schema,
        condition: pc.Expression | None = None,
        wanted: np.ndarray | None = None,
    ) -> tuple[list[Part], dict[str, str]]:
        """Return the parts in a folder with the columns `kept`, sorted by name, and why other files were not read.

        A listing is not a snapshot: during a compaction, it can miss both a new merged part and the deleted parts that
        the merged part replaces. The folder is therefore listed again, and new parts are read, until no listed part
        is gone and no new part is a merged one. Rows that were read from two parts are deduplicated later.
        """

        def load_part(name: str) -> Part | str | None:
            part = load(self.location, f"{folder}/{name}", kept, condition)
            return part.at_epochs(wanted) if isinstance(part, Part) and wanted is not None else part

        seen: dict[str, Part | str] = {}
        gone: Counter[str] = Counter()
        # Reads from a disk do not wait, so more threads than cores would only compete.
        with ThreadPoolExecutor(usable_cores() if self.is_local else READERS) as pool:
            for attempt in range(ROUNDS):
                infos, foreign = listed(self.location, folder)
                new = [info.base_name for info in infos if info.base_name not in seen]
                changed = not attempt
                for name, part in zip(new, pool.map(load_part, new), strict=True):
                    if part is not None:
                        seen[name] = part
                        changed |= isinstance(part, Part) and part.merged
                        continue
                    gone[name] += 1
                    changed = True
                    if gone[name] == 3:
                        seen[name] = "damaged: listed, but not there"
                if not changed:
                    break
            else:
                raise StoreError(f"store {self}: changed {ROUNDS} times while it was read; read it again")
        if not seen and self._must_exist:
            self.check_exists()
        damaged = {self.location.full(f"{folder}/{name}"): part for name, part in seen.items() if isinstance(part, str)}
        parts = [part for _, part in sorted(seen.items()) if isinstance(part, Part)]
        return parts, dict(sorted({**damaged, **foreign}.items()))


def _concatenate(kept: pa.Schema, tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables([kept.empty_table(), *tables]).unify_dictionaries()


def _without_superseded(table: pa.Table, parts: list[Part]) -> pa.Table:
    """Drop every unfinished row for which another part has a finished row that `at_epochs` omitted."""
    broken = pc.not_equal(table["outcome"], Outcome.FINISHED)
    rest = [part.rest for part in parts if part.rest is not None]
    if not rest or not pc.any(broken).as_py():
        return table
    ids = table["trajectory_id"].filter(broken).cast(pa.string()).unique()
    others = [keys.filter(pc.is_in(keys["trajectory_id"].cast(pa.string()), ids)) for keys in rest]
    finished = Pairs.of(pa.concat_tables(others).unify_dictionaries())
    if not finished:
        return table
    pairs = zip(table["trajectory_id"].to_pylist(), table["epoch"].to_pylist(), broken.to_pylist(), strict=True)
    return table.filter(pa.array([not (lost and (trajectory, epoch) in finished) for trajectory, epoch, lost in pairs]))


def _with_dictionaries(kept: pa.Schema) -> pa.Schema:
    """Dictionary-encode the columns that have few distinct values, for a sixth of the memory and half the time."""
    for name in ("trajectory_id", "outcome"):
        index = kept.get_field_index(name)
        kept = kept.set(index, pa.field(name, pa.dictionary(pa.int32(), pa.string()), nullable=False))
    return kept
