"""The store: append-only Parquet parts in a folder or a bucket. Every path in a store is made here.

    ROOT/parts/<hash of its bytes>.parquet       a row a training and evaluated epoch
    ROOT/examples/<hash of its bytes>.parquet    a row an example, where a sweep asks for measures of single examples

A part is written whole or not at all. What is done is read from the parts alone; a file that is damaged or foreign is
reported by name and never counted. Stores are shared: two sweeps with a training in common find it under one id, and
any number of processes may append, read and compact at once.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sweeps.errors import StoreError
from sweeps.store.atomic_files import Location
from sweeps.store.deduplication import KEY, LATEST, deduplicate, deduplicate_examples
from sweeps.store.done import MARKS, STOPPED_BY, Done, Pairs
from sweeps.store.parts import EXAMPLES, PARTS, Part, encode, listed, load, name_of
from sweeps.store.records import Outcome, Record, example_schema, examples_of, schema, table_of

READERS = 16
ROUNDS = 20


@dataclass(frozen=True)
class Contents:
    """What a store holds: one row per (trajectory, epoch), and the files that could not be read, with why."""

    table: pa.Table
    damaged: dict[str, str]

    @cached_property
    def trajectories(self) -> pa.DictionaryArray:
        """Each row's trajectory_id by number: who looks for some of millions of rows compares texts but once each."""
        return self.table["trajectory_id"].cast(pa.string()).dictionary_encode().combine_chunks()


class Store:
    """A folder or a URI (`s3://bucket/path?endpoint_override=...`, `gs://...`). Cheap to make and to pickle.

    A relative folder is taken from where the driver runs, also by workers that run elsewhere.
    """

    def __init__(self, uri: str | Path) -> None:
        self.uri = str(uri)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return Store, (self.location.root if self.is_local else self.uri,)

    @cached_property
    def location(self) -> Location:
        return Location(self.uri)

    @property
    def is_local(self) -> bool:
        return self.location.is_local

    def prepare(self) -> None:
        """Make the store if it is not there, and find out now, not after the training, that it cannot be written."""
        self.location.prepare(PARTS)

    def append(self, records: Sequence[Record]) -> str:
        """Write one part and return its name. The name is a hash of its bytes, so a repetition replaces itself.

        Measures of single examples go into a part of their own, first: what a row says was measured is there.
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
        """All parts, each (trajectory, epoch) once; a finished row wins over a diverged one, that over a stopped one,
        that over a failed one, and of equals the latest.

        epochs: rows of these alone, of each training one at least, and of all that did not finish: everything that says
        how trainings ended, without the rest of their curves. ordered: by id and epoch.
        """
        asked = schema().names if columns is None else [*dict.fromkeys((*KEY, "outcome", *columns))]
        kept = pa.schema(
            [schema().field(name) for name in dict.fromkeys((*asked, *LATEST))], metadata=schema().metadata
        )
        wanted = None if epochs is None else np.array(sorted(epochs), np.int32)
        parts, damaged = self._read(PARTS, _by_number(kept), wanted=wanted)
        plain = pa.schema([kept.field(name) for name in asked], metadata=kept.metadata)
        rows = deduplicate(
            _without_superseded(_united(_by_number(kept), [part.rows for part in parts]), parts), asked, ordered
        )
        return Contents(rows.cast(plain), damaged)

    def read_examples(self, trajectory_ids: Collection[str], measures: Collection[str] | None = None) -> Contents:
        """Measures of single examples of these trajectories: each (trajectory, epoch, measure, split, example) once."""
        condition = pc.field("trajectory_id").isin(pa.array(sorted(trajectory_ids), pa.string()))
        if measures is not None:
            condition &= pc.field("measure").isin(pa.array(sorted(measures), pa.string()))
        parts, damaged = self._read(EXAMPLES, example_schema(), condition)
        return Contents(deduplicate_examples(_united(example_schema(), [part.rows for part in parts])), damaged)

    def done(self) -> Done:
        """What the parts say is finished. Raises StoreError if the store is there but cannot be listed."""
        return Done.of(self.read([*MARKS.values(), STOPPED_BY]).table)

    def _read(
        self,
        folder: str,
        kept: pa.Schema,
        condition: pc.Expression | None = None,
        wanted: np.ndarray | None = None,
    ) -> tuple[list[Part], dict[str, str]]:
        """These columns of all parts in a folder, in the order of their names, and the files that are none.

        A listing is no moment: it can miss a merged part that appears behind it and the parts that vanish ahead of
        it. So what a second listing has more is read too, and another follows as long as a part is gone or a merged
        one is new. A row that is then in two parts counts once.
        """

        def part_of(name: str) -> Part | str | None:
            part = load(self.location, f"{folder}/{name}", kept, condition)
            return part.of_epochs(wanted) if isinstance(part, Part) and wanted is not None else part

        seen: dict[str, Part | str] = {}
        gone: Counter[str] = Counter()
        # Nothing is waited for on a disk: more threads than cores would wait for each other.
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if self.is_local else READERS) as pool:
            for again in range(ROUNDS):
                infos, foreign = listed(self.location, folder)
                new = [info.base_name for info in infos if info.base_name not in seen]
                changed = not again
                for name, part in zip(new, pool.map(part_of, new), strict=True):
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
                raise StoreError(
                    f"store {self.location.shown}: changed {ROUNDS} times while it was read; read it again"
                )
        damaged = {self.location.full(f"{folder}/{name}"): part for name, part in seen.items() if isinstance(part, str)}
        parts = [part for _, part in sorted(seen.items()) if isinstance(part, Part)]
        return parts, dict(sorted({**damaged, **foreign}.items()))


def _united(kept: pa.Schema, tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables([kept.empty_table(), *tables]).unify_dictionaries()


def _without_superseded(table: pa.Table, parts: list[Part]) -> pa.Table:
    """Less the rows that did not finish and of which another part has one that did, among those left out."""
    broken = pc.not_equal(table["outcome"], Outcome.FINISHED)
    rest = [part.rest for part in parts if part.rest is not None]
    if not rest or not pc.any(broken).as_py():
        return table
    ids = table["trajectory_id"].filter(broken).cast(pa.string()).unique()
    others = [each.filter(pc.is_in(each["trajectory_id"].cast(pa.string()), ids)) for each in rest]
    finished = Pairs.of(pa.concat_tables(others).unify_dictionaries())
    if not finished:
        return table
    pairs = zip(table["trajectory_id"].to_pylist(), table["epoch"].to_pylist(), broken.to_pylist(), strict=True)
    return table.filter(pa.array([not (lost and (trajectory, epoch) in finished) for trajectory, epoch, lost in pairs]))


def _by_number(kept: pa.Schema) -> pa.Schema:
    """With dictionaries for the columns that name a few things in many rows: a sixth of the memory, half the time."""
    for name in ("trajectory_id", "outcome"):
        place = kept.get_field_index(name)
        kept = kept.set(place, pa.field(name, pa.dictionary(pa.int32(), pa.string()), nullable=False))
    return kept
