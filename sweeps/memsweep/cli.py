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

from analysis.figures.parsing import figures_of
from lightning_modules.errors import MemsweepError
from sweeps.execution.on_ray.executor import RETRIES
from sweeps.execution.places import places_here
from sweeps.execution.worker import CHECKPOINT_SECONDS
from sweeps.planning.cost import RATED, Rate, Speeds
from sweeps.planning.explain import explain, summary
from sweeps.planning.plan import Packing, Plan
from sweeps.spec.sweep import Sweep
from sweeps.spec.sweep_file import load_sweep, preset_names
from sweeps.store.done import MARKS, STOPPED_BY, Done
from sweeps.store.store import Store

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
Device = Literal["cpu", "cuda", "auto"]
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
    except MemsweepError as error:
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
    study = load_sweep(sweep, settings or [])
    done, speeds = _known(place, study)
    planned = _plan(study, max_cohort, workers).minus(done)
    rate = _rate(planned, speeds)
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
        str | None,
        typer.Option(
            "--address",
            metavar="ADDRESS",
            help="a Ray cluster's address, or auto on one of its nodes; http://HOST:8265 hands the run to the cluster "
            "as a job, and follows it",
        ),
    ] = None,
    device: Annotated[
        Device,
        typer.Option("--device", help="cuda: cohorts share GPUs by their memory; auto: GPUs, and nodes without one"),
    ] = "cpu",
    checkpoint_every: Annotated[
        float,
        typer.Option("--checkpoint-every", min=0, metavar="SECONDS", help="between two checkpoints of a cohort"),
    ] = CHECKPOINT_SECONDS,
    retries: Annotated[
        int,
        typer.Option(
            "--retries",
            min=0,
            metavar="N",
            help="tries of a cohort that was lost with its worker or node, before it is cut in halves",
        ),
    ] = RETRIES,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="train again what is recorded as failed")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="show what Ray and Tune say")] = False,
    as_json: Json = False,
) -> None:
    """Train what is missing and store it. Interrupt it at any time; the same command goes on."""
    from memsweep.progress import Display

    from sweeps.execution.inline import Inline
    from sweeps.execution.on_ray.executor import RayTune
    from sweeps.execution.on_ray.jobs import hand_over, is_job_address
    from sweeps.store.compaction import compact_if_many

    if is_job_address(address):
        options = {
            "max-cohort": max_cohort, "workers": workers, "device": device, "checkpoint-every": checkpoint_every,
            "retries": retries, "retry-failed": retry_failed, "verbose": verbose, "json": as_json,
        }  # fmt: skip
        if not hand_over(
            address, sweep, store, settings or [], options, lambda line: console.print(line, markup=False)
        ):
            raise typer.Exit(1)
        return
    place = Store(store)
    executor = (
        Inline(device, checkpoint_every) if inline else RayTune(address, device, verbose, checkpoint_every, retries)
    )
    study = load_sweep(sweep, settings or [])
    figures_of(study)
    done, speeds = _known(place, study)
    said = Console(stderr=True, highlight=False) if as_json else console

    def say(message: str) -> None:
        said.print(message, markup=False, soft_wrap=True)

    try:
        with executor.places(workers, say) as places:
            everything = Plan.of(study, places.packing(workers, max_cohort))
            todo = everything.minus(done.without_failed() if retry_failed else done)
            say(explain(todo, _rate(todo, speeds)))
            with Display(todo, said) as display:
                if todo.missing:
                    executor.execute(todo, place, display.listen)
            merged = compact_if_many(place) if todo.missing else None
            if merged:
                say(f"store merged: {merged.words()}")
    except KeyboardInterrupt:
        message = "interrupted; what was trained is in the store, and the same command goes on from there"
        errors.print(message, markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    if as_json:
        _print_json(display.summary())
    if display.failed:
        say(f"see `memsweep status {sweep}` for what failed, `--retry-failed` to train it again")
        raise typer.Exit(1)


@app.command()
def status(sweep: SweepName, store: StoreUri = "results", settings: Settings = None, as_json: Json = False) -> None:
    """How much of the grid is there, and what failed and why."""
    from memsweep.status import describe, report

    place = Store(store)
    planned = _plan(load_sweep(sweep, settings or []))
    found = report(planned, place.read(["reason", *planned.outcome_columns], {cell.epoch for cell in planned.cells}))
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
    from analysis.report.export import exported, write_table

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
    from analysis.figures.kinds import FigureSpec
    from analysis.report.study import draw_heatmap

    shown = None if annotate == "none" else annotate
    spec = FigureSpec("heatmap", x, y, value, tuple(facet or ()), epoch=epoch, annotate=shown)
    planned = _plan(load_sweep(sweep, settings or []))
    contents = spec.needs.read(planned, Store(store))
    _warn_of_damage(contents.damaged)
    draw_heatmap(planned, contents, out, spec)
    console.print(str(out), markup=False, soft_wrap=True)


@app.command("report")
def write_report(
    sweep: SweepName,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="default: report/SWEEP")] = None,
    store: StoreUri = "results",
    settings: Settings = None,
) -> None:
    """Every figure of the study (PNG, SVG and PDF), and a page that shows them."""
    from analysis.claims.settled import settle
    from analysis.report.study import draw_report

    place = Store(store)
    study = load_sweep(sweep, settings or [])
    figures = figures_of(study)
    planned, contents = Plan.of(study), place.read()
    _warn_of_damage(contents.damaged)
    decisions = settle([(sweep, study)], place, contents, shlex.join(_options(store, settings)))
    folder = out or Path("report") / study.name
    paths, left_out = draw_report(study, planned, contents, folder, figures, decisions, place)
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
    from analysis.claims.settled import settle, sweeps_of_claims
    from analysis.report.claims_page import commands, summary, verdict_table, write_page

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


