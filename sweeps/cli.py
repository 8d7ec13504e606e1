"""The command line: parses, calls, prints. What a command does lives in the modules it calls."""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from lightning_modules.errors import InputError
from sweeps.cost import Rate, available_bytes, measured_rate
from sweeps.errors import MemsweepError
from sweeps.explain import explain, summary
from sweeps.grid import Sweep
from sweeps.plan import Packing, Plan
from sweeps.store import MARKS, Done, Store
from sweeps.sweep_file import check_figures, load_sweep, preset_names

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

SweepName = Annotated[str, typer.Argument(metavar="SWEEP", help="a preset's name (`memsweep list`) or a YAML file")]
StoreUri = Annotated[str, typer.Option("--store", metavar="URI", help="a folder, or s3://BUCKET/PATH")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="fix a field, or make an axis of it: --set 'seed=[0, 1]'; repeatable"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="print JSON for machines")]
MaxCohort = Annotated[int, typer.Option("--max-cohort", min=1, metavar="N", help="trainings in one stack, at most")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, metavar="N", help="cohorts trained at once; default: one a core")
]
Device = Literal["cpu", "cuda"]
Rows = Literal["points", "curves", "examples", "scores"]
Seen = Annotated[
    int | None,
    typer.Option("--epoch", min=0, metavar="E", help="draw at this evaluated epoch, not at each point's last"),
]


def main() -> None:
    """The program. Bad input is one message on standard error and exit code 2."""
    sys.path.append(os.getcwd())  # where a data set or model of the user's own lies; last, so that it shadows nothing
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without × is no reason to end
    try:
        app(standalone_mode=True)  # which makes an exit of 130 of a KeyboardInterrupt
    except (MemsweepError, InputError) as error:
        _fail(str(error))
    except ValueError as error:
        # analysis has errors of its own; its package is imported only by the commands that draw.
        if type(error).__module__.partition(".")[0] != "analysis":
            raise
        _fail(str(error))
    except BrokenPipeError:
        sys.exit(1)


def _fail(message: str) -> None:
    errors.print(f"error: {message}", markup=False, soft_wrap=True)
    sys.exit(2)


@app.command("list")
def list_presets(as_json: Json = False) -> None:
    """The presets, one line each."""
    presets = [load_sweep(name) for name in preset_names()]
    if as_json:
        _print_json(
            [
                {"name": p.name, "question": p.question, "axes": p.axes, "cells": p.size(),
                 "full": p.full and p.full.size()}
                for p in presets
            ]
        )  # fmt: skip
        return
    table = Table(box=None, pad_edge=False)
    for heading, justify in (("preset", "left"), ("cells", "right"), ("-full", "right"), ("question", "left")):
        table.add_column(heading, justify=justify, no_wrap=heading != "question")  # type: ignore[arg-type]
    for preset in presets:
        full = f"{preset.full.size():,}" if preset.full else ""
        table.add_row(preset.name, f"{preset.size():,}", full, preset.question)
    console.print(table)


@app.command()
def plan(
    sweep: SweepName,
    store: StoreUri = "results",
    settings: Settings = None,
    max_cohort: MaxCohort = Packing.max_cohort,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """What is done, what would be trained, what folding and packing save, and how long it takes. Trains nothing."""
    place = Store(store)
    planned = _plan(load_sweep(sweep, settings or []), max_cohort, workers).minus(_done(place))
    rate = _rate(planned, place)
    if as_json:
        _print_json(summary(planned, rate))
    else:
        console.print(explain(planned, rate), markup=False, soft_wrap=True)


@app.command()
def run(
    sweep: SweepName,
    store: StoreUri = "results",
    settings: Settings = None,
    max_cohort: MaxCohort = Packing.max_cohort,
    workers: Workers = None,
    inline: Annotated[bool, typer.Option("--inline", help="train in this process, without Ray")] = False,
    address: Annotated[
        str | None, typer.Option("--address", metavar="ADDRESS", help="a Ray cluster's address, or auto")
    ] = None,
    device: Annotated[Device, typer.Option("--device", help="cuda takes one GPU a cohort")] = "cpu",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="train again what is recorded as failed")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="show what Ray and Tune say")] = False,
    as_json: Json = False,
) -> None:
    """Train what is missing and store it. Interrupt it at any time; the same command goes on."""
    from sweeps.execution.inline import Inline
    from sweeps.execution.ray_tune import RayTune
    from sweeps.progress import Display

    place = Store(store)
    executor = Inline(device) if inline else RayTune(address, device, verbose)
    study = load_sweep(sweep, settings or [])
    check_figures(study)
    everything = _plan(study, max_cohort, 1 if inline else workers)
    done = _done(place)
    todo = everything.minus(done.without_failed() if retry_failed else done)
    said = Console(stderr=True, highlight=False) if as_json else console
    said.print(explain(todo, _rate(todo, place)), markup=False, soft_wrap=True)
    try:
        with Display(todo, said) as display:
            if todo.missing:
                executor.execute(todo, place, display.listen)
    except KeyboardInterrupt:
        message = "interrupted; what was trained is in the store, and the same command goes on from there"
        errors.print(message, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    if as_json:
        _print_json(display.summary())
    if display.failed:
        hint = f"see `memsweep status {sweep}` for what failed, `--retry-failed` to train it again"
        said.print(hint, markup=False, soft_wrap=True)
        raise typer.Exit(1)


@app.command()
def status(sweep: SweepName, store: StoreUri = "results", settings: Settings = None, as_json: Json = False) -> None:
    """How much of the grid is there, and what failed and why."""
    from sweeps.status import describe, report

    place = Store(store)
    found = report(_plan(load_sweep(sweep, settings or [])), place.read(["parameters", "reason"]))
    if as_json:
        _print_json(found)
    else:
        command = shlex.join(["memsweep", "run", sweep, *_options(store, settings)])
        console.print(describe(found, command), markup=False, soft_wrap=True)


@app.command()
def export(
    sweep: SweepName,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="a .parquet or .csv file")],
    store: StoreUri = "results",
    settings: Settings = None,
    table: Annotated[
        Rows,
        typer.Option(
            "--table",
            help="points; curves: a row an evaluated epoch; examples: what `measure` took of single examples; scores: "
            "memorization and influence of each training example, over all seeds",
        ),
    ] = "points",
) -> None:
    """One tidy row a point, in the order of the sweep, or another table."""
    from sweeps.export import exported, write_table

    place, study = Store(store), load_sweep(sweep, settings or [])
    rows, damaged = exported(table, study, _plan(study), place)
    _warn_of_damage(damaged)
    write_table(rows, out)
    console.print(f"{out}: {rows.num_rows:,} rows", markup=False, soft_wrap=True)


