"""torch's default type, the type of every new tensor: code of the user must leave it as it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning_modules.user_code import CodeError


@contextmanager
def float32_by_default(name: str) -> Iterator[None]:
    """Check that code of the user leaves torch's default type as it was, because it is the type of every new tensor.

    Raises:
        CodeError: The code has changed it. It is set back.
    """
    before = after = _default_type()
    try:
        yield
    finally:
        after = _default_type()
        if after != before:
            sys.modules["torch"].set_default_dtype(before or sys.modules["torch"].float32)
    if after != before:
        raise CodeError(
            f"{name} changes torch's default type to {after or 'torch.float32'}, with which the numbers of every "
            "network would change; valid: leave it, and set `precision: float64` in the sweep"
        )


def _default_type() -> Any:
    """Return torch's default type, or None if torch is not imported, whose default is then float32."""
    torch = sys.modules.get("torch")
    return None if torch is None or torch.get_default_dtype() == torch.float32 else torch.get_default_dtype()
