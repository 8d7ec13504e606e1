"""Compaction of a store: small parts are merged into large ones while other processes read, train and compact.

A part is deleted only after another part that contains its rows was written and read back. If the process is killed
before the deletion, duplicate rows remain, which readers remove. Every row is therefore in some part at every moment,
for any number of compactions in any order: merged parts are themselves deleted only in this way, and if several parts
contain the same rows, every process keeps the part whose name sorts first.
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
from sweeps.store.data_records import FOLDER as DATA
from sweeps.store.deduplication import canonical
from sweeps.store.leases import FOLDER as LEASES
from sweeps.store.parts import KINDS, PARTS, encode, listed, load, name_of
from sweeps.store.records import Outcome
from sweeps.store.store import READERS, Store

SMALL = 8 * 2**20
"""Parts of at least this many bytes are left as they are."""
LARGE = 128 * 2**20
"""Maximum total size in bytes of the parts that are merged into one."""
MEMORY = 128 * 2**20
"""Maximum uncompressed bytes of the rows merged into one part. A compaction takes four to six times this memory."""
OLD = datetime.timedelta(days=1)
MANY = 500
"""Number of parts at which a run compacts a store: opening this many takes longer than reading their rows."""


@dataclass
class Compaction:
    """The result of a compaction. Sizes are in bytes and include parts that other processes write meanwhile."""

    parts_before: int = 0
    bytes_before: int = 0
    parts_after: int = 0
    bytes_after: int = 0
    leftovers: int = 0
    """Number of removed files that killed writers and workers had left behind."""
    left_alone: dict[str, str] = field(default_factory=dict)
    """path -> the reason why the file was not merged: it is damaged or not a part."""

    def words(self) -> str:
        text = f"{self.parts_before:,} parts ({self.bytes_before / 1e6:,.1f} MB) before, "
        text += f"{self.parts_after:,} ({self.bytes_after / 1e6:,.1f} MB) after"
        return text + (f"; {self.leftovers:,} leftovers of killed runs removed" if self.leftovers else "")


@dataclass(frozen=True)
class _Source:
    path: str
    size: int
    rows: pa.Table


def compact_if_many(store: Store) -> Compaction | None:
    """Compact a store if it has at least MANY parts, and otherwise return None. Raises StoreError as `compact` does."""
    return compact(store) if len(listed(store.location, PARTS)[0]) >= MANY else None


def compact(store: Store, small: int = SMALL, large: int = LARGE, memory: int = MEMORY) -> Compaction:
    """Merge the parts below `small` bytes, and remove leftovers of killed writers and obsolete checkpoints.

    Leftovers and checkpoints are removed only if they are more than a day old. Damaged files, foreign files, and parts
    with columns that this version of memsweep does not know are kept. If the store cannot be read or written,
    StoreError is raised, and no rows are lost.
    """
    location, done = store.location, Compaction()
    for folder in KINDS:
        before, foreign = listed(location, folder)
        done.left_alone |= foreign
        smaller = [info for info in before if info.size < small]
        for sources in _batches(location, folder, smaller, large, memory, done.left_alone):
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
    done.leftovers = _remove_leftovers(location) + _remove_obsolete_checkpoints(store)
    return done


def _batches(
    location: Location, folder: str, infos: list[fs.FileInfo], large: int, memory: int, left_alone: dict[str, str]
) -> Iterator[list[_Source]]:
    """Yield lists of two or more parts, each as large as the limits on a merged part allow."""
    batch: list[_Source] = []
    for source in _sources(location, folder, infos, left_alone):
        candidates = [*batch, source]
        if sum(s.size for s in candidates) > large or sum(s.rows.nbytes for s in candidates) > memory:
            if len(batch) > 1:
                yield batch
            batch = []
        batch.append(source)
    if len(batch) > 1:
        yield batch


def _sources(
    location: Location, folder: str, infos: list[fs.FileInfo], left_alone: dict[str, str]
) -> Iterator[_Source]:
    """Yield the parts that can be merged. They are read concurrently, at most a few times SMALL bytes in advance."""
    columns = KINDS[folder][0]()
    with ThreadPoolExecutor(READERS) as pool:
        for group in _groups(infos):
            parts = pool.map(lambda info: load(location, f"{folder}/{info.base_name}", columns), group)
            for info, part in zip(group, parts, strict=True):
                if isinstance(part, str):
                    left_alone[info.path] = part
                elif part is not None and part.whole:  # None if another compaction deleted it
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
    """Merge parts, and return the path of a part with all their rows; None if another compaction has deleted it."""
    deduplicate = KINDS[folder][1]

    def merge(tables: list[pa.Table]) -> pa.Table:
        return canonical(deduplicate(pa.concat_tables(tables).unify_dictionaries()))

    rows = merge([source.rows for source in sources])
    for source in sorted(sources, key=lambda source: source.path):
        if source.rows.num_rows >= rows.num_rows and merge([source.rows]).equals(rows):
            return source.path
    content = encode(rows, merged=True)
    name = name_of(content)
    path = f"{folder}/{name}"
    location.write(path, content)
    back = location.read(path, lambda back: name_of(back) == name)
    if back is not None and name_of(back) != name:
        raise StoreError(f"store {location}: {path} is not read as it was written; nothing was deleted for it")
    return None if back is None else path


def _remove_leftovers(location: Location) -> int:
    """Delete old files that killed writers left behind, and return their number. Newer files may still be in use."""
    left = [
        info
        for folder in (*KINDS, CHECKPOINTS, LEASES, DATA)
        for info in location.list(folder)
        if info.type == fs.FileType.File and LEFTOVER.fullmatch(info.base_name)
    ]
    paths = [info.path.removeprefix(f"{location.root}/") for info in _old(location, left)]
    for path in paths:
        location.delete(path)
    return len(paths)


def _old(location: Location, infos: list[fs.FileInfo]) -> list[fs.FileInfo]:
    """Return the files that are more than a day old by the store's clock."""
    if not infos:
        return []
    cutoff = location.now(PARTS) - OLD
    return [info for info in infos if info.mtime < cutoff]


