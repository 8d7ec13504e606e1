"""The command-line program. Commands register on `app`, and `main` converts errors to a message and an exit code."""

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
    sys.path.append(os.getcwd())  # for custom data sets and models; last, so that the folder shadows no package
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
    """A logging handler that writes `warning: ...` to standard error, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        stream: Any = sys.stderr
        # While rich draws a bar, sys.stderr is a proxy, which prints above the bar on standard output.
        real = getattr(stream, "rich_proxied_file", stream)
        print(f"{record.levelname.lower()}: {record.getMessage()}", file=stream if real.isatty() else real)


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Print memsweep's own warnings as `warning: ...` on standard error; other warnings keep Python's format."""
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
    """Print text to standard output without wrapping long lines."""
    console.print(str(text), markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value as JSON to standard output."""
    typer.echo(json.dumps(value, indent=2, default=list))


def wide(columns: int) -> Console:
    """Return a console on standard output: as wide as the terminal if there is one, otherwise `columns` or wider."""
    return console if console.is_terminal else Console(width=max(console.width, columns), highlight=False)
