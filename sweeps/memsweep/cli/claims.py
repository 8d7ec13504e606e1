"""The command `claims`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from memsweep.cli.app import app, errors, print_json, say, wide
from memsweep.cli.options import Json, Settings, StoreUri
from memsweep.terminal import tell


@app.command()
def claims(
    sweeps: Annotated[
        list[str] | None, typer.Argument(metavar="[SWEEP]...", help="presets, or PRESET-full; default: all claims")
    ] = None,
    store: StoreUri = "results",
    settings: Settings = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="write a page, with a small picture of each effect")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what the papers say, what was measured, and the verdict: supported, contradicted or undecided."""
    from memsweep.judging import decide_claims

    decisions = decide_claims(sweeps or None, store, settings or [])
    if as_json:
        print_json(decisions.figures())
    else:
        wide(120).print(decisions.table())
        say(decisions.sentence())
    if out:
        tell(errors, decisions.write(out))
