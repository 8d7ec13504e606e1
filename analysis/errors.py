"""The error of a picture that cannot be drawn as asked."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AnalysisError(ValueError):
    """`key` is the option or column to blame; the message is one sentence with what was given and what is valid."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.key, str(self))


def unknown(key: str, given: object, valid: Iterable[object]) -> AnalysisError:
    """The error for a value outside a closed set: it lists the set, and the nearest member if one is near."""
    choices = [str(choice) for choice in valid]
    near = difflib.get_close_matches(str(given), choices, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return AnalysisError(key, f"{key}: given {given}{hint}; valid are {', '.join(choices) or 'none'}")