@app.command()
def heatmap(
    sweep: SweepName,
    x: Annotated[str, typer.Option("--x", metavar="FIELD", help="the horizontal axis")],
    y: Annotated[str, typer.Option("--y", metavar="FIELD", help="the vertical axis")],
    value: Annotated[str, typer.Option("--value", metavar="MEASURE", help="what the colour shows")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="a .png, .svg or .pdf file")],
    facet: Annotated[
        list[str] | None, typer.Option("--facet", metavar="FIELD", help="a panel for each value; at most two")
    ] = None,
    epoch: Seen = None,
    annotate: Annotated[
        str, typer.Option("--annotate", metavar="WHAT", help="number in a cell: auto, mean, n, interval or none")
    ] = "auto",
    store: StoreUri = "results",
    settings: Settings = None,
) -> None:
    """One figure: a measure over two fields, seeds averaged, missing cells hatched."""
    from sweeps.pictures import draw_heatmap

    place = Store(store)
    planned, contents = _plan(load_sweep(sweep, settings or [])), place.read()
    _warn_of_damage(contents.damaged)
    draw_heatmap(
        planned,
        contents,
        out,
        x=x,
        y=y,
        value=value,
        facet=facet or [],
        epoch=epoch,
        annotate=None if annotate == "none" else annotate,
    )
    console.print(str(out), markup=False, soft_wrap=True)


@app.command("report")
def write_report(
    sweep: SweepName,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="default: report/SWEEP")] = None,
    store: StoreUri = "results",
    settings: Settings = None,
) -> None:
    """Every figure of the study (PNG, SVG and PDF), and a page that shows them."""
    from sweeps.claims import settle
    from sweeps.pictures import draw_report

    place = Store(store)
    study = load_sweep(sweep, settings or [])
    check_figures(study)
    planned, contents = Plan.of(study), place.read()
    _warn_of_damage(contents.damaged)
    decisions = settle([(sweep, study)], place, contents, shlex.join(_options(store, settings)))
    paths, left_out = draw_report(study, planned, contents, out or Path("report") / study.name, decisions, place)
    for why in left_out:
        errors.print(f"warning: {why}", markup=False, soft_wrap=True)
    shown = "\n".join(str(path) for path in paths if path.suffix in (".png", ".html"))
    console.print(shown, markup=False, soft_wrap=True)


@app.command()
def claims(
    sweeps: Annotated[
        list[str] | None, typer.Argument(metavar="[SWEEP]...", help="presets, as PRESET-full too; default: all claims")
    ] = None,
    store: StoreUri = "results",
    settings: Settings = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="write a page, with a small picture of each effect")
    ] = None,
    as_json: Json = False,
) -> None:
    """What the papers say, what was measured, and the verdict: supported, contradicted or undecided."""
    from sweeps.claims import commands, settle, summary, sweeps_of_claims, verdict_table, write_page

    place = Store(store)
    found = sweeps_of_claims(sweeps or [], settings or [])
    contents = place.read()
    _warn_of_damage(contents.damaged)
    decisions = settle(found, place, contents, shlex.join(_options(store, settings)))
    if as_json:
        from analysis.claims.wording import record

        _print_json([record(decision) for decision in decisions])
    else:
        # Five columns of words need room, which only a terminal can lack.
        wide = console if console.is_terminal else Console(width=max(console.width, 120), highlight=False)
        wide.print(verdict_table(decisions))
        console.print(summary(decisions), markup=False, soft_wrap=True)
        if lacking := commands(decisions):
            console.print("\n  ".join(["to train what is missing:", *lacking]), markup=False, soft_wrap=True)
    if out:
        errors.print(str(write_page(decisions, out)[0]), markup=False, soft_wrap=True)


def _plan(study: Sweep, max_cohort: int = Packing.max_cohort, workers: int | None = None) -> Plan:
    count = workers or len(os.sched_getaffinity(0))
    packing = Packing(count, max_cohort, int(0.6 * available_bytes() / count))
    return Plan.of(study, packing)


def _options(store: str, settings: list[str] | None) -> list[str]:
    """What a command needs to speak of the same store and the same settings."""
    return [
        *(word for setting in settings or [] for word in ("--set", setting)),
        *(["--store", store] if store != "results" else []),
    ]


def _done(store: Store) -> Done:
    contents = store.read([*MARKS.values()])
    _warn_of_damage(contents.damaged)
    return Done.of(contents.table)


def _rate(planned: Plan, store: Store) -> Rate:
    return measured_rate(store, {cell.point.model for cell in planned.cells})


def _warn_of_damage(damaged: Mapping[str, str]) -> None:
    for path, reason in damaged.items():
        errors.print(f"warning: {path}: {reason}; skipped", markup=False, soft_wrap=True)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, default=list))
