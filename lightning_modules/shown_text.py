"""Text that is shown to a reader: on a terminal, on a page or in a figure."""

from __future__ import annotations

import re

_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # escapes, returns and bells, but neither tabs nor line feeds
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # separators, and marks that turn the direction of text
    "\ud800-\udfff\ufffe\uffff]"  # halves of characters, and what is no character
)


def visible(text: str) -> str:
    r"""Write control characters as their escapes, so that they are shown and do nothing: "\x1b[2J" clears no screen."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
