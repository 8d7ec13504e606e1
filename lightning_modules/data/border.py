"""The border at which data come in from outside: how much is read, and what becomes of the errors of a reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from lightning_modules.errors import DataError, MemsweepError, MissingDataError, one_line, shortened
from lightning_modules.machine_limits import available_bytes

MOST_ENTRIES = 100_000
"""Files and folders that are looked at in search of data. The search of a whole disk would take minutes."""
MOST_PIXELS = 4096 * 4096
"""Pixels of one image. A few kilobytes of PNG may decode to gigabytes."""
LISTED = 20
LENGTH = 60


@contextmanager
def reading(place: str) -> Iterator[None]:
    """Convert every error of a library that reads data into a DataError that names the place."""
    try:
        yield
    except MemsweepError:
        raise
    except MemoryError as error:
        raise DataError("data", f"{place:.200}: needs more memory than is free; valid: fewer examples") from error
    except Exception as error:  # libraries raise more than they document, also of their own bugs
        kind = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
        # Only the operating system's own errors have a number. Arrow raises OSError for damaged content too.
        missing = isinstance(error, OSError) and error.errno is not None
        refusal = MissingDataError if missing else DataError
        raise refusal("data", f"{place:.200}: cannot be read: {kind}{one_line(error)}") from error


def check_memory(bytes_needed: int, place: str) -> None:
    """Raise DataError if data need more memory than is free, before the memory is taken."""
    free = available_bytes()
    if bytes_needed > free:
        raise DataError(
            "data",
            f"{place:.200}: takes {bytes_needed / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} GiB are free; "
            "valid: fewer or smaller examples",
        )


def listed(names: Iterable[object]) -> str:
    """List names for a message, each shortened, and no more than LISTED."""
    texts = [f"`{short(name)}`" for name in names]
    more = f" and {len(texts) - LISTED:,} more" if len(texts) > LISTED else ""
    return ", ".join(texts[:LISTED]) + more


def short(value: object) -> str:
    return shortened(str(value), LENGTH)
