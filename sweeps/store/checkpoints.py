"""Checkpoints of trainings under way: one object a trajectory, in the store, for whoever trains it next.

    ROOT/checkpoints/<trajectory id>.pt

They are what a lost cohort goes on from: under the same driver, under another one, in this executor or the other,
packed as before or not. A new one replaces the old; it is deleted once the training's rows are stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sweeps.errors import StoreError
from sweeps.store.location import Location

FOLDER = "checkpoints"
SUFFIX = ".pt"
HASH_BYTES = 20
PROBE = "probe"
AT_ONCE = 16
"""Objects written or deleted at once: a remote store takes tens of milliseconds for each."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one store, as bytes behind their hash; `lightning_modules.training.checkpoint` defines their
    content. Every method raises StoreError."""

    location: Location

    def ids(self) -> set[str]:
        """The trajectories that have one."""
        return {info.base_name.removesuffix(SUFFIX) for info in self.location.list(FOLDER) if info.base_name[0] != "."}

    def read(self, trajectory_id: str) -> bytes | None:
        """None if there is none, or what there is is damaged."""
        held = self.location.read(_path(trajectory_id), _is_sound)
        return held[HASH_BYTES:] if held is not None and _is_sound(held) else None

    def check(self) -> None:
        """Find out whether checkpoints can be kept here, before any is needed."""
        self.write({PROBE: b""})
        if self.read(PROBE) is None:
            raise StoreError(f"store {self.location.shown}: what is written to {FOLDER}/ cannot be read again")
        self.delete([PROBE])

    def write(self, contents: Mapping[str, bytes]) -> None:
        """By trajectory, each whole or not at all."""
        held = {_path(trajectory_id): _hash(content) + content for trajectory_id, content in contents.items()}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(lambda each: self.location.write(*each), held.items()):
                pass

    def delete(self, trajectory_ids: Iterable[str]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(lambda each: self.location.delete(_path(each)), trajectory_ids):
                pass


def _is_sound(held: bytes) -> bool:
    return _hash(held[HASH_BYTES:]) == held[:HASH_BYTES]


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=HASH_BYTES).digest()


def _path(trajectory_id: str) -> str:
    return f"{FOLDER}/{trajectory_id}{SUFFIX}"
