"""Tidy tables: what a store says about the points of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from sweeps.errors import ExportError
from sweeps.grid import Sweep
from sweeps.plan import Cell, Plan
from sweeps.records import MEASURES, ON_DEMAND, example_schema, plain_type, schema
from sweeps.spec import FIELDS
from sweeps.store import Contents, Done, Store

READ = ("trajectory_id", "epoch", "outcome", "parameters", *MEASURES, *ON_DEMAND)
"""What these tables need of a store's columns."""

COLUMNS = ("point_id", "trajectory_id", *FIELDS, "parameters", "epoch", *MEASURES, *ON_DEMAND, "outcome")


def exported(table: str, sweep: Sweep, plan: Plan, store: Store) -> tuple[pa.Table, dict[str, str]]:
    """The rows of `memsweep export`, and the parts of the store that could not be read.

    table: points (with derived columns), curves, examples, or scores. Raises analysis.errors.AnalysisError for scores
    of a sweep that left no examples out.
    """
    contents = store.read()
    if table == "curves":
        return curves_table(plan, contents), contents.damaged
    points = points_table(plan, contents)
    if table == "points":
        return with_derived(points, curves_table(plan, contents)), contents.damaged
    examples = store.read_examples({cell.trajectory_id for cell in plan.cells})
    damaged = contents.damaged | examples.damaged
    if table == "examples":
        return examples_table(sweep, plan, examples), damaged
    from analysis.score_table import score_table

    scores = score_table(points.to_pandas(), examples.table.to_pandas())
    return pa.Table.from_pandas(scores, preserve_index=False), damaged


def points_table(plan: Plan, contents: Contents) -> pa.Table:
    """One row a point of the sweep, in its order. Measures are null unless `outcome` is "finished".

    `outcome` is finished, diverged (in this or an earlier epoch), failed, or missing.
    """
    done = Done.of(contents.table)
    rows = {(row["trajectory_id"], row["epoch"]): row for row in _rows(plan, contents) if row["outcome"] == "finished"}
    found = []
    for cell in plan.cells:
        key = cell.trajectory_id, cell.epoch
        found.append({**rows.get(key, {}), **_fields(cell), "outcome": done.outcome(*key)})
    return pa.Table.from_pylist(found, schema=_schema())


def with_derived(points: pa.Table, curves: pa.Table) -> pa.Table:
    """The points with the columns of `analysis.derived.DERIVED` before their outcome."""
    from analysis import derived

    made = derived.with_derived(points.to_pandas(), curves.to_pandas())
    for name in derived.DERIVED:
        column = pa.array(made[name], pa.float64(), from_pandas=True)
        points = points.add_column(points.num_columns - 1, name, column)
    return points


def examples_table(sweep: Sweep, plan: Plan, contents: Contents) -> pa.Table:
    """Measures of single examples, as `Store.read_examples` has them, beside the sweep's axes and the seed."""
    cells: dict[str, Cell] = {}
    for cell in plan.cells:
        cells.setdefault(cell.trajectory_id, cell)
    names = dict.fromkeys([*(axis for axis in sweep.axes if axis != "epochs"), "seed"])
    kinds = {field.name: plain_type(field.type) for field in schema()}
    trainings = pa.table({
        "trajectory_id": pa.array(cells, pa.string()),
        **{name: pa.array([getattr(cell.point, name) for cell in cells.values()], kinds[name]) for name in names},
    })  # fmt: skip
    plain = pa.schema([(field.name, plain_type(field.type)) for field in example_schema()])
    keys = [(name, "ascending") for name in plain.names[:-1]]
    return contents.table.cast(plain).join(trainings, "trajectory_id").sort_by(keys)


def curves_table(plan: Plan, contents: Contents) -> pa.Table:
    """One row a trajectory and evaluated epoch up to the last that the sweep asks for; finished rows only.

    Fields are those of the trajectory's first point. (A store may know of later epochs from another sweep.)
    """
    cells: dict[str, Cell] = {}
    for cell in plan.cells:
        cells.setdefault(cell.trajectory_id, cell)
    horizon = _horizons(plan)
    found = [
        {**_fields(cells[row["trajectory_id"]]), **row}
        for row in _rows(plan, contents)
        if row["outcome"] == "finished" and row["epoch"] <= horizon[row["trajectory_id"]]
    ]
    return pa.Table.from_pylist(found, schema=_schema())


def failures(plan: Plan, contents: Contents) -> list[dict[str, Any]]:
    """What did not finish among the sweep's trajectories: id, epoch, outcome, reason.

    Not a divergence after the last epoch that the sweep asks for.
    """
    horizon = _horizons(plan)
    return [
        row
        for row in _rows(plan, contents, extra=("reason",))
        if row["outcome"] == "failed"
        or (row["outcome"] == "diverged" and row["epoch"] <= horizon[row["trajectory_id"]])
    ]


def _horizons(plan: Plan) -> dict[str, int]:
    """The last epoch that the sweep asks for of each trajectory."""
    horizon: dict[str, int] = {}
    for cell in plan.cells:
        horizon[cell.trajectory_id] = max(cell.epoch, horizon.get(cell.trajectory_id, 0))
    return horizon


def _rows(plan: Plan, contents: Contents, extra: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    wanted = pa.array(sorted({cell.trajectory_id for cell in plan.cells}), pa.string())
    names = [*dict.fromkeys([*READ, *extra])]
    table = contents.table.select([name for name in names if name in contents.table.column_names])
    return table.filter(pc.is_in(table["trajectory_id"], wanted)).to_pylist()


def _fields(cell: Cell) -> dict[str, Any]:
    return {"point_id": cell.point.id, "trajectory_id": cell.trajectory_id, "epoch": cell.epoch, **vars(cell.point)}


def _schema() -> pa.Schema:
    """Plain strings instead of dictionaries: for readers that know nothing of memsweep."""
    names = {field.name: field.type for field in schema()} | {"point_id": pa.string()}
    return pa.schema([(name, plain_type(names[name])) for name in COLUMNS])


def write_table(table: pa.Table, out: Path) -> None:
    """Parquet or CSV, by the suffix. Raises ExportError for another suffix or a place that cannot be written."""
    if out.suffix not in (".parquet", ".csv"):
        raise ExportError(f"--out {out}: given {out.suffix!r}; valid suffixes: .parquet, .csv")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".csv":
            csv.write_csv(table, out)
        else:
            parquet.write_table(table, out)
    except OSError as error:
        raise ExportError(f"--out {out}: cannot be written: {error.strerror or error}") from None
