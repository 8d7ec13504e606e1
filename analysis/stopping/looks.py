"""The look of each scheduler in the figures of a study, and the setting that represents it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from analysis.stopping.averages import averages
from analysis.words import METRICS


@dataclass(frozen=True)
class Look:
    """A scheduler's name in a legend, its colour (Okabe and Ito) and its marker, which identifies it in greyscale."""

    words: str
    colour: str
    marker: str


LOOKS: dict[str, Look] = {
    "asha": Look("ASHA", "#0072B2", "o"),
    "hyperband": Look("HyperBand", "#009E73", "s"),
    "median": Look("median stopping", "#CC79A7", "^"),
    "i-epoch": Look("i-Epoch", "#D55E00", "D"),
    "random": Look("random", "#8a8a8a", "x"),
    "none": Look("no stopping", "#222222", "P"),
    "oracle": Look("oracle", "#E69F00", "*"),
}
COMPARED = 0.25
"""The budget, as a fraction of all epochs, near which settings of different schedulers are compared."""
BOUNDS = ("none", "oracle")
"""Baselines that bound the schedulers: `none` trains everything, and `oracle` knows the results in advance."""


def look(scheduler: str) -> Look:
    return LOOKS.get(scheduler, Look(scheduler, "#56B4E9", "v"))


def in_order(schedulers: Sequence[str]) -> list[str]:
    """Return the distinct schedulers in legend order, with unknown schedulers last."""
    return sorted(dict.fromkeys(schedulers), key=lambda name: [*LOOKS, name].index(name))


def shortened(setting: str) -> str:
    """Remove the metric, which the table or panel states, from a setting: "asha(grace 1, factor 3, 1 bracket)"."""
    return re.sub(r"\(\w+ (?:max|min)(?:, |(?=\)))", "(", setting).replace("()", "")


def handle(scheduler: str) -> Line2D:
    about = look(scheduler)
    return Line2D([], [], color=about.colour, marker=about.marker, markersize=4, linestyle="", label=about.words)


def signal_words(signal: str) -> str:
    """Describe the signal of a scheduler, such as "sees validation accuracy, labels as noisy as training"."""
    return f"sees {METRICS[signal].words}"


def representatives(table: pd.DataFrame, bounds: bool = False) -> pd.DataFrame:
    """Choose, for every signal and scheduler, the setting whose mean budget is nearest to `COMPARED` by ratio.

    Args:
        table: The result of `outcomes.outcomes`.
        bounds: Whether to include no stopping and the oracle.

    Returns:
        A table with the columns `signal`, `scheduler`, `setting`, `budget`, whose rows are in legend order.
    """
    means = averages(table, ["signal", "scheduler", "setting"], "budget").rename(columns={"mean": "budget"})
    if not bounds:
        means = means[~means["scheduler"].isin(BOUNDS)]
    distance = np.abs(np.log(means["budget"].clip(lower=1e-6) / COMPARED))
    nearest = means.loc[distance.groupby([means["signal"], means["scheduler"]], sort=False).idxmin()]
    order = {name: index for index, name in enumerate(in_order(nearest["scheduler"]))}
    signals = {name: index for index, name in enumerate(dict.fromkeys(table["signal"]))}
    nearest = nearest.assign(_s=nearest["signal"].map(signals), _o=nearest["scheduler"].map(order))
    return nearest.sort_values(["_s", "_o"], ignore_index=True)[["signal", "scheduler", "setting", "budget"]]


def of_settings(rows: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """Select the rows whose signal and setting are among the chosen ones."""
    keys = ["signal", "setting"]
    return rows[pd.MultiIndex.from_frame(rows[keys]).isin(pd.MultiIndex.from_frame(chosen[keys]))]


def named(chosen: pd.DataFrame) -> str:
    """List the distinct chosen settings with their budgets, in words."""
    parts = [
        f"{setting} {' and '.join(f'{100 * b:.0f} %' for b in part['budget'])}"
        for setting, part in chosen.groupby(chosen["setting"].map(shortened), sort=False)
    ]
    return (
        f"of each scheduler the setting that trains nearest to {100 * COMPARED:.0f} % of the epochs: {'; '.join(parts)}"
    )
