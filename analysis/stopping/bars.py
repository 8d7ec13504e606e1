"""Dot plots with intervals: the share of trainings that were stopped, and how many corrupted labels they memorized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.figures import style
from analysis.figures.captions import joined
from analysis.stopping.averages import sampled
from analysis.stopping.looks import handle, in_order, look, named, of_settings, signal_words

FILLS: dict[str, Literal["none", "full"]] = {"at stop": "none", "at the end": "full"}


def stopped_figure(
    shares: pd.DataFrame, chosen: pd.DataFrame, groups: Sequence[str], what: str, *, note: str = ""
) -> style.Picture:
    """Draw the share of stopped trainings in each group, with one dot per scheduler and one panel per signal.

    Args:
        shares: The result of `stopped.stopped_by`.
        chosen: The setting that represents each scheduler, for every signal.
        groups: The groups from top to bottom. Groups without members are left out.
        what: A description of the groups, such as "regime at the horizon".
        note: A sentence with which the caption begins.
    """
    rows = of_settings(shares, chosen)
    drawn = [name for name in groups if (rows["group"] == name).any()]
    counts = rows.drop_duplicates("group").set_index("group")["members"]
    signals = list(dict.fromkeys(chosen["signal"]))
    schedulers = in_order(chosen["scheduler"])
    with style.look():
        figure, axes = style.small_multiples(len(signals), 1, (3.0, 0.32 + 0.42 * len(drawn)), (0.6, 0.45))
        for ax, signal in zip(axes[0], signals, strict=True):
            _dots(ax, rows[rows["signal"] == signal], drawn, schedulers)
            ax.set_title(style.fitted(signal_words(signal), 3.0), pad=4)
            ax.set_xlabel("runs stopped before the horizon (%)")
        labels = [f"{name}\n({counts[name]} runs)" for name in drawn]
        axes[0, 0].set_yticks(-np.arange(len(drawn)), labels)
        axes[0, 0].set_ylabel(style.fitted(what, 0.5 + 0.4 * len(drawn)))
        caption = joined(note, sampled(rows), named(chosen))
        heading = f"runs stopped, by {what}"
        sentences = []
        for (signal, setting), part in rows.groupby(["signal", "setting"], sort=False):
            shares_of = part.set_index("group")["mean"]
            words = [f"{name} {100 * shares_of[name]:.0f} %" for name in drawn if name in shares_of]
            sentences.append(f"{setting} {signal_words(str(signal))}: {', '.join(words)}")
        return style.finish(
            figure, heading, caption, joined(heading, *sentences), [handle(name) for name in schedulers]
        )


def memorized_figure(table: pd.DataFrame, chosen: pd.DataFrame, *, note: str = "") -> style.Picture:
    """Draw the share of corrupted labels that stopped trainings had memorized at the stop and would have by the end.

    There is one panel per signal and one line per scheduler, from an open (at stop) to a filled marker (at the end).

    Args:
        table: The result of `stopped.memorized_at_stop`.
        chosen: The setting that represents each scheduler, for every signal.
        note: A sentence with which the caption begins.
    """
    rows = of_settings(table, chosen)
    signals = list(dict.fromkeys(chosen["signal"]))
    schedulers = [name for name in in_order(chosen["scheduler"]) if (rows["scheduler"] == name).any()]
    with style.look():
        figure, axes = style.small_multiples(len(signals), 1, (3.0, 0.32 + 0.3 * len(schedulers)), (0.6, 0.45))
        for ax, signal in zip(axes[0], signals, strict=True):
            part = rows[rows["signal"] == signal]
            for place, name in enumerate(schedulers):
                one = part[part["scheduler"] == name].set_index("when")
                about = look(name)
                if one.empty:
                    continue
                ax.plot(
                    100 * one["mean"], [-place] * len(one), color=about.colour, linewidth=1.0, alpha=0.6, label="rise"
                )
                for when, fill in FILLS.items():
                    _bar(ax, one.loc[when], -place, about.colour)
                    ax.plot(100 * one.loc[when, "mean"], -place, "o", color=about.colour, fillstyle=fill, markersize=5,
                            label=when)  # fmt: skip
            ax.set_title(style.fitted(signal_words(signal), 3.0), pad=4)
            ax.set_xlabel("corrupted labels memorized (%)")
            _grid(ax)
        axes[0, 0].set_yticks(-np.arange(len(schedulers)), [look(name).words for name in schedulers])
        axes[0, 0].set_ylim(-len(schedulers) + 0.5, 0.5)
        caption = joined(note, "of the runs that were stopped after they had begun", sampled(rows), named(chosen))
        heading = "corrupted labels memorized by stopped runs: where they were stopped, and by the end"
        sentences = [f"{one.setting} {one.when}: {100 * one.mean:.0f} %" for one in rows.itertuples()]
        handles = [
            Line2D([], [], color=style.TEXT, marker="o", fillstyle=fill, linestyle="", markersize=5, label=when)
            for when, fill in FILLS.items()
        ]
        return style.finish(figure, heading, caption, joined(heading, *sentences), handles)


def _dots(ax: Axes, rows: pd.DataFrame, groups: Sequence[str], schedulers: Sequence[str]) -> None:
    for place, name in enumerate(groups):
        for number, scheduler in enumerate(schedulers):
            one = rows[(rows["group"] == name) & (rows["scheduler"] == scheduler)]
            if one.empty:
                continue
            height = -place + 0.6 * (0.5 - (number + 0.5) / len(schedulers))
            about = look(scheduler)
            _bar(ax, one.iloc[0], height, about.colour)
            ax.plot(100 * one["mean"], [height], about.marker, color=about.colour, markersize=4, label=name)
        if place:
            ax.axhline(-place + 0.5, color="#e6e6e6", linewidth=0.5)
    ax.set_ylim(-len(groups) + 0.5, 0.5)
    _grid(ax)


def _bar(ax: Axes, one: pd.Series, height: float, colour: str) -> None:
    if not np.isnan(one["low"]):
        ax.plot([100 * one["low"], 100 * one["high"]], [height, height], color=colour, linewidth=0.9)


def _grid(ax: Axes) -> None:
    ax.set_xlim(-2, 102)
    style.grid(ax, "x")
    ax.tick_params(axis="y", length=0)
