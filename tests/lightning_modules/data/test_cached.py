"""Tests of the data sets in the cache folder: the same bits, no damaged file, and no more bytes than the limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.data import cached, sources
from lightning_modules.data.cached import ARRAYS, HEADER, through_cache
from lightning_modules.data.dataset import Dataset


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEMSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def made(seed: int = 0, count: int = 7, shape: tuple[int, ...] = (1, 5)) -> Dataset:
    draws = np.random.default_rng(seed)
    labels = np.arange(count + 3) % 3
    inputs = draws.normal(size=(count + 3, *shape))
    return Dataset.of(inputs[:count], labels[:count], inputs[count:], labels[count:], classes=3)


def unexpected() -> Dataset:
    raise AssertionError("was built again")


def kept(recipe: str, build=unexpected) -> Dataset:
    return through_cache(lambda: recipe, build)


def same(one: Dataset, other: Dataset) -> bool:
    arrays = [(getattr(one, name), getattr(other, name)) for name in ARRAYS]
    return one.classes == other.classes and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in arrays
    )


@given(seed=st.integers(0, 99), count=st.integers(3, 20), shape=st.sampled_from([(3,), (2, 5), (3, 2, 2)]))
def test_a_kept_data_set_has_the_bits_of_the_one_that_was_built(seed, count, shape):
    recipe, data = f"{seed} {count} {shape}", made(seed, count, shape)
    kept(recipe, lambda: data)
    mapped = kept(recipe)
    assert same(mapped, data)
    assert mapped.digest() == data.digest()
    assert all(getattr(mapped, name).ctypes.data % 64 == 0 for name in ARRAYS)


def test_another_recipe_is_another_data_set(folder):
    kept("one", made)
    kept("two", partial(made, 1))
    assert same(kept("one"), made(0))
    assert same(kept("two"), made(1))
    assert len([*folder.iterdir()]) == 2


def test_a_recipe_that_changes_meanwhile_is_not_kept(folder):
    texts = iter(["before", "after", "before"])
    through_cache(lambda: next(texts), made)
    assert not folder.exists()
    with pytest.raises(AssertionError, match="built again"):
        kept("before")


def damaged(content: bytes, how: str) -> bytes:
    head = json.loads(content[:HEADER])
    return {
        "empty": b"",
        "short": content[:-1],
        "header alone": content[:HEADER],
        "long": content + b"x",
        "a changed byte": content[:-100] + bytes([content[-100] ^ 1]) + content[-99:],
        "no header": os.urandom(len(content)),
        "another version": json.dumps({**head, "version": 0}).encode().ljust(HEADER) + content[HEADER:],
        "no classes": json.dumps({**head, "classes": None} | {"arrays": []}).encode().ljust(HEADER) + content[HEADER:],
        "not an object": b"[]".ljust(HEADER) + content[HEADER:],
    }[how]


@pytest.mark.parametrize(
    "how",
    ["empty", "short", "header alone", "long", "a changed byte", "no header", "another version", "no classes",
     "not an object"],
)  # fmt: skip
def test_a_damaged_file_is_made_again(folder, how):
    kept("one", made)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damaged(whole, how))
    assert same(kept("one", made), made())
    assert path.read_bytes() == whole
    assert same(kept("one"), made())


def test_a_folder_that_cannot_be_used_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEMSWEEP_CACHE", str(tmp_path / "file"))
    assert same(kept("one", made), made())


def test_writing_to_an_array_changes_it_for_nobody_else(folder):
    kept("one", made)
    kept("one").train_inputs[:] = 0
    assert same(kept("one"), made())
    torch.from_numpy(kept("one").train_inputs)  # warns if the array is read-only


def test_the_longest_unused_files_are_deleted_beyond_the_limit(folder, monkeypatch):
    kept("one", made)
    size = next(folder.iterdir()).stat().st_size
    monkeypatch.setattr(cached, "LIMIT", 3 * size)
    mapped = kept("one")
    for at, recipe in enumerate(("two", "three")):
        kept(recipe, made)
        os.utime(max(folder.iterdir(), key=lambda path: path.stat().st_mtime), (at + 1, at + 1))
    kept("one")
    kept("four", made)
    for recipe in ("one", "three", "four"):
        assert same(kept(recipe), made())
    with pytest.raises(AssertionError, match="built again"):
        kept("two")
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 3 * size
    assert same(mapped, made())


def test_a_data_set_of_more_than_half_the_limit_is_not_kept(folder, monkeypatch):
    monkeypatch.setattr(cached, "LIMIT", 300)
    assert same(kept("one", made), made())
    assert not folder.exists()


WORKER = """
import os, sys
from pathlib import Path
import numpy as np
from lightning_modules.data.cached import through_cache
from lightning_modules.data.dataset import Dataset

inputs, labels = np.arange(40_000.0).reshape(1000, 40), np.arange(1000) % 10
data = Dataset.of(inputs, labels, inputs, labels)
for turn in range(60):
    assert through_cache(lambda: "shared", lambda: data).digest() == data.digest()
    if turn % 7 == int(sys.argv[1]):
        for path in Path(os.environ["MEMSWEEP_CACHE"], "data").glob("[!.]*"):
            path.unlink(missing_ok=True)
"""


def test_processes_may_read_write_and_delete_at_once(folder):
    processes = [subprocess.Popen([sys.executable, "-c", WORKER, str(index)]) for index in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len([*folder.iterdir()]) <= 1


def test_parquet_is_read_again_when_its_bytes_change(tmp_path, folder):
    path = tmp_path / "data.parquet"
    for value in (1.0, 2.0, 1.0):
        columns = {"features": [[value, 0.0]] * 4, "label": [0, 1, 0, 1], "split": ["train", "train", "test", "test"]}
        pq.write_table(pa.table(columns), path)
        assert sources.load(f"parquet:{path}").train_inputs[0, 0] == value
    assert len([*folder.iterdir()]) == 2


@pytest.mark.slow
def test_digits_come_from_the_file_without_scikit_learn():
    code = (
        "import sys; from lightning_modules.data import sources; data = sources.load('digits');"
        "print(data.digest(), 'sklearn' in sys.modules)"
    )
    said = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() for _ in "12"]
    assert said[0] == [sources.BUILT_IN["digits"].load().digest(), "True"]
    assert said[1] == [said[0][0], "False"]
