"""The error of a figure, table or claim that cannot be made as asked."""

from __future__ import annotations

from collections.abc import Iterable

from lightning_modules.errors import MemsweepError, choices


class AnalysisError(MemsweepError, ValueError):
    """A request that the data do not allow. The message is one sentence with what was given and what is valid.

    Attributes:
        key: the option or column that is wrong.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.key, str(self))


def unknown(key: str, given: object, valid: Iterable[object]) -> AnalysisError:
    """The error for a value outside a closed set. It lists the set in its own order, and names the nearest member."""
    return AnalysisError(key, f"{key}: {choices(given, valid, ordered=True)}")
