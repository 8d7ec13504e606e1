"""What a scheduler saves and what it costs: epochs spent against regret, a row a search and order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.stopping.averages import SHARE, averages
from analysis.stopping.recorded import Recorded, check_stops, sign

CLEAN = "test_accuracy"
"""What only we have: accuracy on clean test labels."""

ALIKE = 1.05
"""How much more than a setting an i-epoch rule may train to be compared with it."""
BASELINES = ("i-epoch", "random", "none", "oracle")

SEARCH = ("signal", "scheduler", "setting", "problem", "search", "seed", "order")

MEASURED = {
    "budget": "epochs trained / epochs that no stopping trains (to the horizon, or to where one diverges), 0 to 1",
    "finished": "trainings that reached their horizon / all, 0 to 1",
    "regret": "in the unit of the signal, at least 0: how much better the best training of the search is at its "
    "horizon than the one handed over",
    "clean_regret": "0 to 1: clean test accuracy at its horizon of the training that is best in it, less that of the "
    "one handed over",
    "cost": "-1 to 1: `clean_regret` less that of no stopping at all in the same search: what stopping itself costs",
    "gain": "-1 to 1: what a setting gains over chance, `clean_regret` of random stopping with its budget (the setting "
    "`random(as SETTING)`) in the same search less its own; NaN where there is none beside it",
    "lead": "-1 to 1: `clean_regret` of i-Epoch in the same search less its own, of the rule that trains most of those "
    "that train at most 5 % more than the setting (mean over orders); NaN where none is so cheap, and for baselines",
    "kept_best": "1 if the training with the best final signal was not stopped, else 0",
    "memorized": "memorized fraction of the training handed over, 0 to 1; NaN without corrupted labels",
}
"""Columns of `outcomes` -> their meaning."""
LIMITS = {"regret": (0.0, np.inf), "cost": (-1.0, 1.0), "gain": (-1.0, 1.0), "lead": (-1.0, 1.0)}
"""At which intervals are cut, where not at 0 and 1."""


def outcomes(found: Recorded, stops: pd.DataFrame) -> pd.DataFrame:
    """A row for each of `SEARCH`, with the columns of `MEASURED`.

    Handed over is, of the trainings that finished, the one with the best signal at its horizon; where several tie, the
    mean over them stands for a choice by lot. Where none finished nothing is handed over, and regrets are NaN, not 0.
    A training that diverged finished nothing; the epochs it trained count. "Best" is over all of the search, stopped or
    not, as recorded without stopping.

    Raises AnalysisError for a signal that was not recorded or has no better end.
    """
    stops = check_stops(stops, found)
    clean = found.final(CLEAN)
    memorized = found.final("memorized_fraction") if "memorized_fraction" in found.curves else clean * np.nan
    whole = _whole(stops)
    parts = [
        _of_signal(found, part, str(signal), whole, clean, memorized)
        for signal, part in stops.groupby("signal", sort=False)
    ]
    made = pd.concat(parts, ignore_index=True)
    unstopped = made[made["scheduler"] == "none"].groupby(["signal", "search"])["clean_regret"].mean()
    made["cost"] = made["clean_regret"] - _looked_up(unstopped, made[["signal", "search"]])
    by_chance = made[made["scheduler"] == "random"].groupby(["signal", "search", "setting"])["clean_regret"].mean()
    beside = made[["signal", "search"]].assign(setting="random(as " + made["setting"].astype(str) + ")")
    made["gain"] = _looked_up(by_chance, beside) - made["clean_regret"]
    made["lead"] = _lead(made)
    return made[[*SEARCH, *MEASURED]]


def summary(table: pd.DataFrame, by_problem: bool = False, measures: Sequence[str] = tuple(MEASURED)) -> pd.DataFrame:
    """A row a signal, setting (and problem) and measure: its mean and interval (see `averages`), cheapest first."""
    keys = ["signal", "scheduler", "setting", *(["problem"] if by_problem else [])]
    parts = [averages(table, keys, name, LIMITS.get(name, SHARE)).assign(measure=name) for name in measures]
    made = pd.concat(parts, ignore_index=True)
    return made[[*keys, "measure", "mean", "low", "high", "n", "over", "orders", "undefined"]]


def wide(found: pd.DataFrame) -> pd.DataFrame:
    """A summary with a row a setting: of each measure the mean under its name, and `_low`, `_high`; `n`, `over`.

    Signals in the order of the summary, of each the cheapest setting first.
    """
    keys = [name for name in ("signal", "scheduler", "setting", "problem") if name in found]
    table = found.pivot_table(index=keys, columns="measure", values=["mean", "low", "high"], dropna=False, sort=False)
    table.columns = [name if kind == "mean" else f"{name}_{kind}" for kind, name in table.columns]
    counts = found.groupby(keys, sort=False).agg(n=("n", "max"), over=("over", "first"), orders=("orders", "max"))
    table = table.join(counts).dropna(subset=["budget"]).reset_index()
    ends = ("", "_low", "_high")
    columns = [f"{name}{end}" for name in found["measure"].unique() for end in ends if f"{name}{end}" in table]
    signals = pd.Categorical(table["signal"], dict.fromkeys(found["signal"]), ordered=True).codes
    order = np.lexsort((table["budget"], signals))
    return table[[*keys, "n", "over", "orders", *columns]].iloc[order].reset_index(drop=True)


def _lead(made: pd.DataFrame) -> pd.Series:
    keys = ["signal", "search"]
    rules = (
        made[made["scheduler"] == "i-epoch"]
        .groupby([*keys, "setting"], as_index=False)[["budget", "clean_regret"]]
        .mean()
    )
    judged = made[~made["scheduler"].isin(BASELINES)]
    spent = judged.groupby([*keys, "setting"], as_index=False)["budget"].mean()
    pairs = spent.merge(rules, on=keys, suffixes=("", "_rule"))
    pairs = pairs[pairs["budget_rule"] <= ALIKE * pairs["budget"]]
    nearest = pairs.sort_values("budget_rule", kind="stable").drop_duplicates([*keys, "setting"], keep="last")
    values = nearest.set_index([*keys, "setting"])["clean_regret"]
    own = made["clean_regret"].where(~made["scheduler"].isin(BASELINES))
    return _looked_up(values, made[[*keys, "setting"]]) - own


def _looked_up(values: pd.Series, keys: pd.DataFrame) -> np.ndarray:
    return np.asarray(values.reindex(pd.MultiIndex.from_frame(keys)), dtype=float)


def _whole(stops: pd.DataFrame) -> pd.Series:
    """Epochs of each search that no stopping trains; where that is not beside, those up to the horizons."""
    longest = stops.assign(end=stops["stop_epoch"].where(stops["scheduler"] == "none"))
    each = longest.groupby(["search", "trajectory_id"]).agg(end=("end", "max"), horizon=("horizon", "max"))
    return each["end"].fillna(each["horizon"]).groupby("search").sum()


def _of_signal(
    found: Recorded, stops: pd.DataFrame, signal: str, whole: pd.Series, clean: pd.Series, memorized: pd.Series
) -> pd.DataFrame:
    final = sign(signal) * found.final(signal)
    search = found.members["search"]
    best, best_clean = final.groupby(search).max(), clean.groupby(search).max()
    member = stops["trajectory_id"]
    rows = stops.assign(
        final=member.map(final).where(stops["finished"]), clean=member.map(clean), memorized=member.map(memorized)
    )
    groups = rows.groupby(list(SEARCH), sort=False, dropna=False)
    leading = rows["final"].notna() & (rows["final"] == groups["final"].transform("max"))
    rows = rows.assign(clean=rows["clean"].where(leading), memorized=rows["memorized"].where(leading))
    groups = rows.groupby(list(SEARCH), sort=False, dropna=False)
    made = groups.agg(
        spent=("stop_epoch", "sum"), finished=("finished", "mean"),
        final=("final", "max"), clean=("clean", "mean"), memorized=("memorized", "mean"),
    ).reset_index()  # fmt: skip
    regret = made["search"].map(best) - made["final"]
    return made.assign(
        budget=made["spent"] / made["search"].map(whole),
        regret=regret,
        clean_regret=made["search"].map(best_clean) - made["clean"],
        kept_best=(regret <= 0).astype(float).where(regret.notna(), 0.0),
    )
