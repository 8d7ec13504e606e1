"""Text is shown as given: on a terminal, in tables and messages, nothing in it is markup or controls the terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memsweep.messages import Summary, table_text
from memsweep.terminal import Terminal, tell
from rich.console import Console
from rich.table import Table

from lightning_modules.shown_text import visible

PIECES = [
    "\x1b[2J", "\x1b]0;title\x07", "\x1b[31m", "\x9b5A", "\r", "\b", "\x00", "\u202e", "\u2066", "\u2028", "\ud800",
    "[red]", "[/red]", "[/]", "[link=file:///etc/passwd]", ":cat:", ":1234:", "host:1234:", "emoji:cat", "$x^2$", "$",
    "<b>", "&amp;", "\\", "{{ 7*7 }}", "%s", "é", "猫", " ", "\t",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=8).map("".join)
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
KEPT = re.compile(r"[\[\]:$<>&{}%\w^]+")


def console(kind: type[Console] = Terminal) -> Console:
    return kind(file=io.StringIO(), width=10_000, force_terminal=True, color_system=None)


def printed(where: Console) -> str:
    assert isinstance(where.file, io.StringIO)
    return where.file.getvalue()


@given(texts)
def test_what_is_visible_controls_nothing_and_keeps_everything_else(text):
    shown = visible(text)
    assert not CONTROLS.search(shown)
    assert visible(shown) == shown
    if not CONTROLS.search(text) and not re.search("[\u061c\u200e\u200f\u2028\u2029\ufffe\uffff]", text):
        assert shown == text


def _told(kind: type[Console]) -> Callable[[str], str]:
    def told(text: str) -> str:
        where = console(kind)
        tell(where, text)
        return printed(where)

    return told


def _cell(text: str) -> str:
    where, table = console(), Table(box=None)
    table.add_column("a")
    table.add_row(text)
    where.print(table)
    return printed(where)


def _printed_table(text: str) -> str:
    table = Table(box=None)
    table.add_column("a")
    table.add_row(text)
    return table_text(table, 10_000)


WAYS = {
    "a message on a terminal": _told(Terminal),
    "a message on a console of the user": _told(Console),
    "a cell of a table": _cell,
    "a table as text": _printed_table,
    "a summary": lambda text: repr(Summary({}, text)),
}


@pytest.mark.parametrize("way", WAYS)
@given(text=texts)
def test_each_way_to_the_terminal_shows_text_as_given(way, text):
    shown = WAYS[way](text)
    assert not CONTROLS.search(shown), "without colours, rich itself adds no escapes"
    flat, at = "".join(shown.split()), 0
    for word in KEPT.findall("".join(visible(text).split())):
        at = flat.find(word, at)
        assert at >= 0, f"{word!r} is missing or not in its place"
        at += len(word)


@pytest.mark.parametrize("text", ["host:1234:", "emoji:cat:", "[bold]", "[/]", ":warning:", "[link=x]y[/link]"])
def test_colons_and_brackets_are_no_markup(text):
    """A port was once shown as an emoji: `host:1234:` as `host🔢`."""
    for way in WAYS.values():
        assert text in way(text)
