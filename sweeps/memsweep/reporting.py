"""Pictures of a trained sweep: its report, and a single heatmap."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from memsweep.inputs import DEFAULT_STORE, StoreLike, SweepLike, as_sweep, command_name, existing_store, store_option
from memsweep.messages import warn, warn_of_damage
from memsweep.missing_data import read_without_data
from memsweep.running import plan_of

from sweeps.planning.plan import Plan


def report(sweep: SweepLike, store: StoreLike = DEFAULT_STORE, out: str | Path | None = None) -> list[Path]:
    """Draw every figure of a sweep (PNG, SVG and PDF) and write a page that shows them.

    Args:
        sweep: a `Sweep`, or the name of a preset or file.
        store: the store that holds the results.
        out: the folder to write to; by default report/NAME.

    Returns:
        The paths of the written files, starting with the page. A figure that is left out causes a MemsweepWarning.

    Raises:
        SweepError, StoreError: if the sweep or the store cannot be used.
        AnalysisError: if a figure cannot be drawn.
        ExportError: if the folder cannot be written.

    Examples:
        >>> ms.report("quickstart", "results")[0]
        PosixPath('report/quickstart/index.html')
    """
    from analysis.claims.settled import claims_of, evidence, settle_sweep
    from analysis.figures.parsing import figures_of
    from analysis.report.study import draw_report

    study, place = as_sweep(sweep), existing_store(store)
    figures = figures_of(study)
    with read_without_data(place):
        planned, contents = Plan.of(study), place.read()
        warn_of_damage(contents.damaged)
        measures = [spec.measure for spec in figures if spec.measure]
        tables = evidence(planned, place, contents, claims_of(study), *measures)
        claims = settle_sweep(command_name(study), study, tables, shlex.join(store_option(place)))
        folder = Path(out or Path("report") / study.name)
        paths, left_out = draw_report(study, planned, contents, tables, folder, figures, claims)
    warn(left_out)
    return paths


def write_heatmap(
    sweep: SweepLike,
    store: StoreLike,
    out: Path,
    x: str,
    y: str,
    value: str,
    facet: Sequence[str] = (),
    epoch: int | None = None,
    annotate: str | None = "auto",
) -> None:
    """Draw one heatmap to a file. Only the columns that the heatmap needs are read, whereas `points` reads all of them.

    Raises:
        AnalysisError: if the sweep does not have a field or measure.
        ExportError: if the file cannot be written.
    """
    from analysis.figures.kinds import FigureSpec
    from analysis.report.study import draw_heatmap

    spec = FigureSpec("heatmap", x, y, value, tuple(facet), epoch=epoch, annotate=annotate)
    study, place = as_sweep(sweep), existing_store(store)
    with read_without_data(place):
        planned = plan_of(study)
        contents = spec.needs.read(planned, place)
        warn_of_damage(contents.damaged)
        draw_heatmap(planned, contents, out, spec)
