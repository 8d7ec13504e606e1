"""The command line, which parses arguments, calls the functions of the API, and prints their results."""

# A module registers its commands when it is imported, and --help lists the commands in the order of these imports.
# isort: off
from memsweep.cli import running, tables, claims, stopping, upkeep  # noqa: F401
from memsweep.cli.app import app, main

__all__ = ["app", "main"]
