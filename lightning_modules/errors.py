"""Errors of input that this package can detect.

InputError (a ValueError)
├── DataError    a data set that cannot be had, read or used as asked
└── ModelError   a model family or size that cannot be built

Each carries the field to blame, so that whoever read it from a file can name the file and the key.
"""

from __future__ import annotations


class InputError(ValueError):
    """`field` is the name of the setting to blame; the message says what was given and what is valid."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.field, str(self))


class DataError(InputError):
    pass


class ModelError(InputError):
    pass
