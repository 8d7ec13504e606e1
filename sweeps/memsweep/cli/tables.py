"""The commands `export`, `point`, `heatmap` and `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from memsweep.cli.app import app, say
from memsweep.cli.options import Settings, StoreUri, SweepName, Trust
from memsweep.options import Rows


@app.command()
def export(
    sweep: SweepName,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="a .parquet or .csv file")],
    store: StoreUri = "results",
    settings: Settings = None,
    trust: Trust = None,
    table: Annotated[
        Rows,
        typer.Option(
            "--table",
            help="points; curves: one row per evaluated epoch; examples: measures per example; scores: memorization "
            "and influence of each training example, over all seeds",
        ),
    ] = "points",
) -> None:
    """Write one tidy row per point, in the order of the sweep, or another table."""
    from memsweep.inputs import load_sweep
    from memsweep.tables import export as write_rows

    count = write_rows(load_sweep(sweep, settings or [], trust or []), store, out, table)
    say(f"{out}: {count:,} rows")


@app.command()
def point(
    sweep: SweepName,
    row: Annotated[str, typer.Argument(metavar="ID", help="a point_id, or a trajectory_id, or the beginning of one")],
    cell: Annotated[bool, typer.Option("--cell", help="the point with all seeds of the sweep")] = False,
    settings: Settings = None,
    trust: Trust = None,
) -> None:
    """Print the sweep file of one row of a table: of a point, a training, or a cell."""
    from memsweep.inputs import load_sweep

    say(str(load_sweep(sweep, settings or [], trust or []).excerpt(row, cell)).rstrip())


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
    epoch: Annotated[
        int | None,
        typer.Option("--epoch", min=0, metavar="E", help="an evaluated epoch to draw instead of each point's own"),
    ] = None,
    annotate: Annotated[
        str, typer.Option("--annotate", metavar="WHAT", help="the number in a cell: auto, mean, n, interval or none")
    ] = "auto",
    store: StoreUri = "results",
    settings: Settings = None,
    trust: Trust = None,
) -> None:
    """Draw a measure over two fields, averaged over seeds, with missing cells hatched."""
    from memsweep import reporting
    from memsweep.inputs import load_sweep

    shown = None if annotate == "none" else annotate
    reporting.write_heatmap(
        load_sweep(sweep, settings or [], trust or []), store, out, x, y, value, facet or (), epoch, shown
    )
    say(out)


@app.command("report")
def write_report(
    sweep: SweepName,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="default: report/SWEEP")] = None,
    store: StoreUri = "results",
    settings: Settings = None,
    trust: Trust = None,
) -> None:
    """Draw every figure of the sweep (PNG, SVG and PDF), and write a page that shows them."""
    from memsweep import reporting
    from memsweep.inputs import load_sweep

    paths = reporting.report(load_sweep(sweep, settings or [], trust or []), store, out)
    say("\n".join(str(path) for path in paths if path.suffix in (".png", ".html")))
