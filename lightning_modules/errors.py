"""Errors of this package, the base class of all errors that memsweep raises itself, and helpers for their messages.

MemsweepError
├── InputError (a ValueError too)
│   ├── DataError    a data set that cannot be found, read or used as asked
│   └── ModelError   a model family or size that cannot be built
├── SweepError, StoreError, ...   see `sweeps.errors`
└── AnalysisError                 see `analysis.errors`
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MemsweepError(Exception):
    """Base class of errors with a complete message, which the command line prints before it exits with code 2."""


class InputError(MemsweepError, ValueError):
    """Raised for a setting that cannot be used.

    Attributes:
        field: the name of the setting. The message states the given and the valid values; a caller that read the
            setting from a file adds the file and the key.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.field, str(self))


class DataError(InputError):
    pass


class ModelError(InputError):
    pass


def choices(given: object, valid: Iterable[object], *, ordered: bool = False) -> str:
    """Describe a value outside a closed set: "given 'X'; did you mean Y? valid: A, B, C".

    Args:
        given: the invalid value.
        valid: the valid values.
        ordered: list the valid values in their given order instead of alphabetically.
    """
    names = [str(name) for name in valid]
    listed = ", ".join(names if ordered else sorted(names)) or "none"
    return f"given {given!r}{did_you_mean(given, names) or ';'} valid: {listed}"


def did_you_mean(given: object, valid: Iterable[str]) -> str:
    """Suggest the nearest valid name, as in "; did you mean Y?"; return "" if none is near."""
    near = difflib.get_close_matches(str(given), list(valid), n=1)
    return f"; did you mean {near[0]}?" if near else ""
