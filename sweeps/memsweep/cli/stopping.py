"""The commands `replay` and `stopping-study`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from memsweep.cli.app import app, errors, print_json, say, wide
from memsweep.cli.options import AtOnce, Json, Orders, Settings, StoreUri, SweepName, Trust


def scheduler_name(text: str) -> str:
    """Check the name of a scheduler, which may be a registered one."""
    from sweeps.spec.stopping import judging_schedulers

    if text not in judging_schedulers():
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(map(repr, judging_schedulers()))}.")
    return text


@app.command()
def replay(
    sweep: SweepName,
    scheduler: Annotated[
        str,
        typer.Option(
            "--scheduler",
            metavar="NAME",
            parser=scheduler_name,
            help="one of Ray Tune's own, asha, hyperband or median, or a registered one",
        ),
    ],
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", metavar="MEASURE", help="the metric it sees; default: validation_accuracy where there is one"
        ),
    ] = None,
    mode: Annotated[
        Literal["max", "min"] | None,
        typer.Option("--mode", help="which way is better; default: accuracies max, losses min"),
    ] = None,
    grace_period: Annotated[
        int | None,
        typer.Option("--grace-period", metavar="E", help="epochs before it first judges (asha, median); default: 1"),
    ] = None,
    reduction_factor: Annotated[
        float | None,
        typer.Option("--reduction-factor", metavar="F", help="one in F goes on (asha, hyperband); default: 3"),
    ] = None,
    brackets: Annotated[int | None, typer.Option("--brackets", metavar="N", help="brackets (asha); default: 1")] = None,
    min_samples: Annotated[
        int | None,
        typer.Option("--min-samples", metavar="N", help="others that must have reached an epoch (median); default: 3"),
    ] = None,
    workers: AtOnce = 8,
    seeds: Orders = 20,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="where each training stopped: a .parquet or .csv file"),
    ] = None,
    store: StoreUri = "results",
    settings: Settings = None,
    trust: Trust = None,
    as_json: Json = False,
) -> None:
    """Show what an early-stopping scheduler would have done on the recorded curves, compared with baselines."""
    from memsweep import early_stopping
    from memsweep.inputs import load_sweep

    replayed = early_stopping.replay(
        load_sweep(sweep, settings or [], trust or []), store, scheduler=scheduler, metric=metric, mode=mode,
        grace_period=grace_period, reduction_factor=reduction_factor, brackets=brackets, min_samples=min_samples,
        workers=workers, seeds=seeds, progress=errors,
    )  # fmt: skip
    if out:
        replayed.write(out)
    print_json(replayed.figures()) if as_json else wide(150).print(replayed.table())


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
            help="the metric they see; repeatable; default: validation_accuracy where there is one, and test_accuracy",
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
    workers: AtOnce = 8,
    seeds: Orders = 20,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="default: stopping/SWEEP")] = None,
    store: StoreUri = "results",
    settings: Settings = None,
    trust: Trust = None,
    as_json: Json = False,
) -> None:
    """Show what Tune's schedulers save at many settings, what it costs, and which trainings they stop."""
    from memsweep import early_stopping
    from memsweep.inputs import load_sweep

    study = early_stopping.stopping_study(
        load_sweep(sweep, settings or [], trust or []), store, schedulers=scheduler or [], metrics=metric or [],
        by=by or [], workers=workers, seeds=seeds, out=out, progress=errors,
    )  # fmt: skip
    if as_json:
        print_json(study.figures())
        return
    for table in study.tables():
        wide(150).print(table)
    say(f"page: {study.page}")
