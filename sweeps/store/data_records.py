"""Records of the data sets that trainings were trained on, so that their results can be read without the data.

    ROOT/data/<hash>.json    one record per data set: its name, digest, sizes, input shape and classes

Points' ids contain the digest of data from outside the package, and the sizes of networks follow from the shapes of the
data. Every run writes a record of each of its data sets. Where the data are missing, commands that only read results
take both from the record. A record is found by the path of the data, or else by their name in the sweep file.
"""

from __future__ import annotations

import datetime
import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import Annotated, Literal

from pyarrow import fs
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from lightning_modules.data import sources
from lightning_modules.data.dataset import Facts
from lightning_modules.data.recalled import Identity
from lightning_modules.errors import MissingDataError
from lightning_modules.hashing import hash_of_text
from sweeps.errors import StoreError
from sweeps.spec.point import Point
from sweeps.store.atomic_files import Location

_log = logging.getLogger(f"memsweep.{__name__}")

FOLDER = "data"
SUFFIX = ".json"
MOST_TEXT = 4000
MOST_BYTES = 2**16
MOST_RECORDS = 10_000
MOST_NUMBERS = 2**31
"""The numbers of one input, and the classes."""
AT_ONCE = 16

_Count = Annotated[int, Field(ge=1, le=2**63 - 1)]
_Text = Annotated[str, Field(max_length=MOST_TEXT)]


class DataRecord(BaseModel):
    """What a store knows of a data set. Raises pydantic.ValidationError for values that no data set can have."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = 1
    name: _Text
    """The value of the field `data`."""
    place: str
    """The hash of the absolute path of the data; "" for data that have no path."""
    digest: _Text
    train_size: _Count
    test_size: _Count
    shape: Annotated[tuple[_Count, ...], Field(min_length=1, max_length=3)]
    classes: Annotated[int, Field(ge=1, le=MOST_NUMBERS)]
    written: AwareDatetime

    @model_validator(mode="after")
    def _is_possible(self) -> DataRecord:
        if prod(self.shape) > MOST_NUMBERS:
            raise ValueError(f"shape: an input of more than {MOST_NUMBERS:,} numbers")
        if not 2000 <= self.written.year < 9000:
            raise ValueError("written: a year that is not in 2000..8999")
        return self

    @property
    def identity(self) -> Identity:
        return Identity(self.digest, Facts(self.train_size, self.test_size, self.shape, self.classes))


def write_records(location: Location, points: Iterable[Point]) -> None:
    """Record the data sets of points from outside the package. A store that cannot be written to is only logged.

    Each record is one atomic write, and its path depends on its content, so that runs may write at once.
    """
    named = {(point.data, point.data_digest) for point in points if point.data not in sources.BUILT_IN}
    now = datetime.datetime.now(datetime.UTC)
    for name, digest in named:
        place = _place(name)
        try:
            record = DataRecord(name=name, place=place, digest=digest, written=now, **vars(sources.facts(name)))
            path = f"{FOLDER}/{hash_of_text(f'{name} {place} {digest}')}{SUFFIX}"
            location.write(path, record.model_dump_json(indent=1).encode())
        except MissingDataError:  # nothing is trained on them, and an earlier run has recorded them
            pass
        except (StoreError, ValidationError) as error:
            _log.warning("the results cannot be read without the data %s: %s", name, error)


def find_record(location: Location, name: str) -> tuple[DataRecord | None, dict[str, str]]:
    """Return the newest record of the data at a path or, if there is none, of data with this name.

    Returns:
        The record, and a mapping from each file that is no record to the reason.

    Raises:
        StoreError: The store cannot be read, or two data sets at different paths had this name.
    """
    infos = [info for info in location.list(FOLDER) if info.base_name.endswith(SUFFIX) and info.base_name[0] != "."]
    if len(infos) > MOST_RECORDS:
        raise StoreError(f"store {location}: {FOLDER}/ holds {len(infos):,} files; valid: at most {MOST_RECORDS:,}")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        contents = [content for content in pool.map(lambda info: _read(location, info), infos) if content is not None]
    damaged = {path: content for path, content in contents if isinstance(content, str)}
    records = [content for _, content in contents if isinstance(content, DataRecord)]
    place = _place(name)
    matching = [record for record in records if place and record.place == place]
    if not matching:
        matching = [record for record in records if record.name == name]
        if len({record.place for record in matching if record.place}) > 1:
            problem = f"holds records of {name:.200} at several paths, none of which is {os.path.abspath(_path(name))}"
            raise StoreError(f"store {location}: {problem:.800}; valid: data that are there")
    return max(matching, key=lambda record: record.written, default=None), damaged


def _read(location: Location, info: fs.FileInfo) -> tuple[str, DataRecord | str] | None:
    path = f"{FOLDER}/{info.base_name}"
    if info.type != fs.FileType.File or info.size > MOST_BYTES:
        return location.full(path), f"is no file of at most {MOST_BYTES:,} bytes"
    content = location.read(path, lambda content: isinstance(_parsed(content), DataRecord))
    return None if content is None else (location.full(path), _parsed(content))


def _parsed(content: bytes) -> DataRecord | str:
    try:
        return DataRecord.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"]))
        return f"damaged: {key and key[:100] + ': '}{first['msg']:.300}"


def _place(name: str) -> str:
    """Hash the absolute path of data, since a store may be read by people who should not learn it."""
    return hash_of_text(os.path.abspath(_path(name))) if _path(name) else ""


def _path(name: str) -> str:
    source, _, path = name.partition(":")
    return os.path.expanduser(path) if source == "parquet" else ""
