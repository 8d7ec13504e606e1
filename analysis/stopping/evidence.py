"""The study: Tune's schedulers at several settings, replayed on every search of a recorded sweep, and what it shows.

sweep -> searches (a problem and a seed each) -> replays -> stops -> `analysis.stopping`
"""

from __future__ import annotations

import multiprocessing
import os
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
from sweeps.errors import ExportError
from sweeps.planning.plan import Plan
from sweeps.replay.curves import Curves
from sweeps.replay.replay import ALONE, Listener, Replay, frame, replay_all
from sweeps.spec.stopping import EarlyStopping
from sweeps.spec.sweep import Sweep
from sweeps.store.store import Contents, Store

if TYPE_CHECKING:
    import pandas as pd

    from analysis.stopping.findings import Findings
    from analysis.stopping.recorded import Recorded


PRINTED = 7
"""Columns in a terminal: the setting, and what it saves and costs."""


def replayed(
    asked: Question, curves: Curves, searches: Sequence[np.ndarray], listen: Listener = lambda done, total: None
) -> pd.DataFrame:
    """Where each training would have stopped: the columns of `analysis.stopping.recorded.STOPS`.

    searches: numbers of the trainings that are compared with each other. Beside the schedulers stand random stopping
    with the budget of each, the rules of `i_epochs`, no stopping and the oracle, for each metric.
    """
    import pandas as pd

    settings = settings_of(asked, int(curves.horizons.max()))
    jobs = [
        _Job(_part(curves, places), metric, tuple(each), asked.orders, asked.workers)
        for places in searches
        for metric, each in settings.items()
    ]
    made = []
    for one in _computed(jobs):
        made.append(one)
        listen(len(made), len(jobs))
    return pd.concat(made, ignore_index=True)


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
    """In the order of the jobs, in several processes where that pays."""
    cores = min(len(os.sched_getaffinity(0)), len(jobs))
    if cores <= 1 or sum(job.epochs for job in jobs) <= ALONE:
        yield from map(_one, jobs)
        return
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_one, jobs)


def _one(job: _Job) -> pd.DataFrame:
    found = [
        each
        for each in replay_all(job.curves, job.settings, job.orders, job.workers, processes=1)
        if each.scheduler != "i-epoch"  # of those each has a budget of its own
    ]
    rules = i_epochs(job.metric, int(job.curves.horizons.max()), len(job.curves.ids))
    found += [Replay(words, "i-epoch", 0, rule.stops(job.curves)) for words, rule in rules.items()]
    made = frame(job.curves, found)
    return made.assign(signal=job.metric, setting=made["setting"].astype(str), scheduler=made["scheduler"].astype(str))


def _part(curves: Curves, places: np.ndarray) -> Curves:
    return replace(
        curves,
        ids=tuple(curves.ids[place] for place in places),
        horizons=curves.horizons[places],
        measures={name: values[places] for name, values in curves.measures.items()},
        broke=curves.broke[places],
        seconds=curves.seconds[places],
        evaluated=curves.evaluated[places],
    )


@dataclass(frozen=True)
class Evidence:
    """What a store has of a sweep: as the schedulers would see it, and as the study asks it."""

    curves: Curves
    recorded: Recorded
    contents: Contents
    searches: list[np.ndarray]


def evidence(plan: Plan, store: Store, asked: Question, run: str) -> Evidence:
    """From the store. run: the command that trains what is missing.

    Raises ReplayError for what cannot be replayed (see `Curves.read`) and analysis.errors.AnalysisError for an unknown
    field in `by`.
    """
    from analysis.stopping.recorded import recorded
    from analysis.tables.frames import chance

    curves = Curves.read(plan, store, asked.metrics, run)
    contents = store.read()
    found = recorded(curves_table(plan, contents).to_pandas(), asked.by, chance=chance(plan))
    number = found.members["search"].reindex(list(curves.ids)).to_numpy()
    # One that broke before its first evaluation has no curve, and is in no search.
    return Evidence(
        curves, found, contents, [np.flatnonzero(number == one) for one in sorted(set(number[number >= 0]))]
    )


def write(
    study: Sweep, plan: Plan, found: Evidence, stops: pd.DataFrame, asked: Question, out: Path
) -> tuple[Findings, list[Path]]:
    """The page, its figures and tables into `out`. Raises ExportError where it cannot be written."""
    from analysis.report.study import provenance
    from analysis.stopping.study import write_study

    description = {
        "name": f"{study.name}: early stopping",
        "question": study.question,
        "definition": study.definition(),
        "provenance": {
            **provenance(plan, found.contents),
            "replay": f"{len(found.searches)} searches, {asked.orders} orders of arrival, {asked.workers} at once",
        },
    }
    horizon = int(found.curves.horizons.max())
    decides = [3**power for power in range(horizon) if 3**power < horizon] if "asha" in asked.schedulers else []
    try:
        return write_study(found.recorded, stops, description, out, decides)
    except OSError as error:
        raise ExportError(f"--out {out}: cannot be written: {error.strerror or error}") from None


def for_machines(made: Findings) -> list[dict[str, Any]]:
    """The summary, a record a signal and setting; null where there is no number."""
    rows: list[dict[str, Any]] = made.summary.astype(object).where(made.summary.notna(), None).to_dict("records")
    return rows


def printed(made: Findings) -> list[Table]:
    """For a reader: of each metric a table of what every setting saves and costs.

    The columns that fit into a terminal, and not the rows of random stopping, which a column speaks of.
    """
    from analysis.stopping.tables import heads, note, rows_of

    tables = []
    for metric in dict.fromkeys(made.summary["signal"]):
        one = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"scheduler sees {metric}", title_justify="left")
        for place, head in enumerate(heads(metric)[:PRINTED]):
            width = 15 if place > 1 else None
            one.add_column(head, justify="right" if place else "left", no_wrap=not place, min_width=width)
        for row in rows_of(made.summary[made.summary["scheduler"] != "random"], metric):
            one.add_row(*row[:PRINTED])
        one.caption, one.caption_justify = note(made.summary), "left"
        tables.append(one)
    return tables
