"""Address: where a store is, as text that never contains a secret.

A URI may contain access keys, as in `s3://KEY:SECRET@BUCKET/PATH`. Every text form of an address is without them, so
that no message, log, printed command or page can show them. `raw` is for what opens the store.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

_USER = re.compile(r"(?<=://)(?:([^?#@]*:.*)|[^/?#@]*)@", re.DOTALL)
"""`KEY:SECRET@` or `KEY@`. A secret may contain any character, although special ones should be written as %2F. If an
address has a later `@`, too much is removed."""
_SECRET_OPTION = re.compile(r"(?<=[?&])([^=&]*(?:key|secret|token|password|credential|signature)[^=&]*)=([^&]*)", re.I)
HIDDEN = "***"
SHORTEST = 4
"""Shorter parts of a secret are not searched for in messages: they occur in ordinary words."""


class Address:
    """A folder or a URI. Two addresses are equal if they are written in the same way.

    Args:
        given: as the user wrote it.
    """

    __slots__ = ("_shown", "raw")

    raw: str
    """The address with its secrets, for opening it."""

    def __init__(self, given: str | Path | Address) -> None:
        self.raw = given.raw if isinstance(given, Address) else str(given)
        self._shown = _without_secrets(self.raw)

    def __str__(self) -> str:
        return self._shown

    def __format__(self, spec: str) -> str:
        return format(self._shown, spec)

    def __repr__(self) -> str:
        return f"Address({self._shown!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __fspath__(self) -> str:
        if not self.is_local:
            raise TypeError(f"{self} is not a folder")
        return self.raw.removeprefix("file://")

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return Address, (self.raw,)

    @property
    def is_local(self) -> bool:
        return "://" not in self.raw or self.raw.startswith("file://")

    @property
    def has_secrets(self) -> bool:
        return any(_secrets(self.raw))

    def redact(self, text: str) -> str:
        """Remove the secrets of this address from a message of a library, which may repeat it in part or decoded."""
        text = text.replace(self.raw, self._shown)
        for part in sorted(_parts(_secrets(self.raw)), key=len, reverse=True):
            text = text.replace(part, HIDDEN)
        return text


def _without_secrets(uri: str) -> str:
    def hidden(user: re.Match[str]) -> str:
        return f"{HIDDEN}@" if re.search("[/?#@]", user[0][:-1]) else ""

    return _SECRET_OPTION.sub(rf"\1={HIDDEN}", _USER.sub(hidden, uri)) if "://" in uri else uri


def _secrets(uri: str) -> list[str]:
    """Return `KEY:SECRET` and the values of secret options."""
    if "://" not in uri:
        return []
    return [
        *(user[1] for user in _USER.finditer(uri) if user[1]),
        *(option[2] for option in _SECRET_OPTION.finditer(uri)),
    ]


def _parts(secrets: Iterable[str]) -> set[str]:
    """Return what a library may print of secrets: the whole, and the parts between separators, also decoded."""
    texts = {text for secret in secrets for text in (secret, unquote(secret))}
    parts = texts | {part for text in texts for part in re.split(r"[:/?#@&]", text)}
    return {part for part in parts if len(part) >= SHORTEST}
