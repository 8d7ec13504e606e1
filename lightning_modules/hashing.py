"""Hashes of texts and of code, which ids are made of."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable
from typing import Any


def hash_of_code(function: Callable[..., Any]) -> str:
    """Return 20 hexadecimal digits of the code of the module that defines a function; "" if it has no Python source.

    Comments and layout do not count. What the module itself imports does not either.
    """
    module = inspect.getmodule(function)
    try:
        source = inspect.getsource(module) if module else ""
    except (OSError, TypeError):
        return ""
    return hash_of_text(ast.unparse(ast.parse(source)))


def hash_of_text(text: str) -> str:
    """Return 20 hexadecimal digits of a text."""
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
