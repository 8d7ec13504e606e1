"""Maps over the grid of a sweep: each cell's mean stop epoch, or its share of trainings that reached the horizon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize

from analysis.errors import unknown
from analysis.figures import style
from analysis.figures.captions import joined
from analysis.figures.map_panels import SMALLEST_TEXT, label_axes, mark_hole, panel_size
from analysis.stopping.averages import many
from analysis.stopping.looks import look, named, of_settings, signal_words
from analysis.stopping.recorded import Recorded, check_stops
from analysis.tables.cells import levels
from analysis.words import AXES, settings
from lightning_modules.settings import problem_fields

Shown = Literal["stop_epoch", "finished"]
LABELS = {"stop_epoch": "mean epoch at which training stopped", "finished": "trainings that reached the horizon (%)"}
MOST_ROWS = 3


def grid_axes(recorded: Recorded) -> tuple[str, str]:
    """Choose the x and y fields of the maps: the two with the most values, preferring fields that vary in a search.

    If one of the two fields is a capacity, it becomes x.

    Raises:
        AnalysisError: Fewer than two fields vary in the sweep.
    """
    members = recorded.members
    counts = {name: len(levels(members, name)) for name in AXES if name in members and name not in ("epochs", "seed")}
    axes = {name: count for name, count in counts.items() if count > 1 and name != "parameters"}
    ranked = sorted(axes, key=lambda name: (name in problem_fields(), -axes[name]))
    if len(ranked) == 1:
        ranked.append("seed")
    if len(ranked) < 2:
        raise unknown("x", "no field that varies", [name for name in AXES if name in members])
    capacity = ("width", "parameter_count", "depth")
    x, y = sorted(ranked[:2], key=lambda name: name not in capacity)
    return x, y


def stopping_map(
    recorded: Recorded,
    stops: pd.DataFrame,
    chosen: pd.DataFrame,
    x: str,
    y: str,
    value: Shown = "stop_epoch",
    *,
    note: str = "",
) -> style.Picture:
    """Draw the mean stop epoch, or the share of trainings that reached the horizon, in every cell of x and y.

    There is one column of panels per scheduler and one row per problem. With more than three problems, a single row
    shows all problems together. Means are taken over orders of arrival, seeds and all other fields that vary inside a
    cell; the caption names these fields. Cells in which nothing was recorded are hatched.

    Args:
        recorded: The unstopped curves.
        stops: The stops of the replays (see `recorded.STOPS`).
        chosen: The setting that represents each scheduler (see `looks.representatives`), for one signal.
        x: The field on the x axis.
        y: The field on the y axis.
        value: The value to show.
        note: A sentence with which the caption begins.
    """
    rows = check_stops(of_settings(stops, chosen), recorded)
    rows = rows.join(recorded.members[[name for name in (x, y) if name not in rows]], on="trajectory_id")
    problems = recorded.problems
    down: list[str | None] = [*problems] if len(problems) <= MOST_ROWS and not {x, y} & {*problem_fields()} else [None]
    shape = (len(levels(recorded.members, y)), len(levels(recorded.members, x)))
    top = float(rows["horizon"].max())
    logarithmic = value == "stop_epoch" and top > 20
    least = 1.0 if logarithmic else 0.0
    norm = LogNorm(1, top) if logarithmic else Normalize(0, top if value == "stop_epoch" else 100)
    scale = 100 if value == "finished" else 1
    with style.look():
        figure, axes = style.small_multiples(len(chosen), len(down), panel_size(shape, len(chosen)), (1.15, 0.5))
        room = (figure.get_size_inches()[0] - 1.15) / len(chosen)
        size = min(6.5, (room - 0.1) * 72 / shape[1] / 2.2)
        for i, problem in enumerate(down):
            for j, one in enumerate(chosen.itertuples()):
                ax = axes[i, j]
                part = rows[(rows["setting"] == one.setting)]
                part = part if problem is None else part[part["problem"] == problem]
                means = scale * cell_means(recorded, part, x, y, value)
                texts = np.array([[_short(number) for number in line] for line in means], dtype=object)
                sns.heatmap(
                    np.maximum(means, least), mask=np.isnan(means), norm=norm, vmin=norm.vmin, vmax=norm.vmax,
                    cmap="viridis", cbar=False, ax=ax, annot=texts if size >= SMALLEST_TEXT - 0.6 else None, fmt="",
                    annot_kws={"fontsize": size}, xticklabels=False, yticklabels=False, linewidths=0.4,
                    linecolor="white",
                )  # fmt: skip
                ax.set_ylim(0, shape[0])
                for line, column in zip(*np.nonzero(np.isnan(means)), strict=True):
                    mark_hole(ax, int(column), int(line), "missing")
                if i == 0:
                    ax.set_title(look(one.scheduler).words, pad=4)
        label_axes(axes, recorded.members.reset_index(drop=True), x, y, axes.size)
        for ax, problem in zip(axes[:, 0], down, strict=True):
            if problem and len(down) > 1:
                ax.set_ylabel(f"{problem}\n\n{ax.get_ylabel()}")
        bar = figure.colorbar(ScalarMappable(norm, "viridis"), ax=axes, pad=0.02, aspect=22)
        bar.set_label(style.fitted(LABELS[value], figure.get_size_inches()[1] - 0.6))
        bar.outline.set_visible(False)
        if logarithmic:
            bar.ax.yaxis.set_major_formatter(lambda number, _: f"{number:g}")
        caption = joined(note, _averaged(recorded, rows, x, y, down), named(chosen))
        heading = f"{LABELS[value].removesuffix(' (%)')}: {AXES[y].words} against {AXES[x].words}"
        seen = signal_words(str(chosen["signal"].iloc[0]))
        return style.finish(figure, f"{heading}; scheduler {seen}", caption, _alt(rows, chosen, heading, value))


def cell_means(recorded: Recorded, rows: pd.DataFrame, x: str, y: str, value: Shown) -> np.ndarray:
    """Average a value per cell, with one row per y and one column per x, both ascending; NaN if a cell is empty."""
    shape = (len(levels(recorded.members, y)), len(levels(recorded.members, x)))
    ids = recorded.members.index.get_indexer(rows["trajectory_id"])
    places = [pd.factorize(recorded.members[name], sort=True, use_na_sentinel=False)[0][ids] for name in (y, x)]
    flat = np.ravel_multi_index(places, shape)
    counts = np.bincount(flat, minlength=shape[0] * shape[1])
    sums = np.bincount(flat, rows[value].to_numpy(float), minlength=shape[0] * shape[1])
    with np.errstate(invalid="ignore"):
        return (sums / np.where(counts > 0, counts, np.nan)).reshape(shape)


def _short(number: float) -> str:
    whole = round(number, 1) % 1 == 0
    return "" if np.isnan(number) else f"{number:.0f}" if whole or number >= 9.95 else f"{number:.1f}"


def _averaged(recorded: Recorded, rows: pd.DataFrame, x: str, y: str, down: Sequence[str | None]) -> str:
    excluded = {x, y, "seed", "epochs", "parameters", "horizon", "search", "problem", "regime"}
    inside = [name for name in recorded.members if name in AXES and name not in excluded]
    inside = [name for name in inside if len(levels(recorded.members, name)) > 1]
    if len(down) > 1:
        inside = [name for name in inside if name not in problem_fields()]
    over = [settings(name, levels(recorded.members, name)) for name in inside]
    n, orders = many(recorded.members["seed"].nunique(), "seed"), many(rows["order"].nunique(), "order")
    return f"mean over n = {n} and {orders} of arrival" + (f", and over {'; '.join(over)}" if over else "")


def _alt(rows: pd.DataFrame, chosen: pd.DataFrame, heading: str, value: Shown) -> str:
    means = rows.groupby("setting")[value].mean() * (100 if value == "finished" else 1)
    return joined(
        heading, *(f"{look(one.scheduler).words}: {means[one.setting]:.3g} on average" for one in chosen.itertuples())
    )
