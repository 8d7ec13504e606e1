"""Figure of the learning curves of one search, with a mark at the epoch at which a scheduler stopped each training."""

from __future__ import annotations

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.figures import style
from analysis.figures.captions import joined
from analysis.figures.regime_maps import SWATCHES
from analysis.stopping.looks import look, named, of_settings, signal_words
from analysis.stopping.outcomes import CLEAN
from analysis.stopping.recorded import Recorded, check_stops, sign
from analysis.words import METRICS

MOST_CURVES = 60
UNNAMED = "#999999"


def marks_figure(
    recorded: Recorded, stops: pd.DataFrame, chosen: pd.DataFrame, search: int | None = None, *, note: str = ""
) -> style.Picture:
    """Draw the learning curves of one search, with the part after each training was stopped in a pale colour.

    There is one column per scheduler, one row for the signal that the scheduler saw, and one row for clean test
    accuracy. Colours show the regime at the horizon, and the selected training is black. The first order of arrival is
    shown. With more than 60 curves, only the selected curve and every k-th curve are drawn.

    Args:
        recorded: The unstopped curves.
        stops: The stops of the replays (see `recorded.STOPS`).
        chosen: The setting that represents each scheduler, for one signal.
        search: The number of the search; by default the last one, which belongs to the noisiest problem.
        note: A sentence with which the caption begins.
    """
    signal = str(chosen["signal"].iloc[0])
    number = int(recorded.members["search"].max()) if search is None else search
    members = recorded.members[recorded.members["search"] == number]
    rows = check_stops(of_settings(stops, chosen), recorded)
    rows = rows[(rows["search"] == number) & (rows["order"] == rows["order"].min())]
    shown = list(dict.fromkeys((signal, CLEAN)))
    step = -(-len(members) // MOST_CURVES)
    with style.look():
        room = (style.PAGE - 0.6) / len(chosen)
        figure, axes = style.small_multiples(len(chosen), len(shown), (min(2.6, room), 1.6), (0.6, 0.3), by_row=True)
        for j, one in enumerate(chosen.itertuples()):
            part = rows[rows["setting"] == one.setting].set_index("trajectory_id")
            handed = _handed_over(recorded, part, signal)
            ids = [name for place, name in enumerate(members.index) if place % step == 0 or name == handed]
            for i, metric in enumerate(shown):
                curves = METRICS[metric].scale * recorded.values(metric).loc[ids]
                for name in ids:
                    _draw(
                        axes[i, j],
                        curves.loc[name].dropna(),
                        part.loc[name],
                        members.loc[name, "regime"],
                        name == handed,
                    )
            axes[0, j].set_title(look(one.scheduler).words, pad=4)
            axes[-1, j].set_xlabel("epoch")
        for i, metric in enumerate(shown):
            axes[i, 0].set_ylabel(style.fitted(METRICS[metric].label, 1.6))
        for ax in axes.flat:
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            style.grid(ax, "y")
        where = ", ".join([*filter(None, [members["problem"].iloc[0]]), f"seed {members['seed'].iloc[0]}"])
        drawn = f"every {step}th of {len(members)} trainings" if step > 1 else f"n = {len(members)} trainings"
        caption = joined(
            note, f"one search ({where}), one order of arrival, {drawn}; no intervals",
            "solid: trained; pale: what was not trained; colour: regime at the horizon", named(chosen),
        )  # fmt: skip
        heading = f"learning curves, and where they were stopped; scheduler {signal_words(signal)}"
        stopped = (1 - rows.groupby("setting")["finished"].mean()).to_dict()
        sentences = [
            f"{look(one.scheduler).words} stops {100 * stopped[one.setting]:.0f} %" for one in chosen.itertuples()
        ]
        return style.finish(figure, heading, caption, joined(heading, *sentences), _handles(members))


def _handed_over(recorded: Recorded, part: pd.DataFrame, signal: str) -> str | None:
    final = (sign(signal) * recorded.final(signal)).reindex(part.index[part["finished"].astype(bool)]).dropna()
    return str(final.idxmax()) if len(final) else None


def _draw(ax: Axes, curve: pd.Series, run: pd.Series, regime: object, handed: bool) -> None:
    colour = "#000000" if handed else SWATCHES[regime].colour if regime in SWATCHES else UNNAMED
    epochs = curve.index.to_numpy(float)
    seen = (epochs <= run["stop_epoch"]) & (epochs > 0)
    later = (epochs >= run["stop_epoch"]) & (epochs > 0)
    width = 1.4 if handed else 0.6
    ax.plot(epochs[later], curve[later], color=colour, alpha=0.13, linewidth=0.5, zorder=1)
    ax.plot(epochs[seen], curve[seen], color=colour, linewidth=width, zorder=3 if handed else 2)
    if not run["finished"] and seen.any():
        ax.plot(epochs[seen][-1], curve[seen].iloc[-1], "o", color=colour, markersize=2.2, zorder=4)


def _handles(members: pd.DataFrame) -> list[Artist]:
    present = [name for name in members["regime"].cat.categories if (members["regime"] == name).any()]
    handles: list[Artist] = [
        Line2D([], [], color=SWATCHES[name].colour, label=name) for name in present if name in SWATCHES
    ]
    if members["regime"].isna().any() or any(name not in SWATCHES for name in present):
        handles.append(Line2D([], [], color=UNNAMED, label="other, or no regime"))
    handles.append(Line2D([], [], color=style.TEXT, marker="o", markersize=3, linestyle="", label="stopped"))
    handles.append(Line2D([], [], color="#000000", linewidth=1.6, label="handed over"))
    return handles
