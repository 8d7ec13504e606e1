"""Everything memsweep refuses, with the sentence the user reads.

MemsweepError
├── SweepError      a sweep file, a preset's name or a --set: which file, which key, what was given, what is valid
├── StoreError      a store that cannot be opened, read or written
├── ExportError     a table, figure or page that cannot be written
├── ReplayError     recorded curves that a scheduler cannot be replayed on
└── ExecutionError  workers that cannot be had, or that are lost for good
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MemsweepError(Exception):
    """Its text is complete: the command line prints it and exits with 2."""


class SweepError(MemsweepError):
    def __init__(self, source: str, key: str, problem: str) -> None:
        super().__init__(": ".join(part for part in (source, key, problem) if part))
        self.source, self.key, self.problem = source, key, problem

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.source, self.key, self.problem)


class StoreError(MemsweepError):
    pass


class ExportError(MemsweepError):
    pass


class ReplayError(MemsweepError):
    pass


class ExecutionError(MemsweepError):
    pass


def choices(given: object, valid: Iterable[str]) -> str:
    """'given X; did you mean Y? valid: A, B, C'."""
    names = sorted(valid)
    near = difflib.get_close_matches(str(given), names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"given {given!r}; {hint}valid: {', '.join(names)}"
