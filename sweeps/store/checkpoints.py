"""Checkpoints of unfinished trainings: one object per training, in the store, from which any worker can resume.

    ROOT/checkpoints/<trajectory id>.pt

A lost cohort resumes from them under the same driver or another one, in either executor, in the same cohorts or in
others. A new checkpoint replaces the old one, and it is deleted once the rows of the training are stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sweeps.errors import StoreError
from sweeps.store.atomic_files import Location

FOLDER = "checkpoints"
SUFFIX = ".pt"
HASH_BYTES = 20
PROBE = "probe"
AT_ONCE = 16
"""Number of objects to write or delete at once: a remote store takes tens of milliseconds per object."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one store, as bytes that follow their hash. Every method raises StoreError."""

    location: Location

    def ids(self) -> set[str]:
        """Return the ids of the trainings that have a checkpoint."""
        return {info.base_name.removesuffix(SUFFIX) for info in self.location.list(FOLDER) if info.base_name[0] != "."}

    def read(self, trajectory_id: str) -> bytes | None:
        """Return a checkpoint, or None if there is none or it is damaged."""
        stored = self.location.read(_path(trajectory_id), _is_sound)
        return stored[HASH_BYTES:] if stored is not None and _is_sound(stored) else None

    def check(self) -> None:
        """Check that the store can keep checkpoints, before any is needed."""
        self.write({PROBE: b""})
        if self.read(PROBE) is None:
            raise StoreError(f"store {self.location.shown}: what is written to {FOLDER}/ cannot be read again")
        self.delete([PROBE])

    def write(self, contents: Mapping[str, bytes]) -> None:
        """Write one checkpoint per training id, each whole or not at all."""
        objects = {_path(trajectory_id): _hash(content) + content for trajectory_id, content in contents.items()}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(self.location.write, objects.keys(), objects.values()):
                pass

    def delete(self, trajectory_ids: Iterable[str]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(self.location.delete, map(_path, trajectory_ids)):
                pass


def _is_sound(stored: bytes) -> bool:
    return _hash(stored[HASH_BYTES:]) == stored[:HASH_BYTES]


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=HASH_BYTES).digest()


def _path(trajectory_id: str) -> str:
    return f"{FOLDER}/{trajectory_id}{SUFFIX}"
