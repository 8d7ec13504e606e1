"""The commands `list`, `plan`, `run` and `status`."""

from __future__ import annotations

from typing import Annotated

import typer
from memsweep.cli.app import app, console, errors, print_json, say
from memsweep.cli.options import Json, MaxCohort, Settings, StoreUri, SweepName, Trust, Workers
from memsweep.terminal import tell
from rich.table import Table

from sweeps.execution.defaults import CHECKPOINT_SECONDS, RETRIES, Device
from sweeps.execution.supervision import INTERRUPTED


@app.command("list")
def list_presets(as_json: Json = False) -> None:
    """List the presets, one per line."""
    from memsweep.inputs import presets

    if as_json:
        print_json(
            [
                {"name": p.name, "question": p.question, "axes": p.axes, "cells": p.size(),
                 "full": p.full and p.full.size()}
                for p in presets()
            ]
        )  # fmt: skip
        return
    table = Table(box=None, pad_edge=False)
    for heading, justify in (("preset", "left"), ("cells", "right"), ("-full", "right"), ("question", "left")):
        table.add_column(heading, justify=justify, no_wrap=heading != "question")  # type: ignore[arg-type]
    for preset in presets():
        full = f"{preset.full.size():,}" if preset.full else ""
        table.add_row(preset.name, f"{preset.size():,}", full, preset.question)
    console.print(table)


@app.command()
def plan(
    sweep: SweepName,
    store: StoreUri = "results",
    settings: Settings = None,
    trust: Trust = None,
    max_cohort: MaxCohort = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Show what is done, what would be trained, what folding and packing save, and how long it takes. Train nothing."""
    from memsweep import running
    from memsweep.inputs import load_sweep

    planned = running.plan(
        load_sweep(sweep, settings or [], trust or []), store, max_cohort=max_cohort, workers=workers
    )
    print_json(planned) if as_json else say(planned)


@app.command()
def run(
    sweep: SweepName,
    store: StoreUri = "results",
    settings: Settings = None,
    trust: Trust = None,
    max_cohort: MaxCohort = None,
    workers: Workers = None,
    inline: Annotated[
        bool | None,
        typer.Option(
            "--inline/--ray",
            help="train in this process, or on Ray; default: in this process if that ends earlier than starting Ray",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="ADDRESS",
            help="a Ray cluster's address, or auto on one of its nodes; http://HOST:8265 submits the run to the "
            "cluster as a job and follows it",
        ),
    ] = None,
    device: Annotated[
        Device,
        typer.Option("--device", help="cuda: cohorts share the memory of GPUs; auto: GPUs, and nodes without one"),
    ] = "cpu",
    checkpoint_every: Annotated[
        float,
        typer.Option("--checkpoint-every", min=0, metavar="SECONDS", help="time between two checkpoints of a cohort"),
    ] = CHECKPOINT_SECONDS,
    retries: Annotated[
        int,
        typer.Option(
            "--retries",
            min=0,
            metavar="N",
            help="retries of a cohort that was lost with its worker or node, before it is split into halves",
        ),
    ] = RETRIES,
    max_failures: Annotated[
        int | None,
        typer.Option(
            "--max-failures",
            min=1,
            metavar="N",
            help="failed trainings after which no more are started; default: a tenth of them, at least 10, and 8 per "
            "cohort if all fail for one reason",
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="train again what is recorded as failed")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="show the output of Ray and Tune")] = False,
    as_json: Json = False,
) -> None:
    """Train what is missing and store it. You can interrupt it at any time; the same command resumes it."""
    from memsweep import running
    from memsweep.inputs import as_store, command_line, load_sweep

    study, place = load_sweep(sweep, settings or [], trust or []), as_store(store)
    shown = errors if as_json else console
    try:
        done = running.run(
            study, place, max_cohort=max_cohort, workers=workers, inline=inline,
            address=address, device=device, checkpoint_every=checkpoint_every, retries=retries,
            max_failures=max_failures, retry_failed=retry_failed, verbose=verbose, progress=shown,
            job_options=["--json"] if as_json else [],
        )  # fmt: skip
    except KeyboardInterrupt:
        tell(errors, INTERRUPTED)
        raise typer.Exit(130) from None
    if "succeeded" in done:
        raise typer.Exit(int(not done["succeeded"]))
    if as_json:
        print_json(done)
    if done["failed"]:
        status = command_line("status", study, place)
        tell(shown, f"see `{status}` for what failed; `--retry-failed` tries it again")
        raise typer.Exit(1)


@app.command()
def status(
    sweep: SweepName,
    store: StoreUri = "results",
    settings: Settings = None,
    trust: Trust = None,
    as_json: Json = False,
) -> None:
    """Show how much of the grid is done, and what failed and why."""
    from memsweep import running
    from memsweep.inputs import load_sweep

    summary = running.status(load_sweep(sweep, settings or [], trust or []), store)
    print_json(summary) if as_json else say(summary)
