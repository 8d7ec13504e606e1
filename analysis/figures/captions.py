"""The text of a picture: its caption, and the alternative text for readers who cannot see it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.words import AXES, METRICS, Metric, setting, short_half


def sentence(text: str) -> str:
    text = text.strip()
    return text and text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def joined(*parts: str) -> str:
    return " ".join(sentence(part) for part in parts if part.strip())


def seeds(table: pd.DataFrame) -> str:
    """Format the number of seeds averaged: "n = 3 seeds", "n = 2 to 3 seeds"."""
    n = table.loc[table["n"] > 0, "n"]
    if n.empty:
        return "no data yet"
    low, high = int(n.min()), int(n.max())
    return f"n = {low if low == high else f'{low} to {high}'} seed{'s' if high > 1 else ''}"


def averaged(table: pd.DataFrame, metric: Metric, when: str = "") -> str:
    """Describe how the drawn means were computed and how wide their 95 % intervals are."""
    n = table["n"].max()
    if n == 0:
        return f"no data yet{', ' + when if when else ''}"
    if n == 1:
        return f"one seed a cell (n = 1){', ' + when if when else ''}, so no interval"
    half = (table["high"] - table["mean"]).dropna() * metric.scale
    median, widest = short_half(half.median(), metric), short_half(half.max(), metric)
    unit = f" {metric.difference_unit}" if metric.difference_unit else ""
    return (
        f"mean over {seeds(table)} a cell{', ' + when if when else ''}; 95 % t interval ±{median}{unit} in the median "
        f"cell, ±{widest} in the widest"
    )


LOST_WORDS = {"diverged": "diverged", "stopped": "were stopped early", "failed": "failed"}
"""Maps each outcome of a training without a result to a verb."""


def unreached(table: pd.DataFrame, value: str) -> str:
    """Describe how many cells have no value, by reason, and how many seeds the other cells lost."""
    status = table["status"].value_counts()
    reasons = [
        f"{count} {words}"
        for name, words in (
            ("missing", "without data"),
            ("diverged", "diverged"),
            ("stopped", "stopped early"),
            ("failed", "failed"),
        )
        if (count := status.get(name, 0))
    ]
    text = f"of {len(table)} cells {', '.join(reasons)}" if reasons else ""
    inside = table[table["status"] == "value"]
    lost = int(inside["n_lost"].sum())
    how = " or ".join(words for name, words in LOST_WORDS.items() if inside[f"n_{name}"].any())
    trainings = f"{lost} training{'s' if lost > 1 else ''}"
    beside = f"{trainings} {how} beside seeds that finished" if lost else ""
    none = status.get("undefined", 0)
    undefined = f"not defined in {none} {'cell' if none == 1 else 'cells'}" if none else ""
    if undefined and value in METRICS and METRICS[value].needs == "corrupted":
        undefined += ": no label there is corrupted"
    return joined(text, beside, undefined)


def number(value: float, metric: Metric) -> str:
    drawn = value * metric.scale
    return f"{drawn:.0f} %" if metric.unit == "%" else f"{drawn:.3g} {metric.unit}".strip()


def alt_map(table: pd.DataFrame, metric: Metric, x: str, y: str, facets: Sequence[str]) -> str:
    """Describe a map in a few sentences: axes, extremes with their positions, and number of cells without a value."""
    panels = f", a panel for each {' and '.join(AXES[name].words for name in facets)}" if facets else ""
    text = f"heatmap of {metric.words} over {AXES[x].words} (across) and {AXES[y].words} (upwards){panels}"
    have = table[table["status"] == "value"]
    holes = len(table) - len(have)
    missing = f"{holes} of {len(table)} cells have no value" if holes else "every cell has a value"
    if have.empty:
        return joined(text, missing)
    low, high = have.loc[have["mean"].idxmin()], have.loc[have["mean"].idxmax()]
    spread = f"from {_at(low, metric, x, y)} to {_at(high, metric, x, y)}"
    return joined(text, spread, missing)


def _at(row: pd.Series, metric: Metric, x: str, y: str) -> str:
    return f"{number(row['mean'], metric)} at {setting(x, row[x])} and {setting(y, row[y])}"


def names(metrics: Sequence[str]) -> str:
    words = [METRICS[name].words for name in metrics]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
