"""pandas DataFrames of the points and curves of a sweep, which are the input of every figure and claim."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

from analysis.tables.cells import LOSSES
from analysis.tables.derived import FROM_CURVES, with_derived, with_gap
from analysis.tables.points import curves_table, point_columns, points_table
from analysis.tables.randomization import with_randomization
from analysis.words import DERIVED, METRICS
from lightning_modules.data import sources
from sweeps.planning.plan import Plan
from sweeps.store.store import Contents, Store

GAP = "generalization_gap"


@dataclass(frozen=True)
class Needs:
    """The part of a store that a figure needs. A whole store can have millions of rows with some 80 columns.

    Attributes:
        metrics: The metrics to draw, and `parameters` if it is an axis; None for all columns.
        every_epoch: Whether to draw all evaluated epochs.
        epoch: The only epoch to draw, or None for the last epoch of each point.
    """

    metrics: tuple[str, ...] | None = None
    every_epoch: bool = True
    epoch: int | None = None

    def read(self, plan: Plan, store: Store) -> Contents:
        """Read the needed part of the store. The rows are in no particular order."""
        if self.metrics is None or self._all_epochs:
            return store.read(self._columns(plan), ordered=False)
        shown = set() if self.epoch is None else {self.epoch}
        contents = store.read(self._columns(plan), {*shown, *(cell.epoch for cell in plan.cells)})
        # Trainings of other sweeps may have been evaluated at an epoch at which those of this plan were not.
        if not shown or shown <= {*curves_table(plan, contents, ["epoch"])["epoch"].unique().to_pylist()}:
            return contents
        return store.read(self._columns(plan))  # for an error that lists all existing epochs

    @property
    def measures(self) -> tuple[str, ...]:
        """The stored columns from which the metrics are computed."""
        names: list[str] = []
        for metric in self.metrics or ():
            stored = METRICS[metric].complement or metric if metric in METRICS else metric
            names += FROM_CURVES if stored in DERIVED else [stored]
        return tuple(dict.fromkeys([*names, *(LOSSES if self.curves else ())]))

    @property
    def curves(self) -> bool:
        """Whether curves are needed in addition to points."""
        return self._all_epochs or self.epoch is not None

    @property
    def _all_epochs(self) -> bool:
        follows = any(metric in DERIVED and metric != GAP for metric in self.metrics or ())
        return self.metrics is None or self.every_epoch or follows

    def _columns(self, plan: Plan) -> list[str] | None:
        return None if self.metrics is None else [*self.measures, *plan.outcome_columns]


EVERYTHING = Needs()

NO_EXAMPLES = pd.DataFrame(columns=["trajectory_id", "epoch", "measure", "split", "example_id", "value"])


def frames(plan: Plan, contents: Contents, needs: Needs = EVERYTHING) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Build the frames of a sweep's points and curves.

    Args:
        plan: The plan of the sweep.
        contents: The contents of the store, with at least the columns that `needs` reads.
        needs: The metrics to include, and whether to build curves.

    Returns:
        points: One row per point, in the order of the sweep, with the columns of `point_columns()`, `derived.DERIVED`
            and `randomization`. Measures are NaN unless `outcome` is "finished".
        curves: One row per training and evaluated epoch, with the same columns except for derived columns about a whole
            training. None if `needs` does not require curves.
    """
    if needs.metrics is None:
        return everything(plan, contents)
    points = points_table(plan, contents, [name for name in point_columns() if name != "point_id"]).to_pandas()
    curves = None
    if needs.curves:
        names = [name for name in needs.measures if name != "parameters"]
        table = curves_table(plan, contents, [*dict.fromkeys(("trajectory_id", "epoch", "outcome", *names))])
        ids = table["trajectory_id"].dictionary_encode()
        table = table.set_column(0, "trajectory_id", ids)
        # Converting millions of strings takes seconds, and only the gap needs `outcome`.
        curves = (table if GAP in needs.metrics else table.drop_columns("outcome")).to_pandas()
    if GAP in needs.metrics:
        points, curves = with_gap(points), None if curves is None else with_gap(curves)
    if curves is not None and any(metric in DERIVED and metric != GAP for metric in needs.metrics):
        points = with_derived(points, curves)
    return with_randomization(points), curves


def everything(plan: Plan, contents: Contents) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Build the frames of points and curves with all columns (see `frames`)."""
    points, curves = points_table(plan, contents).to_pandas(), curves_table(plan, contents).to_pandas()
    return with_randomization(with_derived(points, curves)), with_randomization(with_gap(curves))


def examples_frame(points: pd.DataFrame, store: Store, measures: Collection[str]) -> pd.DataFrame:
    """Read per-example measures of the points that finished. The frame can be 1000 times as long as `points`.

    Returns:
        A frame with the columns trajectory_id, epoch, measure, split (train, left_out or test), example_id and value.
    """
    ids = points.loc[points["outcome"] == "finished", "trajectory_id"] if measures else ()
    if not len(ids):
        return NO_EXAMPLES
    table: pd.DataFrame = store.read_examples(set(ids), measures).table.to_pandas()
    return table


def chance(plan: Plan) -> float | None:
    """Return the accuracy of guessing, 1/C for C classes, or None if C differs between the points of the plan."""
    keys = {sources.reference(cell.point) for cell in plan.cells}
    classes = {sources.facts(*key).classes for key in keys}
    return 1 / classes.pop() if len(classes) == 1 else None
