"""The program: commands register on `app`, and `main` converts errors to a message and an exit code."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from memsweep.messages import MemsweepWarning
from rich.console import Console

from lightning_modules.errors import MemsweepError
from sweeps.plugins import load_plugins

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Train whole grids of networks on partly random labels, and map where they memorize and where they "
    "generalize.",
)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def main() -> None:
    """Run the program. Bad input causes one message on standard error and exit code 2."""
    sys.path.append(os.getcwd())  # for custom data sets and models; it comes last, so that it shadows nothing
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot print × must not end the program
    try:
        load_plugins()
        app(standalone_mode=True)  # this converts a KeyboardInterrupt to exit code 130
    except MemsweepError as error:
        _fail(str(error))
    except BrokenPipeError:
        sys.exit(1)


@app.callback()
def before_any_command(context: typer.Context) -> None:
    context.with_resource(_one_line_warnings())


class _ToStderr(logging.Handler):
    """Writes `warning: ...` on standard error, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        stream: Any = sys.stderr
        # While rich draws a bar, it stands in for the stream, and prints above the bar on standard output.
        real = getattr(stream, "rich_proxied_file", stream)
        print(f"{record.levelname.lower()}: {record.getMessage()}", file=stream if real.isatty() else real)


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Print memsweep's own warnings as `warning: ...` on standard error, and others as Python does."""
    others, log, handler = warnings.showwarning, logging.getLogger("memsweep"), _ToStderr(logging.WARNING)

    def show(message: Warning | str, category: type[Warning], *more: Any, **named: Any) -> None:
        if issubclass(category, MemsweepWarning):
            errors.print(f"warning: {message}", markup=False, soft_wrap=True)
        else:
            others(message, category, *more, **named)

    with warnings.catch_warnings():
        warnings.simplefilter("always", MemsweepWarning)
        warnings.showwarning = show
        log.addHandler(handler)
        try:
            yield
        finally:
            log.removeHandler(handler)


def _fail(message: str) -> None:
    errors.print(f"error: {message}", markup=False, soft_wrap=True)
    sys.exit(2)


def say(text: object) -> None:
    """Print lines of any length on standard output."""
    console.print(str(text), markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print JSON for programs."""
    typer.echo(json.dumps(value, indent=2, default=list))


def wide(columns: int) -> Console:
    """Return standard output with room for a table of this many columns. A terminal keeps its own width."""
    return console if console.is_terminal else Console(width=max(console.width, columns), highlight=False)
