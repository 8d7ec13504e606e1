"""What a store on this machine contains: the names of its parts, and the rows that a reader sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from sweeps.store.records import plain_type
from sweeps.store.store import Contents, Store


def parts(store: Store, folder: str = "parts") -> set[str]:
    return {path.name for path in (Path(store.uri) / folder).iterdir()}


def seen(store: Store) -> Contents:
    """Return the contents that a reader sees, without dictionary encoding, whose order depends on the parts."""
    return plain(store.read())


def plain(contents: Contents) -> Contents:
    columns = pa.schema([(column.name, plain_type(column.type)) for column in contents.table.schema])
    return replace(contents, table=contents.table.cast(columns))
