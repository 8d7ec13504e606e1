"""Checkpoints in a store are whole or absent."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sweeps.store.atomic_files import Location
from sweeps.store.checkpoints import Checkpoints

CONTENT = bytes(range(256)) * 3


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoints:
    return Checkpoints(Location(tmp_path))


def test_they_are_written_read_replaced_and_deleted(kept):
    assert kept.ids() == set()
    assert kept.read("a") is None
    kept.write({"a": CONTENT, "b": b""})
    assert kept.ids() == {"a", "b"}
    assert (kept.read("a"), kept.read("b")) == (CONTENT, b"")
    kept.write({"a": b"later"})
    assert kept.read("a") == b"later"
    kept.delete(["a", "never"])
    assert kept.ids() == {"b"}


def test_what_is_being_written_is_none(kept, tmp_path):
    kept.write({"a": CONTENT})
    (tmp_path / "checkpoints" / ".0123.tmp").write_bytes(b"half")
    assert kept.ids() == {"a"}


def test_a_damaged_one_is_none(kept, tmp_path):
    kept.write({"a": CONTENT})
    path, chance = tmp_path / "checkpoints" / "a.pt", random.Random(0)
    whole = path.read_bytes()
    for _ in range(200):
        place = chance.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << chance.randrange(8)
        for damaged in (bytes(flipped), whole[:place]):
            path.write_bytes(damaged)
            assert kept.read("a") is None
