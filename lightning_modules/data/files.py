"""The source `parquet:PATH`: a Parquet file or a folder of Parquet files, with the columns described in `columns`."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_modules.data.cached import versions
from lightning_modules.data.dataset import Dataset
from lightning_modules.errors import DataError
from lightning_modules.hashing import hash_of_code

if TYPE_CHECKING:
    from lightning_modules.data.columns import Columns


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
        try:
            with file.open("rb") as opened:
                state.update(hashlib.file_digest(opened, "blake2b").digest())
        except OSError as error:
            raise DataError("data", f"{file}: cannot be read: {_said(error)}") from error
    code = " ".join(hash_of_code(function) for function in (_read_file, columns.read_columns, images.decode))
    return f"parquet {state.hexdigest()} {code} {versions('pyarrow', 'pillow', 'numpy')}"


def _read(path: str) -> Columns:
    from lightning_modules.data.columns import concatenate

    return concatenate([_read_file(file) for file in _files(path)])


def _files(path: str) -> list[Path]:
    """List the Parquet files of a folder at any depth, sorted, without names that start with a dot or underscore."""
    given = Path(path).expanduser()
    if given.is_dir():
        inside = (file.relative_to(given) for file in given.rglob("*.parquet") if file.is_file())
        data = sorted(file for file in inside if not any(part.startswith((".", "_")) for part in file.parts))
        if not data:
            raise DataError("data", f"{path}: the folder holds no file that ends in .parquet")
        return [given / file for file in data]
    if not given.is_file():
        raise DataError("data", f"{path}: there is no such file or folder; valid is parquet:PATH of one that exists")
    return [given]


def _read_file(file: Path) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lightning_modules.data.columns import NUMBERS, read_columns

    try:
        # pq.read_table is not used, because it adds columns from the names of the folders.
        with pq.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            # A file with none of these columns is read in full, so that the refusal lists its columns.
            table = opened.read(columns=[name for name in names if name in (*NUMBERS, "label", "split")] or None)
    except pa.ArrowException as error:
        raise DataError("data", f"{file}: not a readable Parquet file: {_said(error)}") from error
    except OSError as error:
        raise DataError("data", f"{file}: cannot be read: {_said(error)}") from error
    try:
        return read_columns(table, str(file))
    except DataError as error:
        if "split" not in names and "`split`" in str(error):
            raise DataError(
                "data", f"{error} (a folder with one file per split, as the hub has them, is read by hub:PATH)"
            ) from error
        raise


def _said(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
