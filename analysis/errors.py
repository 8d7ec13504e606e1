"""The exception for invalid requests for a figure, table or claim."""

from __future__ import annotations

from collections.abc import Iterable

from lightning_modules.errors import MemsweepError, choices


class AnalysisError(MemsweepError, ValueError):
    """Raised for a request that the data do not allow. The message is one sentence with the given and the valid values.

    Attributes:
        key: The name of the invalid option or column.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.key, str(self))


def unknown(key: str, given: object, valid: Iterable[object]) -> AnalysisError:
    """Create the error for a value outside a closed set. The message lists the valid values in the given order."""
    return AnalysisError(key, f"{key}: {choices(given, valid, ordered=True)}")
