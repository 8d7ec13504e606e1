"""The command line, which parses arguments, calls the functions of the API, and prints."""

# A module registers its commands when it is imported, and --help lists them in this order.
# isort: off
from memsweep.cli import running, tables, claims, stopping, upkeep  # noqa: F401
from memsweep.cli.app import app, main

__all__ = ["app", "main"]
