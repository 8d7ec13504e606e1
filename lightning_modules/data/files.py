"""The source `parquet:PATH`: a Parquet file or a folder of Parquet files, with the columns described in `columns`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_modules.data.border import MOST_ENTRIES, check_memory, reading
from lightning_modules.data.cached import versions
from lightning_modules.data.dataset import Dataset
from lightning_modules.errors import DataError, MissingDataError, one_line
from lightning_modules.hashing import hash_of_code

if TYPE_CHECKING:
    from lightning_modules.data.columns import Columns

NUMBER_BYTES = 12
"""A number of 8 bytes, as it is in a file, and of 4, as it is trained on."""


def parquet(path: str) -> Dataset:
    """Load a file or folder. An example's id is its row, counted over all files in the order of their names."""
    return _read(path).dataset(path)


def parquet_digest(path: str) -> str:
    return _digest(path, tuple((str(file), _stamp(file)) for file in _files(path)))


@lru_cache(maxsize=64)
def _digest(path: str, stamps: tuple[tuple[str, tuple[int, ...]], ...]) -> str:
    return _read(path).digest()


def _stamp(file: Path) -> tuple[int, ...]:
    """Return numbers that change whenever a file is written."""
    state = file.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def parquet_recipe(path: str) -> str:
    """Name everything on which the data depend: the bytes of the files in their order, and the code that reads them."""
    from lightning_modules.data import columns, images

    state = hashlib.blake2b(digest_size=20)
    for file in _files(path):
        with reading(str(file)), file.open("rb") as opened:
            state.update(hashlib.file_digest(opened, "blake2b").digest())
    code = " ".join(hash_of_code(function) for function in (_read_file, columns.read_columns, images.decode))
    return f"parquet {state.hexdigest()} {code} {versions('pyarrow', 'pillow', 'numpy')}"


def _read(path: str) -> Columns:
    from lightning_modules.data.columns import concatenate

    return concatenate([_read_file(file) for file in _files(path)])


def _files(path: str) -> list[Path]:
    """List the Parquet files of a folder at any depth, sorted, without names that start with a dot or underscore."""
    given = Path(path).expanduser()
    if given.is_dir():
        data = sorted(file.relative_to(given) for file in _searched(given))
        if not data:
            raise MissingDataError("data", f"{path}: the folder holds no file that ends in .parquet")
        return [given / file for file in data]
    if not given.is_file():
        problem = "this is neither a file nor a folder" if given.exists() else "there is no such file or folder"
        raise MissingDataError("data", f"{path}: {problem}; valid is parquet:PATH of one that exists")
    return [given]


def _searched(folder: Path) -> Iterator[Path]:
    entries = 0
    for parent, folders, files in os.walk(folder):
        entries += len(folders) + len(files)
        if entries > MOST_ENTRIES:
            raise DataError(
                "data", f"{folder}: holds more than {MOST_ENTRIES:,} files and folders; valid: a folder of data alone"
            )
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        for name in files:
            if name.endswith(".parquet") and not name.startswith((".", "_")) and os.path.isfile(f"{parent}/{name}"):
                yield Path(parent, name)


def _read_file(file: Path) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lightning_modules.data.columns import NUMBERS, read_columns

    names: list[str] = []
    try:
        # pq.read_table is not used, because it adds columns from the names of the folders.
        with reading(str(file)), pq.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            columns = [name for name in names if name in (*NUMBERS, "label", "split")]
            check_memory(_bytes(opened.metadata, columns), str(file))
            # For a file with none of these columns, the refusal lists its columns.
            table = opened.read(columns) if columns else opened.schema_arrow.empty_table()
            return read_columns(table, str(file))
    except DataError as error:
        if isinstance(error.__cause__, pa.ArrowException):
            raise DataError("data", f"{file}: not a readable Parquet file: {one_line(error.__cause__)}") from error
        if names and "split" not in names and "`split`" in str(error):
            raise DataError(
                "data", f"{error} (a folder with one file per split, as the hub has them, is read by hub:PATH)"
            ) from error
        raise


def _bytes(metadata: Any, columns: Sequence[str]) -> int:
    """Return the bytes that columns take at least, and about as many if values do not repeat.

    The metadata of a column would tell more, but a damaged one ends the process: pyarrow does not catch the error.
    """
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    share = len(columns) / max(1, metadata.num_columns)
    return sum(
        max(NUMBER_BYTES * len(columns) * group.num_rows, int(share * group.total_byte_size)) for group in groups
    )
