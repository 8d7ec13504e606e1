"""The output of `memsweep heatmap` and `memsweep report`: figures and pages drawn from a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from analysis.claims import Decision, Evidence
from analysis.errors import AnalysisError
from analysis.figures.drawing import draw
from analysis.figures.kinds import FigureSpec
from analysis.figures.style import check_suffix, save_figure
from analysis.report.export import writing
from analysis.report.page import write_report
from analysis.tables.cells import select
from analysis.tables.frames import chance, frames
from sweeps.planning.gc_disabled import gc_disabled
from sweeps.planning.plan import Plan
from sweeps.spec.sweep import Sweep
from sweeps.store.store import Contents


@gc_disabled()
def draw_heatmap(plan: Plan, contents: Contents, out: Path, spec: FigureSpec) -> None:
    """Draw one heatmap into a file.

    Args:
        plan: The plan of the sweep.
        contents: The contents of the store, with at least the part that `spec.needs` reads.
        out: A .png, .svg or .pdf file.
        spec: The heatmap.

    Raises:
        AnalysisError: The heatmap cannot be drawn.
        ExportError: The file cannot be written.
    """
    check_suffix(out)
    points, curves = frames(plan, contents, spec.needs)
    picture = draw(spec, points, curves, chance(plan))
    with writing(out):
        save_figure(picture, out)


def draw_report(
    sweep: Sweep,
    plan: Plan,
    contents: Contents,
    tables: Evidence,
    out: Path,
    figures: Sequence[FigureSpec] = (),
    claims: Sequence[Decision] = (),
) -> tuple[list[Path], list[str]]:
    """Write the figures and the page of a study.

    Args:
        sweep: The study.
        plan: The plan of the sweep.
        contents: The contents of the store.
        tables: The tables of the sweep, with the measures of single examples that the figures need.
        out: The folder to write into.
        figures: The figures of the sweep (see `parsing.figures_of`). If empty, `defaults.default_figures` chooses them.
        claims: The claims that rest on the study.

    Returns:
        The paths written, starting with the page, and one sentence per figure that was left out because it fixes a
        field at a value that the grid, as changed by --set, does not have.

    Raises:
        AnalysisError: A figure cannot be drawn.
        ExportError: A file cannot be written.
    """
    description: dict[str, Any] = {
        "name": sweep.name,
        "question": sweep.question,
        "definition": sweep.definition(),
        "fixed": dict(sweep.fixed),
        "axes": {name: sorted({getattr(cell.point, name) for cell in plan.cells}, key=_order) for name in sweep.axes},
        "provenance": provenance(plan, contents),
        "chance": chance(plan),
    }
    kept, left_out = [], []
    for index, spec in enumerate(figures):
        try:
            chosen = select(tables.points, spec.where)
            for where in (spec.x_where, spec.y_where):
                select(chosen, where)
            kept.append(spec)
        except AnalysisError as error:
            left_out.append(f"figures[{index}] is left out: where: {error}")
    with writing(out):
        paths = write_report(tables.points, tables.curves, description, kept, out, claims, tables.examples)
    return paths, left_out


def _order(value: Any) -> tuple[bool, Any]:
    return value is not None, value


def provenance(plan: Plan, contents: Contents) -> dict[str, str]:
    """Describe versions, devices, hosts, dates and compute of a sweep's trainings, as a mapping from label to text."""
    wanted = pa.array(sorted({cell.trajectory_id for cell in plan.cells}), pa.string())
    table = contents.table.filter(pc.is_in(contents.table["trajectory_id"], wanted))
    if not table.num_rows:
        return {}
    seconds = table.group_by("trajectory_id").aggregate([("wall_seconds", "max")])["wall_seconds_max"]
    columns = {
        "memsweep": "memsweep_version",
        "commit": "commit",
        "torch": "torch_version",
        "ray": "ray_version",
        "device": "device",
        "host": "host",
    }
    values = {
        label: ", ".join(sorted(filter(None, table[name].unique().to_pylist()))) for label, name in columns.items()
    }
    dates = table["finished_at"]
    return {
        **values,
        "trained": f"{pc.min(dates).as_py():%Y-%m-%d %H:%M} to {pc.max(dates).as_py():%Y-%m-%d %H:%M} UTC",
        "compute": f"{pc.sum(seconds).as_py() or 0:.1f} worker-seconds, {len(seconds):,} trainings",
    }
