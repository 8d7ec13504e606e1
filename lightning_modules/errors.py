"""The root of every error that memsweep raises on purpose, the errors of this package, and how a refusal is worded.

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
    """The text is complete: the command line prints it and exits with 2."""


class InputError(MemsweepError, ValueError):
    """A setting that cannot be used.

    Attributes:
        field: the name of the setting. A caller that read it from a file adds the file and the key to the message,
            which says what was given and what is valid.
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
    """The words for a value outside a closed set: "given 'X'; did you mean Y? valid: A, B, C".

    Args:
        given: the value.
        valid: the set.
        ordered: list the set in its own order, which says something, not by the alphabet.
    """
    names = [str(name) for name in valid]
    listed = ", ".join(names if ordered else sorted(names)) or "none"
    return f"given {given!r}{did_you_mean(given, names) or ';'} valid: {listed}"


def did_you_mean(given: object, valid: Iterable[str]) -> str:
    """Name the nearest valid name, as in "; did you mean Y?". The text is empty if none is near."""
    near = difflib.get_close_matches(str(given), list(valid), n=1)
    return f"; did you mean {near[0]}?" if near else ""
