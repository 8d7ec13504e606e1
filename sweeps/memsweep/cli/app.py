"""The command-line program, on which commands register."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from memsweep.border import border, working_folder
from memsweep.messages import MemsweepWarning
from memsweep.terminal import Terminal, tell

from lightning_modules.shown_text import visible
from sweeps.plugins import load_plugins

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Train whole grids of networks on partly random labels, and map where they memorize and where they "
    "generalize.",
)
console = Terminal()
errors = Terminal(stderr=True)


def main() -> None:
    """Run the program. Whatever goes wrong ends in one sentence on standard error and an exit code (see `border`)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot print × must not end the program
    with border():
        sys.path.append(working_folder())  # for custom data and models; last, so that the folder shadows no package
        load_plugins()
        app(standalone_mode=True)  # this converts a KeyboardInterrupt to exit code 130


@app.callback()
def before_any_command(context: typer.Context) -> None:
    context.with_resource(_one_line_warnings())


class _ToStderr(logging.Handler):
    """A logging handler that writes `warning: ...` to standard error, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        stream: Any = sys.stderr
        # While rich draws a bar, sys.stderr is a proxy, which prints above the bar on standard output.
        real = getattr(stream, "rich_proxied_file", stream)
        text = visible(f"{record.levelname.lower()}: {record.getMessage()}")
        print(text, file=stream if real.isatty() else real)


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Print memsweep's own warnings as `warning: ...` on standard error; other warnings keep Python's format."""
    others, log, handler = warnings.showwarning, logging.getLogger("memsweep"), _ToStderr(logging.WARNING)

    def show(message: Warning | str, category: type[Warning], *more: Any, **named: Any) -> None:
        if issubclass(category, MemsweepWarning):
            tell(errors, f"warning: {message}")
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


def say(text: object) -> None:
    """Print text to standard output without wrapping long lines."""
    tell(console, text)


def print_json(value: Any) -> None:
    """Print a value as JSON to standard output."""
    print(json.dumps(value, indent=2, default=list))


def wide(columns: int) -> Terminal:
    """Return a console on standard output: as wide as the terminal if there is one, otherwise `columns` or wider."""
    return console if console.is_terminal else Terminal(width=max(console.width, columns))
