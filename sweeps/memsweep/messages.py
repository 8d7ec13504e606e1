"""Summaries and warnings of the API, with the text that the command line prints."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from memsweep.terminal import Terminal

from lightning_modules.shown_text import visible

if TYPE_CHECKING:
    from rich.table import Table


class Summary(dict[str, Any]):
    """A dictionary with the values that a command prints as JSON. Its repr is the text that the command prints."""

    def __init__(self, figures: Mapping[str, Any], text: str) -> None:
        super().__init__(figures)
        self.text = visible(text)

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


def table_text(table: Table, width: int) -> str:
    """Render a table of the command line as plain text of this width."""
    paper = Terminal(file=io.StringIO(), width=width, force_terminal=False, force_jupyter=False)
    with paper.capture() as text:
        paper.print(table)
    return text.get().rstrip()
