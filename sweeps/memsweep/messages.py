"""Summaries and warnings of the API, with the text that the command line prints."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any


class Summary(dict[str, Any]):
    """A dictionary with the values that a command prints as JSON. Its repr is the text that the command prints."""

    def __init__(self, figures: Mapping[str, Any], text: str) -> None:
        super().__init__(figures)
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any], str]]:
        return Summary, ({**self}, self.text)


class MemsweepWarning(UserWarning):
    """Warning that part of a result is missing, because a store's file cannot be read or a figure cannot be drawn."""


def warn_of_damage(damaged: Mapping[str, str]) -> None:
    """Warn about each file of a store that was skipped, with the reason."""
    warn(f"{path}: {reason}; skipped" for path, reason in damaged.items())


def warn(messages: Iterable[str]) -> None:
    for message in messages:
        warnings.warn(message, MemsweepWarning, stacklevel=4)