@app.command()
def replay(
    sweep: SweepName,
    scheduler: Annotated[
        Literal["asha", "hyperband", "median"], typer.Option("--scheduler", help="one of Ray Tune's own")
    ],
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", metavar="MEASURE", help="what it sees; default: validation_accuracy where there is one"
        ),
    ] = None,
    mode: Annotated[
        Literal["max", "min"] | None,
        typer.Option("--mode", help="which way is better; default: accuracies max, losses min"),
    ] = None,
    grace_period: Annotated[
        int | None,
        typer.Option("--grace-period", metavar="E", help="epochs before it judges (asha, median); default: 1"),
    ] = None,
    reduction_factor: Annotated[
        float | None,
        typer.Option("--reduction-factor", metavar="F", help="one in F goes on (asha, hyperband); default: 3"),
    ] = None,
    brackets: Annotated[int | None, typer.Option("--brackets", metavar="N", help="of asha; default: 1")] = None,
    min_samples: Annotated[
        int | None,
        typer.Option("--min-samples", metavar="N", help="others that must have got as far (median); default: 3"),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="W", help="trainings that run at once")] = 8,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, metavar="N", help="orders of arrival: that of the sweep, then shuffles")
    ] = 20,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="where each training stopped: a .parquet or .csv file"),
    ] = None,
    store: StoreUri = "results",
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """What an early-stopping scheduler would have done on the recorded curves, beside what it has to beat."""
    import pyarrow as pa
    from memsweep.progress import counted

    from analysis.report.export import write_table
    from analysis.stopping import replayed as summary
    from sweeps.replay.replay import frame, replay_all

    planned = _plan(load_sweep(sweep, settings or []))
    options = {"scheduler": scheduler, "metric": metric, "mode": mode, "grace_period": grace_period,
               "reduction_factor": reduction_factor, "brackets": brackets, "min_samples": min_samples}  # fmt: skip
    chosen = summary.settings_from(options, planned)
    command = shlex.join(["memsweep", "run", sweep, *_options(store, settings)])
    curves = summary.recorded(planned, Store(store), chosen, command)
    with counted("replays", errors) as listen:
        found = replay_all(curves, [chosen], seeds, workers, listen=listen)
    lines = summary.lines(curves, found, chosen)
    if out:
        write_table(pa.Table.from_pandas(frame(curves, found), preserve_index=False), out)
    if as_json:
        _print_json(summary.for_machines(lines))
        return
    wide = console if console.is_terminal else Console(width=max(console.width, 150), highlight=False)
    wide.print(summary.table(lines))


