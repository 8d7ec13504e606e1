"""Hash texts and code, for ids."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable
from typing import Any


def hash_of_code(function: Callable[..., Any]) -> str:
    """Hash the source of the module that defines a function (20 hexadecimal digits); "" if it has no Python source.

    The hash ignores comments, formatting and the content of imported modules.
    """
    module = inspect.getmodule(function)
    try:
        source = inspect.getsource(module) if module else ""
    except (OSError, TypeError):
        return ""
    return hash_of_text(ast.unparse(ast.parse(source)))


def hash_of_text(text: str) -> str:
    """Hash a text to 20 hexadecimal digits."""
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
