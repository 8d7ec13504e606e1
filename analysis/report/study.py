"""From a store to the pictures of `analysis`: which rows, which words, which files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.claims import Decision
from analysis.errors import AnalysisError
from analysis.figures.heatmaps import Annotate, heatmap
from analysis.figures.style import check_suffix, save_figure
from analysis.report import parse_figures, write_report
from analysis.tables.cells import LOSSES, select
from analysis.tables.derived import DERIVED, FROM_CURVES, with_derived, with_gap
from analysis.tables.points import COLUMNS, curves_table, points_table
from analysis.tables.randomization import with_randomization
from analysis.words import METRICS
from lightning_modules.data import sources
from sweeps.errors import ExportError
from sweeps.planning.gc_disabled import gc_disabled
from sweeps.planning.plan import Plan
from sweeps.spec.sweep import Sweep
from sweeps.store.records import MEASURES
from sweeps.store.store import Contents, Store


@dataclass(frozen=True)
class Map:
    """What `memsweep heatmap` draws; see `analysis.figures.heatmaps.heatmap`."""

    x: str
    y: str
    value: str
    facet: tuple[str, ...] = ()
    epoch: int | None = None
    annotate: str | None = "auto"

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Of a store, what this picture needs; None: all, for a value that is not known."""
        if self.value not in METRICS:
            return None
        wanted = [METRICS[self.value].complement or self.value]
        if wanted[0] in DERIVED:
            wanted = [*FROM_CURVES]
        axes = [name for name in (self.x, self.y, *self.facet) if name == "parameters"]
        return *wanted, *axes, *(LOSSES if self._over_curves else ())

    @property
    def _over_epochs(self) -> bool:
        """It needs every epoch of the curves."""
        follows = self.value in DERIVED and self.value != "generalization_gap"
        return follows or (self.epoch is None and "epoch" in (self.x, self.y, *self.facet))

    @property
    def _over_curves(self) -> bool:
        return self._over_epochs or self.epoch is not None

    def read(self, plan: Plan, store: Store) -> Contents:
        """What this picture needs of a store, which can hold millions of rows of some 80 columns."""
        if self.columns is None or self._over_epochs:
            return store.read(self._columns(plan), ordered=False)
        shown = set() if self.epoch is None else {self.epoch}
        found = store.read(self._columns(plan), {*shown, *(cell.epoch for cell in plan.cells)})
        if shown <= {*found.table["epoch"].unique().to_pylist()}:
            return found
        return store.read(self._columns(plan))  # for an error that names the epochs there are

    def _columns(self, plan: Plan) -> list[str] | None:
        return None if self.columns is None else [*self.columns, *plan.outcome_columns]

    def tables(self, plan: Plan, contents: Contents) -> tuple[pd.DataFrame, pd.DataFrame | None]:
        """Points, and curves where the picture needs them."""
        names = [name for name in COLUMNS if name != "point_id"]
        points, curves = points_table(plan, contents, names).to_pandas(), None
        if self._over_curves or self.columns is None:
            names = [name for name in (self.columns or MEASURES) if name != "parameters"]
            table = curves_table(plan, contents, [*dict.fromkeys(("trajectory_id", "epoch", "outcome", *names))])
            ids = table["trajectory_id"].dictionary_encode()
            curves = table.set_column(0, "trajectory_id", ids).drop_columns("outcome").to_pandas()
        if self.value == "generalization_gap":
            points, curves = with_gap(points), None if curves is None else with_gap(curves)
        elif self.value in DERIVED or self.columns is None:
            points = with_derived(points, curves)
        return with_randomization(points), curves


@gc_disabled()
def draw_heatmap(plan: Plan, contents: Contents, out: Path, what: Map) -> None:
    """One heatmap into a file. `contents` have at least the columns of the map.

    Raises analysis.errors.AnalysisError, or ExportError if the file cannot be written.
    """
    check_suffix(out)
    points, curves = what.tables(plan, contents)
    picture = heatmap(
        points,
        what.x,
        what.y,
        what.value,
        facet=what.facet,
        epoch=what.epoch,
        curves=curves,
        annotate=cast(Annotate, what.annotate),
        chance=chance(plan),
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_figure(picture, out)
    except OSError as error:
        raise ExportError(f"--out {out}: cannot be written: {error.strerror or error}") from None


def draw_report(
    sweep: Sweep, plan: Plan, contents: Contents, out: Path, claims: Sequence[Decision] = (), store: Store | None = None
) -> tuple[list[Path], list[str]]:
    """The study's figures and page: the paths written, the page first, and why a figure was left out.

    claims: those that rest on the study. store: where measures of single examples are, for the figures that need them.

    A figure is left out where it holds a field at a value that the grid, as it was changed by --set, does not have.
    Raises as `draw_heatmap` does.
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
    points, curves = _tables(plan, contents)
    figures, left_out = [], []
    for index, figure in enumerate(sweep.figures):
        try:
            held = select(points, figure.get("where") or {})
            for key in ("x_where", "y_where"):
                select(held, figure.get(key) or {})
            figures.append(figure)
        except AnalysisError as error:
            left_out.append(f"figures[{index}] is left out: where: {error}")
    examples = _examples(points, {spec.measure for spec in parse_figures(figures)}, store)
    try:
        return write_report(points, curves, description, figures, out, claims, examples), left_out
    except OSError as error:
        raise ExportError(f"--out {out}: cannot be written: {error.strerror or error}") from None


def _tables(plan: Plan, contents: Contents) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Points and curves, with what follows from them."""
    points, curves = points_table(plan, contents).to_pandas(), curves_table(plan, contents).to_pandas()
    return with_randomization(with_derived(points, curves)), with_randomization(with_gap(curves))


def _examples(points: pd.DataFrame, measures: set[str | None], store: Store | None) -> pd.DataFrame | None:
    """What the figures need of the per-example table: it can be a thousand times as long as the points."""
    wanted = sorted(measure for measure in measures if measure)
    if not wanted or store is None:
        return None
    ids = points.loc[points["outcome"] == "finished", "trajectory_id"]
    table: pd.DataFrame = store.read_examples(set(ids), wanted).table.to_pandas()
    return table


def _order(value: Any) -> tuple[bool, Any]:
    return value is not None, value


def chance(plan: Plan) -> float | None:
    """Accuracy of guessing, where all points agree on it."""
    keys = {(cell.point.data, cell.point.complexity) for cell in plan.cells}
    classes = {sources.facts(*key).classes for key in keys}
    return 1 / classes.pop() if len(classes) == 1 else None


def provenance(plan: Plan, contents: Contents) -> dict[str, str]:
    wanted = pa.array(sorted({cell.trajectory_id for cell in plan.cells}), pa.string())
    table = contents.table.filter(pc.is_in(contents.table["trajectory_id"], wanted))
    if not table.num_rows:
        return {}
    each = table.group_by("trajectory_id").aggregate([("wall_seconds", "max")])
    words = {
        "memsweep": "memsweep_version",
        "commit": "commit",
        "torch": "torch_version",
        "ray": "ray_version",
        "device": "device",
        "host": "host",
    }
    found = {word: ", ".join(sorted(filter(None, table[name].unique().to_pylist()))) for word, name in words.items()}
    dates = table["finished_at"]
    return {
        **found,
        "trained": f"{pc.min(dates).as_py():%Y-%m-%d %H:%M} to {pc.max(dates).as_py():%Y-%m-%d %H:%M} UTC",
        "compute": f"{pc.sum(each['wall_seconds_max']).as_py() or 0:.1f} worker-seconds, {each.num_rows:,} trainings",
    }
