"""The tables that `memsweep export` writes, and the functions that write them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

from analysis.tables.points import curves_table, examples_table, points_table, stored_columns, with_derived
from lightning_modules.whole_files import written_whole
from sweeps.errors import ExportError
from sweeps.planning.plan import Plan
from sweeps.spec.sweep import Sweep
from sweeps.store.store import Store


def exported(table: str, sweep: Sweep, plan: Plan, store: Store) -> tuple[pa.Table, dict[str, str]]:
    """Read a table of a sweep from a store.

    Args:
        table: `points` (with derived columns), `curves`, `examples` or `scores`.
        sweep: The sweep.
        plan: The plan of the sweep.
        store: The store.

    Returns:
        The table, and a mapping from each part of the store that could not be read to the reason.

    Raises:
        AnalysisError: `table` is `scores`, but the sweep left no examples out.
    """
    if table == "curves":
        contents = store.read(stored_columns())
        return curves_table(plan, contents), contents.damaged
    contents = store.read((*stored_columns(), *plan.outcome_columns), {cell.epoch for cell in plan.cells})
    points = points_table(plan, contents)
    if table == "points":
        from analysis.tables.derived import FROM_CURVES

        curves = curves_table(plan, store.read(FROM_CURVES), ("trajectory_id", "epoch", "outcome", *FROM_CURVES))
        return with_derived(points, curves), contents.damaged
    examples = store.read_examples({cell.trajectory_id for cell in plan.cells})
    damaged = contents.damaged | examples.damaged
    if table == "examples":
        return examples_table(sweep, plan, examples), damaged
    from analysis.statistics.score_table import score_table

    scores = score_table(points.to_pandas(), examples.table.to_pandas())
    return pa.Table.from_pandas(scores, preserve_index=False), damaged


def write_table(table: pa.Table, out: Path) -> None:
    """Write a table as Parquet or CSV, depending on the suffix of `out`.

    Raises:
        ExportError: The suffix is neither .parquet nor .csv, or the file cannot be written.
    """
    if out.suffix not in (".parquet", ".csv"):
        raise ExportError(f"--out {out}: given {out.suffix!r}; valid suffixes: .parquet, .csv")
    with writing(out), written_whole(out) as aside, aside.open("wb") as file:
        csv.write_csv(table, file) if out.suffix == ".csv" else parquet.write_table(table, file)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Convert an OSError that is raised while writing `out` to an ExportError."""
    try:
        yield
    except OSError as error:
        raise ExportError(f"--out {out}: cannot be written: {error.strerror or error}") from None
