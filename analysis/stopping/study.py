"""Write a whole study from the recorded curves and the stops: every result table, every figure, and the page."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.figures.regime_maps import SWATCHES
from analysis.figures.style import Picture
from analysis.report.page import write_study_page
from analysis.stopping.bars import memorized_figure, stopped_figure
from analysis.stopping.descent import SIDES
from analysis.stopping.findings import Findings, measure_findings
from analysis.stopping.fronts import front_figure
from analysis.stopping.maps import grid_axes, stopping_map
from analysis.stopping.marks import marks_figure
from analysis.stopping.rank_figure import rank_figure
from analysis.stopping.recorded import Recorded
from analysis.stopping.tables import page_tables
from analysis.words import AXES


def pictures(
    recorded: Recorded, stops: pd.DataFrame, findings: Findings, rungs: Collection[int] = ()
) -> dict[str, Picture]:
    """Draw every figure of the study, keyed by file name."""
    x, y = grid_axes(recorded)
    drawn = {"front": front_figure(findings.outcomes)}
    for signal, chosen in findings.chosen.groupby("signal", sort=False):
        drawn[f"stop_epoch_{signal}"] = stopping_map(recorded, stops, chosen, x, y)
        drawn[f"survival_{signal}"] = stopping_map(recorded, stops, chosen, x, y, "finished")
        drawn[f"curves_{signal}"] = marks_figure(recorded, stops, chosen)
    drawn["regimes"] = stopped_figure(findings.regimes, findings.chosen, [*SWATCHES], "regime at the horizon")
    if findings.sides is not None:
        words = f"side of the peak of test error along {AXES[findings.capacity].words}"
        drawn["sides"] = stopped_figure(findings.sides, findings.chosen, SIDES, words)
    if findings.unseen is not None:
        shares = findings.unseen.assign(group=findings.unseen["measure"].map(UNSEEN))
        words = "of the runs that descend twice, stopped before"
        drawn["double_descent"] = stopped_figure(shares, findings.chosen, [*UNSEEN.values()], words)
    if findings.memorized is not None and len(findings.memorized):
        drawn["memorized"] = memorized_figure(findings.memorized, findings.chosen)
    drawn["ranks"] = rank_figure(findings.ranks, rungs)
    return drawn


UNSEEN = {"second descent": "the second descent", "final minimum": "the final minimum"}


def write_study(
    recorded: Recorded,
    stops: pd.DataFrame,
    description: Mapping[str, Any],
    out: Path,
    rungs: Collection[int] = (),
) -> tuple[Findings, list[Path]]:
    """Write the page, its figures, and the tables (Parquet and CSV) into `out`.

    All results are computed and all figures are drawn before any file is written.

    Args:
        recorded: The unstopped curves.
        stops: The stops of the replays (see `recorded.STOPS`).
        description: See `report.write_report`.
        out: The folder to write into.
        rungs: Epochs at which a scheduler decides, to be marked in a figure.

    Returns:
        The findings and the paths of the written files, starting with the page.

    Raises:
        AnalysisError: The tables are invalid.
        OSError: `out` cannot be written.
    """
    findings = measure_findings(recorded, stops)
    drawn = pictures(recorded, stops, findings, rungs)
    tables = {
        "outcomes": findings.outcomes, "summary": findings.summary, "summary_by_problem": findings.by_problem,
        "stopped_by_regime": findings.regimes, "rank_correlation": findings.ranks, "stops": stops,
        "double_descent": findings.unseen, "stopped_by_side": findings.sides, "memorized_at_stop": findings.memorized,
    }  # fmt: skip
    files: dict[str, bytes] = {}
    for name, table in tables.items():
        if table is not None:
            files |= {f"{name}.parquet": _parquet(table)}
            if name != "stops":  # a text file with one row per replayed training would be too long
                files[f"{name}.csv"] = table.to_csv(index=False).encode()
    return findings, write_study_page(description, page_tables(findings), drawn, files, out)


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()
