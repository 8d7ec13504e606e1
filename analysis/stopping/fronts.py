"""Figure of regret against budget, for every setting of every scheduler."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.figures import style
from analysis.figures.captions import joined
from analysis.stopping.averages import SHARE, averages, sampled
from analysis.stopping.looks import BOUNDS, handle, in_order, look, signal_words
from analysis.stopping.outcomes import CLEAN
from analysis.words import METRICS

MOST_ROWS = 4
TICKS = (0.1, 0.3, 1, 3, 10, 30, 100)


def front_figure(table: pd.DataFrame, note: str = "") -> style.Picture:
    """Draw the regret of the selected training against the epochs trained, with one marker per setting.

    There is one column of panels per signal and unit of regret (the signal itself, and clean test accuracy), and one
    row per problem. With more than four problems, a single row shows all problems together. The grey line is the Pareto
    front of all settings except the oracle. Bars are 95 % intervals over seeds.

    Args:
        table: The result of `outcomes.outcomes`.
        note: A sentence with which the caption begins.
    """
    kinds = [(signal, target) for signal in dict.fromkeys(table["signal"]) for target in dict.fromkeys((signal, CLEAN))]
    problems = list(dict.fromkeys(table.sort_values("search")["problem"]))
    rows: list[str | None] = [*problems] if len(problems) <= MOST_ROWS else [None]
    with style.look():
        room = (style.PAGE - 0.6) / len(kinds)
        figure, axes = style.small_multiples(len(kinds), len(rows), (min(2.6, room), 1.75), (0.6, 0.45), by_row=False)
        sentences, used = [], []
        for down, problem in enumerate(rows):
            part = table if problem is None else table[table["problem"] == problem]
            for across, (signal, target) in enumerate(kinds):
                ax = axes[down, across]
                points = front_points(part[part["signal"] == signal], signal, target)
                _draw(ax, points)
                used.append(points)
                if down == 0:
                    ax.set_title(style.fitted(signal_words(signal), room), pad=4)
                words = f"regret in {METRICS[target].words} ({METRICS[target].difference_unit})"
                ax.set_ylabel(f"{problem}\n\n" * bool(problem and not across) + style.fitted(words, 1.75))
                ax.set_xlabel("epochs trained (% of all)" if down == len(rows) - 1 else "")
                sentences.append(_told(points, signal, target, problem or ""))
        every = pd.concat(used)
        least, most = every["x"].min(), every["y"].max()
        for ax in axes.flat:
            ax.set_xscale("log")
            ax.set_xlim(min(0.8 * least, 10) if least > 0 else 1, 125)
            ax.set_xticks([tick for tick in TICKS if tick >= min(0.8 * least, 10)])
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            ax.xaxis.set_minor_formatter(lambda value, _: "")
            if most > 0:  # with few seeds, bars may be much longer than the range of the means
                ax.set_ylim(-0.05 * most, 1.2 * most)
        undecided = int(every["undefined"].sum())
        caption = joined(
            note,
            sampled(every),
            "Regret: how much better, at the horizon, the best training of the search is than the one handed over, "
            "which is the best by what was seen of those that finished",
            "a point a setting; grey line: Pareto front without the oracle",
            f"{undecided} searches in which nothing finished have no regret and are left out" if undecided else "",
        )
        handles = [handle(name) for name in in_order(every["scheduler"])]
        handles.append(Line2D([], [], color=style.FAINT, linewidth=0.9, label="Pareto front"))
        return style.finish(figure, "regret against epochs trained", caption, joined(*sentences), handles)


def front_points(rows: pd.DataFrame, signal: str, target: str) -> pd.DataFrame:
    """Compute the points of one panel.

    Returns:
        A table with one row per setting and the columns `scheduler`, `setting`; `x` (budget, %) and `y` (regret in the
        drawn unit), each with `_low` and `_high`; `n`, `over`, `orders`, `undefined` (see `averages`); and `front`,
        whether the setting is on the Pareto front of all settings except the oracle.
    """
    keys = ["scheduler", "setting"]
    scale = METRICS[target].scale
    across = averages(rows, keys, "budget", SHARE).set_index(keys)
    up = averages(rows, keys, "regret" if target == signal else "clean_regret").set_index(keys)
    points = up[["n", "over", "orders", "undefined"]].assign(
        x=100 * across["mean"], x_low=100 * across["low"], x_high=100 * across["high"],
        y=scale * up["mean"], y_low=scale * up["low"].clip(lower=0), y_high=scale * up["high"],
    ).reset_index()  # fmt: skip
    known = points["y"].notna() & (points["scheduler"] != "oracle")
    return points.assign(front=known & on_front(points["x"].where(known), points["y"].where(known)))


def on_front(cost: Sequence[float] | pd.Series, regret: Sequence[float] | pd.Series) -> np.ndarray:
    """Return whether each point is on the Pareto front of two quantities for which lower is better.

    A point is on the front if no other point is lower in one quantity and at most equal in the other. A point with NaN
    is not on the front and excludes no other point.
    """
    x, y = np.asarray(cost, dtype=float), np.asarray(regret, dtype=float)
    with np.errstate(invalid="ignore"):
        beats = (x[:, None] <= x) & (y[:, None] <= y) & ((x[:, None] < x) | (y[:, None] < y))
    return np.asarray(~beats.any(axis=0) & ~np.isnan(x) & ~np.isnan(y))


def _draw(ax: Axes, points: pd.DataFrame) -> None:
    front = points[points["front"]].sort_values("x")
    ax.step(front["x"], front["y"], where="post", color=style.FAINT, linewidth=0.9, zorder=1, label="front")
    for scheduler, part in points.groupby("scheduler", sort=False):
        about = look(str(scheduler))
        for axis in "xy":
            low, high = part[f"{axis}_low"], part[f"{axis}_high"]
            error = np.nan_to_num(np.abs(np.array([part[axis] - low, high - part[axis]])))
            ax.errorbar(part["x"], part["y"], **{f"{axis}err": error}, fmt="none", ecolor=about.colour, elinewidth=0.5,
                        alpha=0.55, zorder=2)  # fmt: skip
        size = 6 if scheduler in BOUNDS else 3.5
        ax.plot(part["x"], part["y"], about.marker, color=about.colour, markersize=size, zorder=3, label=scheduler)
    style.grid(ax)


def _told(points: pd.DataFrame, signal: str, target: str, problem: str) -> str:
    words = [f"{row.setting} {row.y:.2g} at {row.x:.0f} %" for row in points.sort_values("x").itertuples() if row.front]
    heading = f"regret in {METRICS[target].words} where the scheduler {signal_words(signal)}"
    return f"{heading}{', ' + problem if problem else ''}; Pareto front: {', '.join(words) or 'none'}"
