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

from sweeps.early_stopping.baselines import IEpoch
from sweeps.early_stopping.curves import Curves
from sweeps.early_stopping.reading import check_times, of_scheduler, rungs
from sweeps.early_stopping.replay import ALONE, Listener, Replay, frame, replay_all
from sweeps.early_stopping.settings import EarlyStopping, Scheduler, sense
from sweeps.errors import ExportError, SweepError, choices
from sweeps.export import curves_table
from sweeps.grid import Sweep
from sweeps.plan import Plan
from sweeps.records import MEASURES, ON_DEMAND
from sweeps.store import Contents, Store

if TYPE_CHECKING:
    import pandas as pd

    from analysis.stopping.recorded import Recorded
    from analysis.stopping.study import Findings

SCHEDULERS: tuple[Scheduler, ...] = ("asha", "hyperband", "median")
CLEAN = "test_accuracy"
NOISY = "validation_accuracy"
GRACES = (1, 3, 9, 27)
"""Grace periods, in epochs; those are taken that leave two thirds of the horizon."""
FACTORS = (2, 3, 4)
BRACKETS = 3
KEPT = (None, 9, 3)
"""Of the i-epoch rules: the best alone, one in nine, one in three."""


@dataclass(frozen=True)
class Question:
    """What is compared. schedulers: of `SCHEDULERS`. metrics: what they see. orders: of arrival. workers: trainings
    that run at once. by: the fields that separate searches; None: those of the data that vary, and the seed."""

    schedulers: tuple[str, ...]
    metrics: tuple[str, ...]
    orders: int = 20
    workers: int = 8
    by: tuple[str, ...] | None = None


def question(
    plan: Plan, schedulers: Sequence[str], metrics: Sequence[str], orders: int, workers: int, by: Sequence[str]
) -> Question:
    """As a command line asks it: nothing named is everything, and `validation_accuracy` beside `test_accuracy`.

    Raises SweepError that names the option.
    """
    for name in schedulers:
        if name not in SCHEDULERS:
            raise SweepError("", "--scheduler", choices(name, SCHEDULERS))
    held_out = all(cell.point.validation_fraction for cell in plan.cells)
    seen = tuple(dict.fromkeys(metrics)) or ((NOISY, CLEAN) if held_out else (CLEAN,))
    asked = Question(tuple(dict.fromkeys(schedulers)) or SCHEDULERS, seen, orders, workers, tuple(by) or None)
    settings_of(asked, max(plan.horizons.values()))
    return asked


def settings_of(asked: Question, horizon: int) -> dict[str, list[EarlyStopping]]:
    """By metric: every scheduler at its settings. Raises SweepError for an unknown metric, and for one without a better
    end."""
    graces = _graces(horizon)
    judged: list[dict[str, int]] = [{"grace_period": grace} for grace in graces]
    others = [{"reduction_factor": factor} for factor in FACTORS if factor != 3]
    grid = {
        "asha": [*judged, *others, {"brackets": BRACKETS}],  # one setting is changed at a time
        "hyperband": [{"reduction_factor": factor} for factor in FACTORS],
        "median": judged,
    }
    found: dict[str, list[EarlyStopping]] = {}
    for metric in asked.metrics:
        given = {"metric": metric, **({} if sense(metric) else {"mode": _better(metric)})}
        made = [
            of_scheduler("", {"scheduler": scheduler, **given, **each}, within="--")
            for scheduler in asked.schedulers
            for each in grid[scheduler]
        ]
        found[metric] = [each for each in made if each.brackets <= rungs(each, horizon)]
        for each in found[metric]:
            check_times(each, horizon, within="--")
    return found


def i_epochs(metric: str, horizon: int, members: int) -> dict[str, IEpoch]:
    """Under their names in words: the rules that train all for i epochs, then the best k of them."""
    mode = "max" if (sense(metric) or _better(metric)) == "max" else "min"
    made = {}
    for epochs in _graces(horizon):
        spent = f"{epochs} epoch{'s' if epochs > 1 else ''}"
        for part in KEPT:
            keep = max(1, round(members / part)) if part else 1
            words = f"top 1 in {part}" if part else "top 1"
            made[f"i-epoch({metric} {mode}, {spent}, {words})"] = IEpoch(metric, mode, epochs, keep)  # type: ignore[arg-type]
    return made


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
    from sweeps.pictures import chance

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
    from analysis.stopping.study import write_study
    from sweeps.pictures import provenance

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
    """For a reader: of each metric a table of what every setting saves and costs."""
    from analysis.stopping.tables import heads, note, rows_of

    tables = []
    for metric in dict.fromkeys(made.summary["signal"]):
        one = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"scheduler sees {metric}", title_justify="left")
        for place, head in enumerate(heads(metric)):
            one.add_column(head, justify="right" if place else "left", no_wrap=not place)
        for row in rows_of(made.summary, metric):
            one.add_row(*row)
        one.caption, one.caption_justify = note(made.summary), "left"
        tables.append(one)
    return tables


def _graces(horizon: int) -> list[int]:
    return [grace for grace in GRACES if 3 * grace <= horizon] or [1]


def _better(metric: str) -> str:
    from analysis.words import METRICS

    better = {name: METRICS[name].better for name in (*MEASURES, *ON_DEMAND) if name in METRICS}
    if better.get(metric) is None:
        problem = (
            f"has to be recorded, and to have a better end; {choices(metric, [n for n, b in better.items() if b])}"
        )
        raise SweepError("", "--metric", problem)
    return "max" if better[metric] == "higher" else "min"
