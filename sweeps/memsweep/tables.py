"""Tables of a sweep, as pandas DataFrames and, for export to files, as Arrow tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memsweep.inputs import DEFAULT_STORE, StoreLike, SweepLike, as_sweep, existing_store
from memsweep.messages import warn_of_damage
from memsweep.missing_data import read_without_data
from memsweep.options import Rows
from memsweep.running import plan_of

from analysis.report.export import exported, write_table
from sweeps.store.records import plain_type

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def arrow_table(rows: Rows, sweep: SweepLike, store: StoreLike) -> pa.Table:
    """Return a table that `memsweep export` writes, with the column types of the store."""
    study, place = as_sweep(sweep), existing_store(store)
    with read_without_data(place):
        table, damaged = exported(rows, study, plan_of(study), place)
    warn_of_damage(damaged)
    return table


def export(sweep: SweepLike, store: StoreLike, out: Path, rows: Rows = "points") -> int:
    """Write a table as Parquet or CSV, depending on the suffix of `out`, and return its number of rows.

    Raises:
        ExportError: The file cannot be written.
    """
    table = arrow_table(rows, sweep, store)
    write_table(table, out)
    return int(table.num_rows)


def points(sweep: SweepLike, store: StoreLike = DEFAULT_STORE) -> pd.DataFrame:
    """Read the points of a sweep: one row per point, in the order of the sweep.

    Returns:
        A table with the columns point_id, trajectory_id, the fields, parameters, epoch, the measures, the derived
        measures such as generalization_gap, and outcome: finished, diverged, stopped, failed or missing. Measures are
        NaN unless the outcome is "finished". Accuracies and fractions are in 0..1.

    Raises:
        SweepError: if the sweep is not valid.
        StoreError: if the store cannot be read. A damaged file only causes a MemsweepWarning.

    Examples:
        >>> points = ms.points("quickstart", "results")
        >>> points.groupby("label_noise")["test_accuracy"].mean()
    """
    return arrow_table("points", sweep, store).to_pandas()


def curves(sweep: SweepLike, store: StoreLike = DEFAULT_STORE) -> pd.DataFrame:
    """Read the learning curves of a sweep: one row per training and epoch that has measures.

    Returns:
        A table with the columns of `points` except the derived measures, up to each training's last epoch in the sweep.

    Raises:
        SweepError, StoreError: as `points` does.

    Examples:
        >>> curves = ms.curves("quickstart", "results")
        >>> curves.pivot_table("memorized_fraction", index="epoch", columns="label_noise").plot(logx=True)
    """
    return arrow_table("curves", sweep, store).to_pandas()


def examples(sweep: SweepLike, store: StoreLike = DEFAULT_STORE) -> pd.DataFrame:
    """Read the per-example measures of a sweep: one row per training, epoch, measure and example.

    Returns:
        A table with the columns trajectory_id, epoch, measure, split (train, left_out or test), example_id, value, the
        axes of the sweep, and seed. It is empty for a sweep without per-example measures.

    Raises:
        SweepError, StoreError: as `points` does.

    Examples:
        >>> examples = ms.examples("my_sweep.yaml", "results")
        >>> examples[examples["measure"] == "forgetting_events"].groupby("example_id")["value"].mean()
    """
    return arrow_table("examples", sweep, store).to_pandas()


def example_scores(sweep: SweepLike, store: StoreLike = DEFAULT_STORE) -> pd.DataFrame:
    """Estimate the memorization and influence of each training example over all seeds of a sweep.

    The sweep needs `subset_fraction` below 1 and the measure example_correctness (Feldman and Zhang 2020).

    Raises:
        AnalysisError: if the sweep's trainings left no examples out.

    Examples:
        >>> ms.example_scores("my_sweep.yaml", "results").nlargest(10, "memorization")
    """
    return arrow_table("scores", sweep, store).to_pandas()


def read(store: StoreLike = DEFAULT_STORE, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read everything in a store, from all sweeps: one row per training and evaluated epoch.

    Args:
        store: a `Store`, a folder or a URI.
        columns: the columns to read besides trajectory_id, epoch and outcome; by default all, including provenance.

    Raises:
        StoreError: if the store cannot be read. A damaged file only causes a MemsweepWarning.

    Examples:
        >>> ms.read("results", ["test_accuracy", "label_noise"]).groupby("label_noise")["test_accuracy"].max()
    """
    contents = existing_store(store).read(columns)
    warn_of_damage(contents.damaged)
    return plain_columns(contents.table).to_pandas()


def plain_columns(table: pa.Table) -> pa.Table:
    """Convert dictionary-encoded columns to strings, because pandas would convert them to categories."""
    import pyarrow as pa

    fields: list[Any] = [(field.name, plain_type(field.type)) for field in table.schema]
    return table.cast(pa.schema(fields))
