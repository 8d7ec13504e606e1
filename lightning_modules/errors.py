"""Errors of this package, the base class of all errors that memsweep raises itself, and helpers for their messages.

MemsweepError
├── InputError (a ValueError too)
│   ├── DataError    a data set that cannot be found, read or used as asked
│   │   └── MissingDataError   one that is not there, or cannot be opened
│   └── ModelError   a model family or size that cannot be built
├── SweepError, StoreError, ...   see `sweeps.errors`
└── AnalysisError                 see `analysis.errors`

A CheckpointError is none of them: the training begins anew, and no command ends with it.
"""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Callable, Collection, Iterable
from typing import Any


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


class MissingDataError(DataError):
    pass


class ModelError(InputError):
    pass


class CheckpointError(Exception):
    """Raised for checkpoints from which their trainings cannot resume.

    Attributes:
        ids: the ids of the trainings, if they are known.
    """

    def __init__(self, problem: str, ids: Collection[str] = ()) -> None:
        super().__init__(problem)
        self.ids = frozenset(ids)


LONGEST_VALUE = 120
"""The maximum length of a value in a message."""
LONGEST_REASON = 500
"""The maximum length of another error's message in a message."""


class _Quote(reprlib.Repr):
    """Bounded reprs, in which null, booleans and numbers that are not finite are written as in a sweep file."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong, self.maxother = 4, 100, 100, 100
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 8

    def repr1(self, x: Any, level: int) -> str:
        if x is None or isinstance(x, bool):
            return {None: "null", True: "true", False: "false"}[x]
        if isinstance(x, float) and not math.isfinite(x):
            return f".{x}" if x >= 0 or x != x else "-.inf"
        if isinstance(x, int) and x.bit_length() > 4 * self.maxlong:  # longer than Python converts to text
            return f"a whole number of {x.bit_length()} bits"
        return super().repr1(x, level)


_QUOTE = _Quote()


def quoted(value: object) -> str:
    """Write a given value for a message: text in quotes, `null` and `true` as in a sweep file, and long values cut."""
    return shortened(_QUOTE.repr(value), LONGEST_VALUE)


def shortened(text: str, length: int) -> str:
    """Leave the middle out of a text that is longer than `length`."""
    half = (length - 3) // 2
    return text if len(text) <= length else f"{text[:half]}...{text[-half:]}"


def choices(given: object, valid: Iterable[object], *, ordered: bool = False) -> str:
    """Describe a value outside a closed set: "given 'X'; did you mean Y? valid: A, B, C".

    Args:
        given: the invalid value.
        valid: the valid values.
        ordered: list the valid values in their given order instead of alphabetically.
    """
    names = [str(name) for name in valid]
    listed = ", ".join(names if ordered else sorted(names)) or "none"
    return f"given {quoted(given)}{did_you_mean(given, names) or ';'} valid: {listed}"


def did_you_mean(given: object, valid: Iterable[str]) -> str:
    """Suggest the nearest valid name, as in "; did you mean Y?"; return "" if none is near."""
    # Only text is compared, and no long text, since the time grows with the square of the length.
    near = difflib.get_close_matches(given[:LONGEST_VALUE], list(valid), n=1) if isinstance(given, str) else []
    return f"; did you mean {near[0]}?" if near else ""


def one_line(error: BaseException, redact: Callable[[str], str] = str) -> str:
    """Return the message of an error as one line of bounded length; the name of its class if it has no message."""
    return shortened(" ".join(redact(str(error)).split()) or type(error).__name__, LONGEST_REASON)
