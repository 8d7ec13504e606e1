"""Small parts merged into large ones, while others read, train and compact.

A part is deleted only when another is there, read back, that holds its rows; whoever is killed in between leaves rows
twice, and rows count once. So at every moment every row is in some part, in any order of any number of compactions:
a merged part may itself be merged and deleted only in that way, and of parts that hold the same rows everyone keeps
the one whose name comes first.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from sweeps.errors import StoreError
from sweeps.store.atomic_files import LEFTOVER, Location
from sweeps.store.checkpoints import FOLDER as CHECKPOINTS
from sweeps.store.checkpoints import SUFFIX, Checkpoints
from sweeps.store.deduplication import canonical
from sweeps.store.leases import FOLDER as LEASES
from sweeps.store.parts import KINDS, PARTS, encode, listed, load, name_of
from sweeps.store.records import Outcome
from sweeps.store.store import READERS, Store

SMALL = 8 * 2**20
"""Bytes of a part from which on it is left as it is."""
LARGE = 128 * 2**20
"""Bytes of the parts that become one, at most."""
MEMORY = 128 * 2**20
"""Bytes of their rows, uncompressed, at most; a compaction takes four to six times as much."""
OLD = datetime.timedelta(days=1)
MANY = 500
"""Parts from which on a run merges what it leaves: opening so many takes longer than reading their rows."""


@dataclass
class Compaction:
    """What a compaction did. Sizes are in bytes; what others write meanwhile counts."""

    parts_before: int = 0
    bytes_before: int = 0
    parts_after: int = 0
    bytes_after: int = 0
    leftovers: int = 0
    """Files of killed writers and workers that were removed."""
    left_alone: dict[str, str] = field(default_factory=dict)
    """Files that are no parts, or damaged, and why."""

    def words(self) -> str:
        said = f"{self.parts_before:,} parts ({self.bytes_before / 1e6:,.1f} MB) before, "
        said += f"{self.parts_after:,} ({self.bytes_after / 1e6:,.1f} MB) after"
        return said + (f"; {self.leftovers:,} leftovers of killed runs removed" if self.leftovers else "")


@dataclass(frozen=True)
class _Source:
    path: str
    size: int
    rows: pa.Table


def compact_if_many(store: Store) -> Compaction | None:
    """Merge the parts of a store that has MANY. Raises StoreError, as `compact` does."""
    return compact(store) if len(listed(store.location, PARTS)[0]) >= MANY else None


def compact(store: Store, small: int = SMALL, large: int = LARGE, memory: int = MEMORY) -> Compaction:
    """Merge the parts below `small` bytes, and remove what killed writers left more than a day ago, and checkpoints
    that their trainings outlived.

    Damaged and foreign files stay, and so do parts with columns that this version of memsweep does not know. Raises
    StoreError, having lost nothing, if the store cannot be read or written.
    """
    location, done = store.location, Compaction()
    for folder in KINDS:
        before, foreign = listed(location, folder)
        done.left_alone |= foreign
        for sources in _batches(
            location, folder, [i for i in before if i.size < small], large, memory, done.left_alone
        ):
            kept = _merge(location, folder, sources)
            if kept is not None:
                for source in sources:
                    if source.path != kept:
                        location.delete(source.path)
        after, _ = listed(location, folder)
        done.parts_before += len(before)
        done.bytes_before += sum(info.size for info in before)
        done.parts_after += len(after)
        done.bytes_after += sum(info.size for info in after)
    done.leftovers = _remove_leftovers(location) + _remove_outlived(store)
    return done


def _batches(
    location: Location, folder: str, infos: list[fs.FileInfo], large: int, memory: int, left_alone: dict[str, str]
) -> Iterator[list[_Source]]:
    """Two or more parts at a time, as many as may become one."""
    batch: list[_Source] = []
    for source in _sources(location, folder, infos, left_alone):
        size, rows = (sum(each) for each in zip(*((s.size, s.rows.nbytes) for s in [*batch, source]), strict=True))
        if size > large or rows > memory:
            if len(batch) > 1:
                yield batch
            batch = []
        batch.append(source)
    if len(batch) > 1:
        yield batch


def _sources(
    location: Location, folder: str, infos: list[fs.FileInfo], left_alone: dict[str, str]
) -> Iterator[_Source]:
    """The parts that can be merged, read many at a time but never more than some SMALL bytes ahead."""
    columns = KINDS[folder][0]()
    with ThreadPoolExecutor(READERS) as pool:
        for group in _groups(infos):
            parts = pool.map(lambda info: load(location, f"{folder}/{info.base_name}", columns), group)
            for info, part in zip(group, parts, strict=True):
                if isinstance(part, str):
                    left_alone[info.path] = part
                elif part is not None and part.whole:  # None: another compaction was faster
                    yield _Source(f"{folder}/{info.base_name}", info.size, part.rows)


def _groups(infos: list[fs.FileInfo]) -> Iterator[list[fs.FileInfo]]:
    group: list[fs.FileInfo] = []
    size = 0
    for info in infos:
        if group and size + info.size > SMALL:
            yield group
            group, size = [], 0
        group.append(info)
        size += info.size
    if group:
        yield group


def _merge(location: Location, folder: str, sources: list[_Source]) -> str | None:
    """The path of a part that holds the rows of all, and that is there; None if another compaction took it already."""
    deduplicate = KINDS[folder][1]

    def settled(tables: list[pa.Table]) -> pa.Table:
        return canonical(deduplicate(pa.concat_tables(tables).unify_dictionaries()))

    rows = settled([source.rows for source in sources])
    for source in sorted(sources, key=lambda source: source.path):
        if source.rows.num_rows >= rows.num_rows and settled([source.rows]).equals(rows):
            return source.path
    content = encode(rows, merged=True)
    name = name_of(content)
    path = f"{folder}/{name}"
    location.write(path, content)
    back = location.read(path, lambda back: name_of(back) == name)
    if back is not None and name_of(back) != name:
        raise StoreError(f"store {location.shown}: {path} is not read as it was written; nothing was deleted for it")
    return None if back is None else path


def _remove_leftovers(location: Location) -> int:
    """Files that killed writers left, counted; younger ones may belong to a writer that lives."""
    oldest = datetime.datetime.now(datetime.UTC) - OLD
    found = [
        f"{folder}/{info.base_name}"
        for folder in (*KINDS, CHECKPOINTS, LEASES)
        for info in location.list(folder)
        if info.type == fs.FileType.File and LEFTOVER.fullmatch(info.base_name) and info.mtime < oldest
    ]
    for path in found:
        location.delete(path)
    return len(found)


def _remove_outlived(store: Store) -> int:
    """Checkpoints of a worker that died after it had stored the rows and before it had deleted them, counted.

    That is one of more than a day ago, of a training that was stored later and ended: that diverged, or that has every
    epoch which the checkpoint reached. One of a training that was stopped on its way to a later epoch, or that failed
    and may be tried again, stays, and so does one of another version of memsweep or torch.
    """
    oldest = datetime.datetime.now(datetime.UTC) - OLD
    old = {
        info.base_name.removesuffix(SUFFIX): info.mtime
        for info in store.location.list(CHECKPOINTS)
        if info.base_name[0] != "." and info.base_name.endswith(SUFFIX) and info.mtime < oldest
    }
    if not old:
        return 0
    from lightning_modules.training.checkpoint import decode

    table = store.read(["finished_at"]).table
    table = table.filter(pc.is_in(table["trajectory_id"], pa.array(old, pa.string())))
    later: dict[str, dict[int, str]] = {}
    for row in table.to_pylist():
        if row["finished_at"] is not None and row["finished_at"] > old[row["trajectory_id"]]:
            later.setdefault(row["trajectory_id"], {})[row["epoch"]] = row["outcome"]
    kept, outlived = Checkpoints(store.location), []
    for trajectory_id, outcomes in later.items():
        content = kept.read(trajectory_id)
        checkpoint = None if content is None else decode(content)
        if checkpoint is None:
            continue
        finished = {epoch for epoch, outcome in outcomes.items() if outcome == Outcome.FINISHED}
        reached = checkpoint.epoch <= max(finished, default=-1) and {epoch for epoch, _ in checkpoint.rows} <= finished
        if reached or Outcome.DIVERGED in outcomes.values():
            outlived.append(trajectory_id)
    kept.delete(outlived)
    return len(outlived)
