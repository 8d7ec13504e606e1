"""Checkpoints of unfinished trainings, stored as one object per training, from which any worker can resume it.

    ROOT/checkpoints/<trajectory id>.pt

The members of a lost cohort resume from their checkpoints under the same or another driver, in either executor, and in
the same or other cohorts. A new checkpoint replaces the old one, and is deleted once the training's rows are stored.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pyarrow import fs

from sweeps.errors import StoreError
from sweeps.store.atomic_files import Location

_log = logging.getLogger(f"memsweep.{__name__}")

FOLDER = "checkpoints"
SUFFIX = ".pt"
HASH_BYTES = 20
PROBE = "probe"
NAMED = 20
AT_ONCE = 16
"""Number of objects to write or delete at once: a remote store takes tens of milliseconds per object."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one store, each stored as a hash followed by its bytes. Every method may raise StoreError."""

    location: Location

    def ids(self) -> set[str]:
        """Return the ids of the trainings that have a checkpoint."""
        names = [info.base_name for info in self.location.list(FOLDER) if info.type == fs.FileType.File]
        return {name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX) and name[0] != "."}

    def read(self, trajectory_id: str) -> bytes | None:
        """Return a training's checkpoint, or None if the checkpoint is missing or damaged."""
        stored = self.location.read(_path(trajectory_id), _is_sound)
        return stored[HASH_BYTES:] if stored is not None and _is_sound(stored) else None

    def check(self) -> None:
        """Check in advance, by writing a test object and reading it back, that the store can hold checkpoints."""
        self.write({PROBE: b""})
        if self.read(PROBE) is None:
            raise StoreError(f"store {self.location}: what is written to {FOLDER}/ cannot be read again")
        self.delete([PROBE])

    def write(self, contents: Mapping[str, bytes]) -> None:
        """Write checkpoints, given as a mapping from training id to bytes. Each is written atomically."""
        objects = {_path(trajectory_id): _hash(content) + content for trajectory_id, content in contents.items()}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(self.location.write, objects.keys(), objects.values()):
                pass

    def delete(self, trajectory_ids: Iterable[str]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(self.location.delete, map(_path, trajectory_ids)):
                pass

    def discard(self, trajectory_ids: Collection[str], problem: str) -> None:
        """Delete checkpoints from which their trainings cannot resume, and log why."""
        ids = sorted(trajectory_ids)
        _log.warning(
            "store %s: checkpoint of %s%s: %s; deleted, and the training begins anew",
            self.location, ", ".join(ids[:NAMED]), f" and {len(ids) - NAMED} more" if ids[NAMED:] else "", problem,
        )  # fmt: skip
        self.delete(trajectory_ids)


def _is_sound(stored: bytes) -> bool:
    return _hash(stored[HASH_BYTES:]) == stored[:HASH_BYTES]


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=HASH_BYTES).digest()


def _path(trajectory_id: str) -> str:
    return f"{FOLDER}/{trajectory_id}{SUFFIX}"
