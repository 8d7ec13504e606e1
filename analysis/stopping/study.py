"""The whole study from its two frames: every table, every figure, and the page."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.figures.regime_maps import SWATCHES
from analysis.figures.style import Picture
from analysis.report.page import write_study_page
from analysis.stopping.bars import memorized_figure, whom_figure
from analysis.stopping.descent import SIDES
from analysis.stopping.findings import Findings, findings
from analysis.stopping.fronts import front_figure
from analysis.stopping.maps import grid_axes, stopping_map
from analysis.stopping.marks import marks_figure
from analysis.stopping.rank_figure import rank_figure
from analysis.stopping.recorded import Recorded
from analysis.stopping.tables import page_tables
from analysis.words import AXES


def pictures(found: Recorded, stops: pd.DataFrame, made: Findings, rungs: Collection[int] = ()) -> dict[str, Picture]:
    """Every figure under its file name."""
    x, y = grid_axes(found)
    drawn = {"front": front_figure(made.outcomes)}
    for signal, chosen in made.chosen.groupby("signal", sort=False):
        drawn[f"stop_epoch_{signal}"] = stopping_map(found, stops, chosen, x, y)
        drawn[f"survival_{signal}"] = stopping_map(found, stops, chosen, x, y, "finished")
        drawn[f"curves_{signal}"] = marks_figure(found, stops, chosen)
    drawn["regimes"] = whom_figure(made.regimes, made.chosen, [*SWATCHES], "regime at the horizon")
    if made.sides is not None:
        words = f"side of the peak of test error along {AXES[made.capacity].words}"
        drawn["sides"] = whom_figure(made.sides, made.chosen, SIDES, words)
    if made.unseen is not None:
        shares = made.unseen.assign(group=made.unseen["measure"].map(UNSEEN))
        words = "of the runs that descend twice, stopped before"
        drawn["double_descent"] = whom_figure(shares, made.chosen, [*UNSEEN.values()], words)
    if made.memorized is not None and len(made.memorized):
        drawn["memorized"] = memorized_figure(made.memorized, made.chosen)
    drawn["ranks"] = rank_figure(made.ranks, rungs)
    return drawn


UNSEEN = {"second descent": "the second descent", "final minimum": "the final minimum"}


def write_study(
    found: Recorded,
    stops: pd.DataFrame,
    description: Mapping[str, Any],
    out: Path,
    rungs: Collection[int] = (),
) -> tuple[Findings, list[Path]]:
    """Writes the page, its figures, and the tables (Parquet and CSV) into `out`: what was found, and the paths, the
    page first.

    description: as of `report.write_report`. rungs: epochs at which some scheduler decides. Everything is measured and
    drawn before anything is written. Raises AnalysisError, and OSError where `out` cannot be written.
    """
    made = findings(found, stops)
    drawn = pictures(found, stops, made, rungs)
    tables = {
        "outcomes": made.outcomes, "summary": made.summary, "summary_by_problem": made.by_problem,
        "stopped_by_regime": made.regimes, "rank_correlation": made.ranks, "stops": stops,
        "double_descent": made.unseen, "stopped_by_side": made.sides, "memorized_at_stop": made.memorized,
    }  # fmt: skip
    files: dict[str, bytes] = {}
    for name, table in tables.items():
        if table is not None:
            files |= {f"{name}.parquet": _parquet(table)}
            if name != "stops":  # a row a replayed training: too long for a text file
                files[f"{name}.csv"] = table.to_csv(index=False).encode()
    return made, write_study_page(description, page_tables(made), drawn, files, out)


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()
