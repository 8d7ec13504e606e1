"""Savings and costs of schedulers: epochs trained and regret, with one row per search and order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.stopping.averages import SHARE, averages
from analysis.stopping.recorded import Recorded, check_stops, sign

CLEAN = "test_accuracy"
"""Accuracy on clean test labels, which only an experiment with artificial noise can measure."""

ALIKE = 1.05
"""An i-epoch rule is compared with a setting only if it trains at most this multiple of the setting's epochs."""
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
"""The meaning of each column of `outcomes`."""
LIMITS = {"regret": (0.0, np.inf), "cost": (-1.0, 1.0), "gain": (-1.0, 1.0), "lead": (-1.0, 1.0)}
"""The ranges to which intervals are clipped, for measures whose range is not 0 to 1."""


def outcomes(recorded: Recorded, stops: pd.DataFrame) -> pd.DataFrame:
    """Compute the savings and costs of each replay of each search.

    The training handed over (selected) is the one with the best signal at its horizon among those that finished. Ties
    are averaged, which represents a random choice. If no training finished, none is handed over, and regrets are NaN,
    not 0. A training that diverged does not finish, but the epochs that it trained count. The best training of a search
    is found in the curves recorded without stopping, so a replay may have stopped it.

    Returns:
        A table with one row per combination of the columns `SEARCH`, and the columns of `MEASURED`.

    Raises:
        AnalysisError: A signal was not recorded, or has no direction that is better.
    """
    stops = check_stops(stops, recorded)
    clean = recorded.final(CLEAN)
    memorized = recorded.final("memorized_fraction") if recorded.has("memorized_fraction") else clean * np.nan
    whole = _whole(stops)
    parts = [
        _of_signal(recorded, part, str(signal), whole, clean, memorized)
        for signal, part in stops.groupby("signal", sort=False)
    ]
    table = pd.concat(parts, ignore_index=True)
    unstopped = table[table["scheduler"] == "none"].groupby(["signal", "search"])["clean_regret"].mean()
    table["cost"] = table["clean_regret"] - _looked_up(unstopped, table[["signal", "search"]])
    by_chance = table[table["scheduler"] == "random"].groupby(["signal", "search", "setting"])["clean_regret"].mean()
    beside = table[["signal", "search"]].assign(setting="random(as " + table["setting"].astype(str) + ")")
    table["gain"] = _looked_up(by_chance, beside) - table["clean_regret"]
    table["lead"] = _lead(table)
    return table[[*SEARCH, *MEASURED]]


def summary(table: pd.DataFrame, by_problem: bool = False, measures: Sequence[str] = tuple(MEASURED)) -> pd.DataFrame:
    """Average the outcomes per signal, setting (and problem) and measure, with the columns of `averages`."""
    keys = ["signal", "scheduler", "setting", *(["problem"] if by_problem else [])]
    parts = [averages(table, keys, name, LIMITS.get(name, SHARE)).assign(measure=name) for name in measures]
    table = pd.concat(parts, ignore_index=True)
    return table[[*keys, "measure", "mean", "low", "high", "n", "over", "orders", "undefined"]]


def wide(long: pd.DataFrame) -> pd.DataFrame:
    """Pivot a summary to one row per signal and setting (and problem), the cheapest setting of each signal first.

    Args:
        long: The result of `summary`.

    Returns:
        A table with, for each measure, its mean in a column of the same name and its interval in `<measure>_low` and
        `<measure>_high`, and with `n`, `over` and `orders`. Signals keep the order of the summary.
    """
    keys = [name for name in ("signal", "scheduler", "setting", "problem") if name in long]
    table = long.pivot_table(index=keys, columns="measure", values=["mean", "low", "high"], dropna=False, sort=False)
    table.columns = [name if kind == "mean" else f"{name}_{kind}" for kind, name in table.columns]
    counts = long.groupby(keys, sort=False).agg(n=("n", "max"), over=("over", "first"), orders=("orders", "max"))
    table = table.join(counts).dropna(subset=["budget"]).reset_index()
    ends = ("", "_low", "_high")
    columns = [f"{name}{end}" for name in long["measure"].unique() for end in ends if f"{name}{end}" in table]
    signals = pd.Categorical(table["signal"], dict.fromkeys(long["signal"]), ordered=True).codes
    order = np.lexsort((table["budget"], signals))
    return table[[*keys, "n", "over", "orders", *columns]].iloc[order].reset_index(drop=True)


def _lead(table: pd.DataFrame) -> pd.Series:
    keys = ["signal", "search"]
    rules = (
        table[table["scheduler"] == "i-epoch"]
        .groupby([*keys, "setting"], as_index=False)[["budget", "clean_regret"]]
        .mean()
    )
    judged = table[~table["scheduler"].isin(BASELINES)]
    spent = judged.groupby([*keys, "setting"], as_index=False)["budget"].mean()
    pairs = spent.merge(rules, on=keys, suffixes=("", "_rule"))
    pairs = pairs[pairs["budget_rule"] <= ALIKE * pairs["budget"]]
    nearest = pairs.sort_values("budget_rule", kind="stable").drop_duplicates([*keys, "setting"], keep="last")
    values = nearest.set_index([*keys, "setting"])["clean_regret"]
    own = table["clean_regret"].where(~table["scheduler"].isin(BASELINES))
    return _looked_up(values, table[[*keys, "setting"]]) - own


def _looked_up(values: pd.Series, keys: pd.DataFrame) -> np.ndarray:
    return np.asarray(values.reindex(pd.MultiIndex.from_frame(keys)), dtype=float)


def _whole(stops: pd.DataFrame) -> pd.Series:
    """Return the epochs that each search trains without stopping, using horizons if `none` was not replayed."""
    longest = stops.assign(end=stops["stop_epoch"].where(stops["scheduler"] == "none"))
    ends = longest.groupby(["search", "trajectory_id"]).agg(end=("end", "max"), horizon=("horizon", "max"))
    return ends["end"].fillna(ends["horizon"]).groupby("search").sum()


def _of_signal(
    recorded: Recorded, stops: pd.DataFrame, signal: str, whole: pd.Series, clean: pd.Series, memorized: pd.Series
) -> pd.DataFrame:
    final = sign(signal) * recorded.final(signal)
    search = recorded.members["search"]
    best, best_clean = final.groupby(search).max(), clean.groupby(search).max()
    member = stops["trajectory_id"]
    rows = stops.assign(
        final=member.map(final).where(stops["finished"]), clean=member.map(clean), memorized=member.map(memorized)
    )
    groups = rows.groupby(list(SEARCH), sort=False, dropna=False)
    leading = rows["final"].notna() & (rows["final"] == groups["final"].transform("max"))
    rows = rows.assign(clean=rows["clean"].where(leading), memorized=rows["memorized"].where(leading))
    groups = rows.groupby(list(SEARCH), sort=False, dropna=False)
    table = groups.agg(
        spent=("stop_epoch", "sum"), finished=("finished", "mean"),
        final=("final", "max"), clean=("clean", "mean"), memorized=("memorized", "mean"),
    ).reset_index()  # fmt: skip
    regret = table["search"].map(best) - table["final"]
    return table.assign(
        budget=table["spent"] / table["search"].map(whole),
        regret=regret,
        clean_regret=table["search"].map(best_clean) - table["clean"],
        kept_best=(regret <= 0).astype(float).where(regret.notna(), 0.0),
    )
