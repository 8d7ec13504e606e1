"""Data sets kept as files of the cache folder, so that each is generated or decoded once per machine.

Generating mnist1d takes 2 s and importing scikit-learn for the digits 1 s; mapping a file takes a millisecond. A file
is named by the hash of its recipe: everything on which the data depend. Files are replaced whole and never changed, so
that processes may read and write them at once. Their pages are mapped, so that all processes of a machine share a copy.

A file has a header of HEADER bytes, which is JSON padded with spaces, and then the arrays, each at a multiple of
ALIGNED bytes. A file that is damaged or of another version counts as absent.
"""

from __future__ import annotations

import json
import mmap
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lightning_modules.cache import cache_folder, write_to_cache
from lightning_modules.data.dataset import Dataset
from lightning_modules.hashing import hash_of_code, hash_of_text

LIMIT = 2 * 2**30
"""The bytes of all files together. Beyond it, the files that were not used for the longest time are deleted."""

VERSION = 1
HEADER, ALIGNED = 4096, 64
ARRAYS = ("train_inputs", "train_labels", "test_inputs", "test_labels", "train_ids", "test_ids")


def through_cache(recipe: Callable[[], str], build: Callable[[], Dataset]) -> Dataset:
    """Return the data set of a recipe from the cache, or build it and keep it there.

    It is not kept if the recipe has changed in the meantime. Errors of `recipe` and `build` are propagated. A cache
    that cannot be read or written costs time and is no error.
    """
    text = recipe()
    path = cache_folder() / "data" / hash_of_text(f"{text} {hash_of_code(Dataset.of)}")
    dataset = _read(path)
    if dataset is not None:
        return dataset
    dataset = build()
    size = sum(array.nbytes for array in _arrays(dataset))
    if size <= LIMIT // 2 and recipe() == text and write_to_cache(path, *_encoded(dataset)):
        _shrink(path.parent, keep=path)
    return dataset


def versions(*packages: str) -> str:
    """Return the versions of packages, for a recipe."""
    return " ".join(f"{name}={_version(name)}" for name in packages)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _arrays(dataset: Dataset) -> list[np.ndarray]:
    return [getattr(dataset, name) for name in ARRAYS]


def _encoded(dataset: Dataset) -> Iterator[bytes | memoryview]:
    """Yield the content of the file in parts, so that large data are not copied."""
    layout, parts, end, checksum = [], [], 0, 0
    for array in _arrays(dataset):
        layout.append((array.dtype.str, array.shape, end))
        padding = bytes(-array.nbytes % ALIGNED)
        end += array.nbytes + len(padding)
        for part in (array.reshape(-1).view(np.uint8).data, padding):
            checksum = zlib.crc32(part, checksum)
            parts.append(part)
    head = {"version": VERSION, "classes": dataset.classes, "arrays": layout, "bytes": end, "crc32": checksum}
    yield json.dumps(head).encode().ljust(HEADER)
    yield from parts


def _read(path: Path) -> Dataset | None:
    """Map a file, or return None if it is absent or damaged.

    The mapping is private: a process that writes to its arrays, although it must not, changes nothing for others.
    (A read-only array makes torch warn of undefined behaviour.)
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        head = json.loads(mapped[:HEADER])
        sound = (
            head["version"] == VERSION
            and len(mapped) == HEADER + head["bytes"]
            and zlib.crc32(memoryview(mapped)[HEADER:]) == head["crc32"]
        )
        if not sound:
            return None
        arrays = [_array(mapped, *described) for described in head["arrays"]]
        dataset = Dataset(**dict(zip(ARRAYS, arrays, strict=True)), classes=head["classes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with suppress(OSError):
        os.utime(path)  # as used now, for _shrink
    return dataset


def _array(mapped: mmap.mmap, dtype: str, shape: list[int], start: int) -> Any:
    return np.frombuffer(mapped, dtype, prod(shape), HEADER + start).reshape(shape)


def _shrink(folder: Path, keep: Path) -> None:
    """Delete the files that were not used for the longest time, until the rest takes at most LIMIT bytes.

    A process that has mapped a deleted file keeps its pages.
    """
    files = []
    with suppress(OSError):
        files = [(entry.stat(), Path(entry.path)) for entry in os.scandir(folder)]
    left = sum(stat.st_size for stat, _ in files)
    for stat, path in sorted(files, key=lambda file: file[0].st_mtime):
        if left <= LIMIT:
            return
        if path != keep:
            with suppress(OSError):
                path.unlink()
            left -= stat.st_size
