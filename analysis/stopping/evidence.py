"""Run a study of early stopping: replay Tune's schedulers at several settings on every search of a recorded sweep.

The data flow is: sweep -> searches (one problem and one seed each) -> replays -> stops -> `analysis.stopping.study`.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.table import Table

from analysis.stopping.compared import Question, i_epochs, settings_of
from analysis.tables.points import curves_table
from lightning_modules.machine_limits import usable_cores
from sweeps.planning.plan import Plan
from sweeps.replay.curves import Curves
from sweeps.replay.replay import PARALLEL_FROM, Listener, Replay, frame, replay_all
from sweeps.spec.stopping import EarlyStopping
from sweeps.spec.sweep import Sweep
from sweeps.store.store import Contents, Store

if TYPE_CHECKING:
    import pandas as pd

    from analysis.stopping.findings import Findings
    from analysis.stopping.recorded import Recorded


PRINTED = 7
"""The number of columns printed in a terminal: the setting, and its savings and costs."""


def replayed(
    asked: Question, curves: Curves, searches: Sequence[np.ndarray], listen: Listener = lambda done, total: None
) -> pd.DataFrame:
    """Replay every setting on every search, and return the epoch at which each training would have stopped.

    For each metric, the replays also include random stopping with the budget of each scheduler, the rules of
    `i_epochs`, no stopping, and the oracle.

    Args:
        asked: The comparisons to make.
        curves: The recorded curves.
        searches: For each search, the indices of its trainings in `curves`.
        listen: Called with the number of jobs done and the total.

    Returns:
        A table with the columns of `analysis.stopping.recorded.STOPS`.
    """
    import pandas as pd

    settings = settings_of(asked, int(curves.horizons.max()))
    jobs = [
        _Job(_part(curves, indices), metric, tuple(schedulers), asked.orders, asked.workers)
        for indices in searches
        for metric, schedulers in settings.items()
    ]
    tables = []
    for table in _computed(jobs):
        tables.append(table)
        listen(len(tables), len(jobs))
    return pd.concat(tables, ignore_index=True)


@dataclass(frozen=True)
class _Job:
    curves: Curves
    metric: str
    settings: tuple[EarlyStopping, ...]
    orders: int
    workers: int

    @property
    def epochs(self) -> int:
        return int(self.curves.lengths.sum()) * len(self.settings) * self.orders


def _computed(jobs: Sequence[_Job]) -> Iterator[pd.DataFrame]:
    """Yield the stops of each job, in order, using several processes if that is faster."""
    cores = min(usable_cores(), len(jobs))
    if cores <= 1 or sum(job.epochs for job in jobs) <= PARALLEL_FROM:
        yield from map(_stops, jobs)
        return
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_stops, jobs)


def _stops(job: _Job) -> pd.DataFrame:
    replays = [
        replay
        for replay in replay_all(job.curves, job.settings, job.orders, job.workers, processes=1)
        if replay.scheduler != "i-epoch"  # replaced below by i-epoch rules at several budgets
    ]
    rules = i_epochs(job.metric, int(job.curves.horizons.max()), len(job.curves.ids))
    replays += [Replay(words, "i-epoch", 0, rule.stops(job.curves)) for words, rule in rules.items()]
    table = frame(job.curves, replays)
    names = {column: table[column].astype(str) for column in ("setting", "scheduler")}
    return table.assign(signal=job.metric, **names)


def _part(curves: Curves, indices: np.ndarray) -> Curves:
    return replace(
        curves,
        ids=tuple(curves.ids[index] for index in indices),
        horizons=curves.horizons[indices],
        measures={name: values[indices] for name, values in curves.measures.items()},
        broke=curves.broke[indices],
        seconds=curves.seconds[indices],
        evaluated=curves.evaluated[indices],
    )


@dataclass(frozen=True)
class Evidence:
    """The data of a sweep: the curves as the schedulers see them, and the tables that the study reads."""

    curves: Curves
    recorded: Recorded
    contents: Contents
    searches: list[np.ndarray]


def evidence(plan: Plan, store: Store, asked: Question, run: str) -> Evidence:
    """Read the evidence of a study from the store.

    Args:
        plan: The plan of the recorded sweep.
        store: The store to read.
        asked: The comparisons to make.
        run: The command that trains missing points, for error messages.

    Raises:
        ReplayError: The sweep cannot be replayed (see `Curves.read`).
        analysis.errors.AnalysisError: A field in `by` is unknown.
    """
    from analysis.stopping.recorded import recorded
    from analysis.tables.frames import chance

    curves = Curves.read(plan, store, asked.metrics, run)
    contents = store.read()
    unstopped = recorded(curves_table(plan, contents).to_pandas(), asked.by, chance=chance(plan))
    search = unstopped.members["search"].reindex(list(curves.ids)).to_numpy()
    # A training that broke before its first evaluation has no curve and belongs to no search.
    searches = [np.flatnonzero(search == number) for number in sorted(set(search[search >= 0]))]
    return Evidence(curves, unstopped, contents, searches)


def write(
    study: Sweep, plan: Plan, evidence: Evidence, stops: pd.DataFrame, asked: Question, out: Path
) -> tuple[Findings, list[Path]]:
    """Write the page, its figures and its tables into `out`.

    Returns:
        The findings and the paths of the written files, starting with the page.

    Raises:
        ExportError: `out` cannot be written.
    """
    from analysis.report.export import writing
    from analysis.report.study import provenance
    from analysis.stopping.study import write_study

    description = {
        "name": f"{study.name}: early stopping",
        "question": study.question,
        "definition": study.definition(),
        "provenance": {
            **provenance(plan, evidence.contents),
            "replay": f"{len(evidence.searches)} searches, {asked.orders} orders of arrival, {asked.workers} at once",
        },
    }
    horizon = int(evidence.curves.horizons.max())
    decides = [3**power for power in range(horizon) if 3**power < horizon] if "asha" in asked.schedulers else []
    with writing(out):
        written = write_study(evidence.recorded, stops, description, out, decides)
    return written


def for_machines(findings: Findings) -> list[dict[str, Any]]:
    """Return the summary as one record per signal and setting, with None for missing numbers."""
    summary = findings.summary.astype(object)
    rows: list[dict[str, Any]] = summary.where(summary.notna(), None).to_dict("records")
    return rows


def printed(findings: Findings) -> list[Table]:
    """Render, for each metric, a table of the savings and costs of every setting.

    The tables have only the columns that fit into a terminal. They omit the rows of random stopping, since one column
    already compares every setting with random stopping.
    """
    from analysis.stopping.tables import heads, note, rows_of

    tables = []
    shown = findings.summary[findings.summary["scheduler"] != "random"]
    for metric in dict.fromkeys(findings.summary["signal"]):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"scheduler sees {metric}", title_justify="left")
        for index, head in enumerate(heads(shown, metric)[:PRINTED]):
            width = 15 if index > 1 else None
            table.add_column(head, justify="right" if index else "left", no_wrap=not index, min_width=width)
        for row in rows_of(shown, metric):
            table.add_row(*row[:PRINTED])
        table.caption, table.caption_justify = note(findings.summary), "left"
        tables.append(table)
    return tables
