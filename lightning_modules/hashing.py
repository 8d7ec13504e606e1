"""Hash texts and code, for ids."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable
from typing import Any


def hash_of_code(function: Callable[..., Any]) -> str:
    """Hash the source of the module that defines a function (20 hexadecimal digits); "" if it has no Python source.

    The hash ignores the content of imported modules. `user_code.code_of` follows them for a user's function.
    """
    module = inspect.getmodule(function)
    try:
        source = inspect.getsource(module) if module else ""
    except (OSError, TypeError):
        return ""
    return hash_of_tree(ast.parse(source))


def hash_of_tree(tree: ast.Module) -> str:
    """Hash a syntax tree. Comments and layout do not count; docstrings do, since a program can read them."""
    return hash_of_text(ast.unparse(tree))


def hash_of_text(text: str) -> str:
    """Hash a text to 20 hexadecimal digits."""
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
