"""The command `compact`."""

from __future__ import annotations

from memsweep.cli.app import app, print_json, say
from memsweep.cli.options import Json, StoreUri


@app.command()
def compact(store: StoreUri = "results", as_json: Json = False) -> None:
    """Merge the store's small parts into large ones. Other processes may read, train and compact at the same time."""
    from memsweep import running

    merged = running.compact(store)
    print_json(merged) if as_json else say(merged)
