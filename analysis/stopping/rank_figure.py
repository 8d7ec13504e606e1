"""Figure of the rank correlation between early and final results, against the epoch."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import pandas as pd
from matplotlib.lines import Line2D

from analysis.figures import style
from analysis.figures.captions import joined
from analysis.stopping.averages import span
from analysis.words import METRICS

DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
MOST_PANELS = 6


def rank_figure(table: pd.DataFrame, rungs: Collection[int] = (), *, note: str = "") -> style.Picture:
    """Draw Kendall's tau-b between a metric at an epoch and a metric at the horizon, against the epoch.

    There is one panel per problem and one line per pair of metrics. With more than six problems, only the first three
    and the last three are drawn.

    Args:
        table: The result of `ranks.rank_correlations`.
        rungs: Epochs at which a scheduler decides, to be marked in the figure.
        note: A sentence with which the caption begins.
    """
    problems = list(dict.fromkeys(table["problem"]))
    shown = problems if len(problems) <= MOST_PANELS else [*problems[:3], *problems[-3:]]
    pairs = list(dict.fromkeys(zip(table["early"], table["late"], strict=True)))
    with style.look():
        columns, rows = style.wrapped(len(shown), 3)
        figure, axes = style.small_multiples(columns, rows, (3.0 if columns == 1 else 2.2, 1.8), (0.6, 0.35))
        for index, ax in enumerate(axes.flat):
            if index >= len(shown):
                style.blank(ax)
                continue
            part = table[table["problem"] == shown[index]]
            for (early, late), colour, dash in zip(pairs, COLOURS, DASHES, strict=False):
                line = part[(part["early"] == early) & (part["late"] == late)].dropna(subset=["mean"])
                ax.plot(line["epoch"], line["mean"], color=colour, linestyle=dash, label=f"{early} {late}")
                band = line.dropna(subset=["low"])
                ax.fill_between(band["epoch"], band["low"], band["high"], color=colour, alpha=0.15, linewidth=0)
            for rung in sorted(rungs):
                ax.axvline(rung, color=style.FAINT, linewidth=0.5, linestyle=":", zorder=0, label="rung")
            ax.axhline(0, color="#999999", linewidth=0.5)
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            ax.set_ylim(min(-0.25, part["low"].min(), part["mean"].min()), 1.03)
            ax.set_title(style.fitted(shown[index], 2.2), pad=4)
            style.grid(ax, "y")
            ax.set_xlabel("epoch" if index + columns >= len(shown) else "")
            if index % columns == 0:
                ax.set_ylabel(style.fitted("rank correlation with the end (Kendall's tau-b)", 1.8))
        over = {
            "seeds": "95 % t interval over seeds",
            "members": "95 % bootstrap interval over the trainings",
        }
        n, members = table["n"], table["members"]
        caption = joined(
            note,
            f"mean over n = {span(n)} seed{'s' if n.max() > 1 else ''}, {span(members)} trainings a search; band: "
            + ", ".join(over[name] for name in dict.fromkeys(table["over"])),
            "dotted verticals: epochs at which ASHA decides" if rungs else "",
            f"of {len(problems)} problems {len(shown)} are drawn" if len(shown) < len(problems) else "",
        )  # fmt: skip
        handles = [
            Line2D([], [], color=colour, linestyle=dash, label=pair_words(early, late))
            for (early, late), colour, dash in zip(pairs, COLOURS, DASHES, strict=False)
        ]
        heading = "rank correlation of early and final results"
        sentences = []
        for early, late in pairs:
            line = table[(table["early"] == early) & (table["late"] == late)].dropna(subset=["mean"])
            if len(line):
                first, half = line.iloc[0], line.iloc[len(line) // 2]
                sentences.append(f"{pair_words(early, late)}: {first['mean']:.2f} after {first['epoch']} epochs, "
                            f"{half['mean']:.2f} after {half['epoch']}")  # fmt: skip
        return style.finish(figure, heading, caption, joined(heading, *sentences), handles)


def pair_words(early: str, late: str) -> str:
    short = {"validation_accuracy": "noisy validation", "test_accuracy": "clean test"}
    names = [short.get(name, METRICS[name].words) for name in (early, late)]
    return f"{names[0]} now, {names[1]} at the end"
