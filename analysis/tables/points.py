"""Tidy Arrow tables of a sweep's points, curves and single examples, built from the contents of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.words import DERIVED
from lightning_modules.measures.catalogue import ALL_MEASURES
from lightning_modules.settings import FIELDS
from sweeps.planning.plan import Cell, Plan
from sweeps.spec.sweep import Sweep
from sweeps.store.deduplication import KEY
from sweeps.store.done import Done
from sweeps.store.records import example_schema, plain_type, schema
from sweeps.store.store import Contents

EPOCH_BITS = 31
"""Number of low bits for the epoch in an integer that combines the position of a training with an epoch."""


def stored_columns() -> tuple[str, ...]:
    """Return the stored columns that the tables of points and curves need."""
    return ("trajectory_id", "epoch", "outcome", "parameters", *ALL_MEASURES)


def point_columns() -> tuple[str, ...]:
    """Return the columns of a table of points, in order."""
    return ("point_id", "trajectory_id", *FIELDS, "parameters", "epoch", *ALL_MEASURES, "outcome")


def outcomes(plan: Plan, contents: Contents) -> list[str]:
    """Return the outcome of each point of the sweep.

    An outcome is `finished`, `diverged` (at the point's epoch or before), `stopped` (before the point's epoch, by the
    sweep's own early stopping), `failed` or `missing`.
    """
    table, trainings = _own(plan, contents, ("outcome", *plan.outcome_columns))
    return _outcomes(plan, table, _finished_rows(plan, table, trainings))


def _outcomes(plan: Plan, table: pa.Table, finished: pa.Array) -> list[str]:
    """Return the outcomes as `outcomes` does, given the result of `_finished_rows`."""
    lost = np.flatnonzero(finished.is_null().to_numpy(zero_copy_only=False)).tolist()
    ends = ["finished"] * len(plan.cells)
    if lost:
        done = Done.of(table.filter(pc.not_equal(table["outcome"], "finished")))
        for place in lost:
            ends[place] = done.outcome(plan.cells[place].trajectory_id, plan.cells[place].epoch, plan.stopping_digest)
    return ends


def _finished_rows(plan: Plan, table: pa.Table, trainings: np.ndarray) -> pa.Array:
    """Return the row number of each point's measures in the table from `_own`, or null if there are none."""
    place = _places(plan)
    asked = np.array([place[cell.trajectory_id] for cell in plan.cells], np.int64) << EPOCH_BITS | plan.epochs
    epochs = table["epoch"].to_numpy()
    rows = np.flatnonzero(np.isin(epochs, np.unique(plan.epochs)) & _is_finished(table))
    positions = pc.index_in(pa.array(asked), pa.array(trainings[rows].astype(np.int64) << EPOCH_BITS | epochs[rows]))
    return pa.array(rows).take(positions)


def points_table(plan: Plan, contents: Contents, columns: Sequence[str] | None = None) -> pa.Table:
    """Build a table with one row per point, in the order of the sweep.

    A measure is null if the contents lack its column, or if `outcome` is not "finished". `outcome` is described in
    `outcomes`.
    """
    columns = point_columns() if columns is None else columns
    table, trainings = _own(plan, contents, [*stored_columns(), *plan.outcome_columns])
    finished = _finished_rows(plan, table, trainings)
    there = table.take(finished)
    values = {
        **{name: there[name] for name in there.column_names if name in columns},
        **_settings(plan.cells, columns, plan.varied),
        "trajectory_id": [cell.trajectory_id for cell in plan.cells],
        "epoch": pa.array(plan.epochs, pa.int32()),
        "outcome": _outcomes(plan, table, finished),
    }
    return _table(values, columns)


def with_derived(points: pa.Table, curves: pa.Table) -> pa.Table:
    """Insert the columns of `analysis.words.DERIVED` before `outcome`."""
    from analysis.tables import derived

    needed = points.select(["trajectory_id", "epoch", "epochs", "outcome", "train_accuracy", "test_accuracy"])
    place = curves.column_names.index("trajectory_id")
    curves = curves.set_column(place, "trajectory_id", curves["trajectory_id"].dictionary_encode())
    frame = derived.with_derived(needed.to_pandas(), curves.to_pandas())
    for name in DERIVED:
        column = pa.array(frame[name], pa.float64(), from_pandas=True)
        points = points.add_column(points.num_columns - 1, name, column)
    return points


def examples_table(sweep: Sweep, plan: Plan, contents: Contents) -> pa.Table:
    """Add columns for the sweep's axes and the seed to the per-example measures from `Store.read_examples`."""
    names = [*dict.fromkeys([*(axis for axis in sweep.axes if axis != "epochs"), "seed"])]
    ids = pa.array(_places(plan), pa.string())
    trainings = pa.table({"trajectory_id": ids, **_settings(_firsts(plan), names, plan.varied)})
    plain = pa.schema([(field.name, plain_type(field.type)) for field in example_schema()])
    keys = [(name, "ascending") for name in plain.names[:-1]]
    return contents.table.cast(plain).join(trainings, "trajectory_id").sort_by(keys)


def curves_table(plan: Plan, contents: Contents, columns: Sequence[str] | None = None) -> pa.Table:
    """Build a table with one row per training and evaluated epoch at which the outcome is `finished`.

    Epochs that only another sweep needs are left out. The fields have the values of the training's first point.
    """
    columns = point_columns() if columns is None else columns
    table, trainings = _own(plan, contents, [name for name in stored_columns() if name in columns] + ["outcome"])
    last = np.array([*plan.horizons.values()])
    kept = _is_finished(table) & (table["epoch"].to_numpy() <= last[trainings])
    if not kept.all():
        table, trainings = table.filter(pa.array(kept)), trainings[kept]
    fields = _settings(_firsts(plan), columns, plan.varied)
    settings = {name: values.take(pa.array(trainings)) for name, values in fields.items()}
    return _table({**{name: table[name] for name in table.column_names}, **settings}, columns)


def failures(plan: Plan, contents: Contents) -> list[dict[str, Any]]:
    """Return the id, epoch, outcome and reason of each training of the sweep that failed or diverged.

    A divergence after the last epoch that the sweep needs does not count.
    """
    table, _ = _own(plan, contents, ("outcome", "reason"))
    return [
        row
        for row in table.filter(pc.is_in(table["outcome"], pa.array(["failed", "diverged"]))).to_pylist()
        if row["outcome"] == "failed" or row["epoch"] <= plan.horizons[row["trajectory_id"]]
    ]


def _places(plan: Plan) -> dict[str, int]:
    """Map the id of each training to its position in the order of the sweep."""
    return {trajectory_id: place for place, trajectory_id in enumerate(plan.horizons)}


def _firsts(plan: Plan) -> list[Cell]:
    """Return the first point of each training, in the order of `_places`."""
    cells: dict[str, Cell] = {}
    for cell in plan.cells:
        cells.setdefault(cell.trajectory_id, cell)
    return [*cells.values()]


def _own(plan: Plan, contents: Contents, columns: Sequence[str]) -> tuple[pa.Table, np.ndarray]:
    """Select the rows of the sweep's trainings, with id, epoch and all given columns that exist.

    Returns:
        The rows, and the position (see `_places`) of each row's training.
    """
    names = [name for name in dict.fromkeys((*KEY, *columns)) if name in contents.table.column_names]
    table, ids = contents.table.select(names), contents.trajectories
    numbers = pc.index_in(ids.dictionary, pa.array(plan.horizons, pa.string())).take(ids.indices)
    if numbers.null_count:
        table, numbers = table.filter(numbers.is_valid()), numbers.drop_null()
    return table, numbers.to_numpy()


def _is_finished(table: pa.Table) -> np.ndarray:
    return pc.equal(table["outcome"], "finished").to_numpy()


def _settings(cells: Sequence[Cell], names: Sequence[str], varied: Sequence[str]) -> dict[str, pa.Array]:
    """Build a column, with one value per cell, for each field in `names` and for `point_id` if it is in `names`.

    Fields that do not vary are read from the first cell only.
    """
    kinds = {field.name: plain_type(field.type) for field in schema()}
    fields = [name for name in FIELDS if name in names]
    values = {"point_id": pa.array([cell.point.id for cell in cells], pa.string())} if "point_id" in names else {}
    if not fields:
        return values
    # Pass over the points once, since memory is the bottleneck. The two extra seeds make itemgetter return tuples.
    names_read = [name for name in fields if name in varied]
    rows = zip(*map(itemgetter(*names_read, "seed", "seed"), (vars(cell.point) for cell in cells)), strict=True)
    varying = dict(zip(names_read, rows, strict=False))
    for name in fields:
        if name in varying:
            values[name] = pa.array(varying[name], kinds[name])
        else:
            values[name] = pa.repeat(pa.scalar(getattr(cells[0].point, name), kinds[name]), len(cells))
    return values


def _table(columns: Mapping[str, Any], names: Sequence[str]) -> pa.Table:
    """Build a table with the columns `names`, filling columns that are not given with nulls.

    Strings are plain, not dictionary-encoded, so that any reader can use them.
    """
    kinds = {field.name: plain_type(field.type) for field in schema()} | {"point_id": pa.string()}
    length = len(next(iter(columns.values())))
    return pa.table({name: columns.get(name, pa.nulls(length, kinds[name])) for name in names},
                    schema=pa.schema([(name, kinds[name]) for name in names]))  # fmt: skip
