"""Calls of a user's code, which may not end this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from lightning_modules.default_type import float32_by_default
from lightning_modules.user_code import CodeError


@contextmanager
def contained(name: str) -> Iterator[None]:
    """Run code of a user that neither ends this process nor goes on in a second one, nor changes torch's default type.

    Only a signal or a fault of compiled code can still end the process. The shell reports these.

    Raises:
        CodeError: The code called `sys.exit`, `os._exit` or `os.abort`, or changed torch's default type.
    """
    process, end, abort = os.getpid(), os._exit, os.abort

    def refusing(called: str, original: Callable[..., Any]) -> Callable[..., NoReturn]:
        def refuse(*status: int) -> NoReturn:
            if os.getpid() != process:  # a process of its own, such as one of a pool, may end as it likes
                original(*status)
            raise SystemExit(f"{called}({', '.join(map(str, status))})")

        return refuse

    os._exit, os.abort = refusing("os._exit", end), refusing("os.abort", abort)
    try:
        with float32_by_default(name):
            yield
    except SystemExit as error:
        called = error.code if str(error.code).startswith("os.") else f"sys.exit({error.code})"
        raise CodeError(f"it ends the program with {called}; valid: code that returns or raises an error") from None
    finally:
        os._exit, os.abort = end, abort
        if os.getpid() != process:
            end(1)  # a child of `os.fork()` that has come back here, where it would be a second memsweep
