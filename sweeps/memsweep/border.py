"""The last border of the command line: whatever happens inside ends with one sentence and an exit code."""

from __future__ import annotations

import io
import os
import platform
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, TextIO

from lightning_modules.errors import MemsweepError
from lightning_modules.shown_text import visible
from sweeps.errors import ExportError

BAD_INPUT, FAULT, INTERRUPTED = 2, 70, 130
"""Exit codes. 70 is EX_SOFTWARE of sysexits.h, and 130 is what shells report after Ctrl-C."""
PACKAGES = ("memsweep", "torch", "ray", "pyarrow", "pandas", "numpy", "pydantic", "pytorch-lightning", "rich", "typer")
LONGEST = 500
_SECRET = re.compile("KEY|SECRET|TOKEN|PASSW|CREDENTIAL", re.IGNORECASE)


@contextmanager
def border() -> Iterator[None]:
    """Turn what is raised inside into a sentence on standard error, and end the program with an exit code.

    An error that memsweep raises itself has its sentence (code 2). Any other exception is a fault of memsweep (code
    70): its traceback goes to a file, which the sentence names. If standard output is a pipe that nobody reads any
    more, the program ends without a word (code 1).
    """
    streams: tuple[Any, Any, Any] = (sys.stdin, sys.stdout, sys.stderr)
    sys.stdin = _NoInput()
    if sys.stdout is not None:
        sys.stdout = _Output(sys.stdout)
    if sys.stderr is not None:
        sys.stderr = _Errors(sys.stderr)
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except SystemExit:
        raise
    except BrokenPipeError:
        sys.exit(1)
    except KeyboardInterrupt:
        _end("interrupted", INTERRUPTED)
    except MemsweepError as error:
        _end(f"error: {error}", BAD_INPUT)
    except MemoryError as error:
        _end(f"error: not enough memory{f': {error}' if str(error) else ''}; valid: fewer points at once", BAD_INPUT)
    except Exception as error:
        _end(f"error: {_sentence(error)}", FAULT)
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        _close_broken(*streams[1:])


def working_folder() -> str:
    """Return the working folder.

    Raises:
        MemsweepError: It was removed or may not be read.
    """
    try:
        return os.getcwd()
    except OSError as error:
        problem = f"the working folder cannot be used: {error.strerror}"
        raise MemsweepError(f"{problem}; it was removed or may not be read, so change to another one (cd)") from None


def _end(message: str, code: int) -> None:
    print(visible(message), file=sys.stderr)
    sys.exit(code)


def _sentence(error: Exception) -> str:
    kind, text = type(error).__name__, redacted(" ".join(str(error).split()))
    short = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    try:
        handle, path = tempfile.mkstemp(prefix="memsweep-fault-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(redacted(_account(error)))
        rest = f"please report it with {path}, which holds the traceback and the versions of all packages"
    except OSError as problem:
        rest = f"no account of it could be written to {tempfile.tempdir}: {problem.strerror}"
    return f"this is a fault of memsweep, not of your input: {kind}: {short}; {rest}"


def _account(error: Exception) -> str:
    versions = []
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    lines = [
        f"memsweep {' '.join(sys.argv[1:])}",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, Python {platform.python_version()}, {platform.platform()}",
        ", ".join(versions),
        "",
        "".join(traceback.format_exception(error)),
    ]
    return "\n".join(lines)


def redacted(text: str) -> str:
    """Replace what may be a secret: keys in URIs, and the values of environment variables with names such as TOKEN."""
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= 8:
            text = text.replace(value, "***")
    return re.sub(r"(?<=://)[^\s'\"]*@", "***@", text)


class _Output:
    """Standard output. If it cannot be written, the error says so, and is not taken for one of the work in progress."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._named(self._stream.write, text)

    def flush(self) -> None:
        self._named(self._stream.flush)

    def _named(self, action: Any, *arguments: str) -> Any:
        try:
            return action(*arguments)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise ExportError(f"standard output: cannot be written: {error.strerror or error}") from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Errors(_Output):
    """Standard error. What cannot be written there is lost, since there is no other place to say so."""

    def _named(self, action: Any, *arguments: str) -> Any:
        with suppress(OSError):
            return action(*arguments)


class _NoInput(io.TextIOBase):
    """Standard input, which no command reads, so that code of a user cannot wait there for ever without a word."""

    def read(self, size: int | None = -1) -> str:
        from lightning_modules.user_code import CodeError  # `memsweep --help` needs no code of a user

        raise CodeError("it reads standard input, which memsweep keeps closed; valid: code that asks nothing")

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        return self.read()


def _close_broken(*streams: Any) -> None:
    """Point streams that cannot be written to nowhere, since Python flushes them once more when it ends."""
    for stream in streams:
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, io.UnsupportedOperation):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
        except AttributeError:
            continue  # there is no such stream
