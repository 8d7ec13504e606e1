"""The tables of the study as text: one row per setting, each number with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.report.page import PageTable
from analysis.stopping.averages import sampled
from analysis.stopping.descent import MARGIN, ROUGHNESS
from analysis.stopping.looks import shortened, signal_words
from analysis.words import METRICS

if TYPE_CHECKING:
    from analysis.stopping.findings import Findings

COLUMNS = {
    "budget": "epochs trained (%)",
    "regret": "regret in what it saw",
    "clean_regret": "regret in clean test accuracy (points)",
    "cost": "of it, cost of stopping (points)",
    "gain": "better than random stopping (points)",
    "lead": "better than i-Epoch (points)",
    "kept_best": "kept the best (%)",
    "memorized": "memorized by the one handed over (%)",
}
"""The column heading of each printed measure of `outcomes`."""


def interval(mean: float, low: float, high: float, digits: int = 1) -> str:
    """Format a mean with its interval as `12.3 [10.1, 14.5]`, or `12.3` without an interval, or `-` without a mean."""
    if np.isnan(mean):
        return "-"
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    words = [f"{round(number, digits) + 0.0:.{digits}f}" for number in (mean, low, high)]
    return words[0] if np.isnan(low) or np.isnan(high) else f"{words[0]} [{words[1]}, {words[2]}]"


def rows_of(table: pd.DataFrame, signal: str) -> list[list[str]]:
    """Format the rows of a wide summary for one signal, with the columns of `heads`."""
    part = table[table["signal"] == signal]
    return [
        [shortened(str(row["setting"])), *(_cell(row, name, signal) for name in _defined(table))]
        for _, row in part.iterrows()
    ]


def heads(table: pd.DataFrame, signal: str) -> list[str]:
    """Return the headings of a wide summary for one signal: the setting, then each measure that is defined."""
    words = COLUMNS | {"regret": f"{COLUMNS['regret']} ({METRICS[signal].difference_unit})"}
    return ["setting", *(words[name] for name in _defined(table))]


def _defined(table: pd.DataFrame) -> list[str]:
    """Return the measures with a number. Without corrupted labels, for example, none of them can be memorized."""
    return [name for name in COLUMNS if name in table and table[name].notna().any()]


def page_tables(findings: Findings) -> list[PageTable]:
    """Build the tables of the page: one of all settings per signal, and one of the trainings that descend twice.

    The table of trainings that descend twice contains only the settings that represent their scheduler.
    """
    tables = [
        PageTable(
            f"What it saves and costs: the scheduler {signal_words(signal)}",
            heads(findings.summary, signal),
            rows_of(findings.summary, signal),
            f"{note(findings.summary)}. Cost of stopping: the regret less that of no stopping, where the best by the "
            "same signal is handed over. Better than random stopping: than the same stop epochs dealt out by lot, in "
            "clean test accuracy; than i-Epoch: than the i-epoch rule that trains most of those that train no more.",
        )
        for signal in dict.fromkeys(findings.summary["signal"])
    ]
    if findings.unseen is not None:
        tables.append(_unseen(findings))
    return tables


def note(table: pd.DataFrame) -> str:
    """Describe the sample behind the means and intervals of a wide summary."""
    return sampled(table).replace("bars: ", "in brackets: ").capitalize()


def _unseen(findings: Findings) -> PageTable:
    assert findings.unseen is not None
    chosen = findings.chosen[["signal", "setting"]]
    table = findings.unseen.merge(chosen, on=["signal", "setting"])
    rows = []
    for (signal, setting), part in table.groupby(["signal", "setting"], sort=False):
        shares = part.set_index("measure")
        cells = [_share(shares.loc[name]) for name in ("second descent", "final minimum") if name in shares.index]
        rows.append([shortened(str(setting)), signal_words(str(signal)), *cells])
    members = int(findings.unseen["members"].max())
    rule = (
        f"{members} runs descend twice: clean test accuracy falls by at least {100 * MARGIN:.0f} points after a first "
        f"peak, and rises by at least {100 * MARGIN:.0f} again, and each by {ROUGHNESS:g} standard deviations of an "
        "evaluation"
    )
    return PageTable(
        "Runs that descend twice",
        ["setting", "scheduler", "stopped before the second descent (%)", "stopped before the final minimum (%)"],
        rows,
        f"{rule}. {note(table)}.",
    )


def _share(row: pd.Series) -> str:
    return interval(100 * row["mean"], 100 * row["low"], 100 * row["high"], 0)


def _cell(row: pd.Series, name: str, signal: str) -> str:
    scale = METRICS[signal].scale if name == "regret" else 100.0
    digits = 0 if name in ("budget", "kept_best", "memorized") else 1 if scale == 100 else 3
    mean, low, high = (scale * row[key] for key in (name, f"{name}_low", f"{name}_high"))
    return interval(mean, low, high, digits)