def _remove_obsolete_checkpoints(store: Store) -> int:
    """Delete checkpoints of workers that died after storing their rows, and return the number of these checkpoints.

    A checkpoint is obsolete if it is more than a day old and newer rows show that its training diverged, or finished
    every epoch that the checkpoint reached. A checkpoint is kept if its training was stopped on the way to a later
    epoch or failed and may be retried, or if another version of memsweep or torch wrote the checkpoint.
    """
    kept = [
        info
        for info in store.location.list(CHECKPOINTS)
        if info.type == fs.FileType.File and info.base_name[0] != "." and info.base_name.endswith(SUFFIX)
    ]
    old = {info.base_name.removesuffix(SUFFIX): info.mtime for info in _old(store.location, kept)}
    if not old:
        return 0
    from lightning_modules.training.checkpoint import decode

    table = store.read(["finished_at"]).table
    table = table.filter(pc.is_in(table["trajectory_id"], pa.array(old, pa.string())))
    later: dict[str, dict[int, str]] = {}
    for row in table.to_pylist():
        if row["finished_at"] is not None and row["finished_at"] > old[row["trajectory_id"]]:
            later.setdefault(row["trajectory_id"], {})[row["epoch"]] = row["outcome"]
    checkpoints, obsolete = Checkpoints(store.location), []
    for trajectory_id, outcomes in later.items():
        content = checkpoints.read(trajectory_id)
        checkpoint = None if content is None else decode(content)
        if checkpoint is None:
            continue
        finished = {epoch for epoch, outcome in outcomes.items() if outcome == Outcome.FINISHED}
        reached = checkpoint.epoch <= max(finished, default=-1) and {epoch for epoch, _ in checkpoint.rows} <= finished
        if reached or Outcome.DIVERGED in outcomes.values():
            obsolete.append(trajectory_id)
    checkpoints.delete(obsolete)
    return len(obsolete)