@app.command("stopping-study")
def stopping_study(
    sweep: SweepName,
    scheduler: Annotated[
        list[str] | None,
        typer.Option("--scheduler", metavar="NAME", help="asha, hyperband or median; repeatable; default: all"),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="MEASURE",
            help="what they see; repeatable; default: validation_accuracy where there is one, and test_accuracy",
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="FIELD",
            help="a search for each value of this field; repeatable; default: the fields of the data, and seed",
        ),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="W", help="trainings that run at once")] = 8,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, metavar="N", help="orders of arrival: that of the sweep, then shuffles")
    ] = 20,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="default: stopping/SWEEP")] = None,
    store: StoreUri = "results",
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """What Tune's schedulers save at many settings, what it costs, and whom they stop: tables, figures and a page."""
    from memsweep.progress import counted

    from analysis.stopping import evidence as early
    from analysis.stopping.compared import question

    study = load_sweep(sweep, settings or [])
    planned = _plan(study)
    asked = question(planned, scheduler or [], metric or [], seeds, workers, by or [])
    run = shlex.join(["memsweep", "run", sweep, *_options(store, settings)])
    found = early.evidence(planned, Store(store), asked, run)
    _warn_of_damage(found.contents.damaged)
    with counted("searches", errors) as listen:
        stops = early.replayed(asked, found.curves, found.searches, listen)
    made, paths = early.write(study, planned, found, stops, asked, out or Path("stopping") / study.name)
    if as_json:
        _print_json(early.for_machines(made))
        return
    wide = console if console.is_terminal else Console(width=max(console.width, 150), highlight=False)
    for table in early.printed(made):
        wide.print(table)
    console.print(f"page: {paths[0]}", markup=False, soft_wrap=True)


@app.command()
def compact(store: StoreUri = "results", as_json: Json = False) -> None:
    """Merge the store's small parts into large ones. Others may read, train and compact meanwhile."""
    from dataclasses import asdict

    from sweeps.store.compaction import compact

    done = compact(Store(store))
    _warn_of_damage(done.left_alone)
    if as_json:
        _print_json(asdict(done))
    else:
        console.print(f"{store}: {done.words()}", markup=False, soft_wrap=True)


def _plan(study: Sweep, max_cohort: int = Packing.max_cohort, workers: int | None = None) -> Plan:
    return Plan.of(study, places_here(workers).packing(workers, max_cohort))


def _options(store: str, settings: list[str] | None) -> list[str]:
    """What a command needs to speak of the same store and the same settings."""
    return [
        *(word for setting in settings or [] for word in ("--set", setting)),
        *(["--store", store] if store != "results" else []),
    ]


def _known(store: Store, study: Sweep) -> tuple[Done, Speeds]:
    """What the store says is done, with the measures that this sweep asks for, and how fast that was."""
    stopped = [STOPPED_BY] if study.early_stopping else []
    contents = store.read([*(MARKS[measure] for measure in study.measurement.epochs), *stopped, *RATED], study.asked)
    _warn_of_damage(contents.damaged)
    return Done.of(contents.table), Speeds.of(contents.table)


def _rate(planned: Plan, speeds: Speeds) -> Rate:
    return speeds.rate({cell.point.model for cell in planned.cells})


def _warn_of_damage(damaged: Mapping[str, str]) -> None:
    for path, reason in damaged.items():
        errors.print(f"warning: {path}: {reason}; skipped", markup=False, soft_wrap=True)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, default=list))
