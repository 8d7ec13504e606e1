"""Histograms of a per-example number, such as the memorization score, forgetting events or cumulative loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.errors import AnalysisError, unknown
from analysis.figures import style
from analysis.figures.captions import joined
from analysis.figures.lines import line_colours
from analysis.figures.names import MEMORIZATION, SCORES, Score
from analysis.figures.spread import by_hue, last_epoch, refuse_mixture
from analysis.intervals import t_half, wilson
from analysis.statistics.scores import MEMORIZED, Floats, correctness_matrix, memorization_scores, score_error_bound
from analysis.tables.cells import check_axis
from analysis.words import setting

MOST_EVENTS = 12
"""Counts above this fall into the last bin."""


@dataclass(frozen=True)
class _Shares:
    """The histogram of one group.

    Attributes:
        shares: The share of the examples in each bin (0..1).
        half: Half-widths of the 95 % intervals; NaN without an interval.
        words: A sentence about the group.
    """

    shares: Floats
    half: Floats
    words: str


def histogram(
    points: pd.DataFrame,
    examples: pd.DataFrame,
    value: str,
    hue: str | None = None,
    *,
    epoch: int | None = None,
    note: str = "",
    ax: Axes | None = None,
) -> style.Picture | Axes:
    """Draw the distribution of a value over training examples, with one outline per value of `hue`.

    The value `memorization` is one score per example, computed from all trainings of a group, which must leave some
    examples out (`subset_fraction`). A line marks 0.25, the score from which Feldman & Zhang 2020 (arXiv 2008.03703)
    count an example as memorized. All other values are measured in each training, as in figure 1 of Toneva et al. 2019
    (arXiv 1812.05159). Their shares are means over seeds, bars are 95 % t intervals of the mean, and null values (never
    learned) have a separate bin.

    Args:
        points: One row per point.
        examples: The per-example table.
        value: One of `SCORES`.
        hue: A field; one outline is drawn per value.
        epoch: The epoch of the measurement; the last one by default.
        note: The first sentence of the caption.
        ax: The caller's axes to draw into, in the caller's style; None to draw a new picture.

    Raises:
        AnalysisError: A value or field is unknown, the measure was not computed at `epoch`, there are more than 6
            groups, a group would mix trainings that differ in more than their seed, or memorization scores are
            requested but no example was left out.
    """
    if value not in SCORES:
        raise unknown("value", value, SCORES)
    if hue:
        check_axis(points, "hue", hue)
    score = SCORES[value]
    at = last_epoch(examples, score.measure) if epoch is None else epoch
    groups = by_hue(points, hue)
    refuse_mixture(groups)
    names = [setting(hue, level) if hue else "all trainings" for level, _ in groups]
    if value == MEMORIZATION:
        edges = np.linspace(-1, 1, 41)
        shares = [_memorization(part, examples, at, edges) for _, part in groups]
    else:
        values = [_by_training(part, examples, score.measure, at) for _, part in groups]
        edges = _edges(values)
        shares = [_over_seeds(by_seed, edges, score) for by_seed in values]
    with style.panels(ax, 1, 1, (3.2, 2.0), (0.5, 0.3)) as (figure, axes):
        panel = axes[0, 0]
        colours = line_colours([level for level, _ in groups])
        for index, (group, colour) in enumerate(zip(shares, colours, strict=True)):
            _draw(panel, group, edges, colour, (index + 1) / (len(shares) + 1))
        handles: list[Any] = [
            Line2D([], [], color=colour, label=name) for colour, name in zip(colours, names, strict=True) if hue
        ]  # fmt: skip
        if value == MEMORIZATION:
            lowest = min(float(edges[:-1][group.shares > 0].min()) for group in shares)
            panel.set_xlim(min(-0.25, lowest), 1.02)
            panel.axvline(MEMORIZED, color=style.FAINT, linestyle=":", linewidth=0.9)
            handles.append(Line2D([], [], color=style.FAINT, linestyle=":", label=f"memorized: at least {MEMORIZED}"))
        _scale(panel, edges, score, [group.shares for group in shares])
        when = f"after {at} epoch{'s' if at != 1 else ''}"
        remarks = [f"{name}: {group.words}" if hue else group.words for name, group in zip(names, shares, strict=True)]
        remarks += [] if value == MEMORIZATION else [_averaged([len(by_seed) for by_seed in values])]
        caption = joined(note, when, *remarks)
        heading = f"{score.words.split(':')[0]}, distribution over examples"
        return style.complete(
            ax, figure, heading, caption, joined(f"histogram of {score.words}, {when}", *remarks), handles
        )


def _memorization(part: pd.DataFrame, examples: pd.DataFrame, epoch: int, edges: Floats) -> _Shares:
    ids = sorted(part.loc[part["outcome"] == "finished", "trajectory_id"].astype(str).unique())
    matrix = correctness_matrix(examples, "train", epoch=epoch, trajectories=ids)
    known = ~np.isnan(matrix.correct).all(axis=1)
    scores = memorization_scores(matrix.correct[known], matrix.included[known])
    scores = scores[~np.isnan(scores)]
    if not scores.size:
        raise AnalysisError(
            "examples", "examples: none was both seen and left out; memorization scores need subset_fraction below 1"
        )
    trainings = int(known.sum())
    left_out = 1 - float(matrix.included[known].mean())
    many = int((scores >= MEMORIZED).sum())
    low, high = wilson(many, scores.size)
    bound = score_error_bound(trainings, left_out)
    words = (
        f"{100 * many / scores.size:.1f} % of {scores.size:,} examples memorized, 95 % Wilson interval "
        f"{100 * low:.1f} to {100 * high:.1f} %; n = {trainings:,} trainings, so a score is known to "
        f"a standard error of at most {bound:.2f}"
    )
    counts = np.histogram(scores, edges)[0]
    return _Shares(counts / scores.size, np.full(len(counts), np.nan), words)


def _by_training(part: pd.DataFrame, examples: pd.DataFrame, measure: str, epoch: int) -> list[Floats]:
    """Return the values of the training examples, one array per training."""
    ids = set(part.loc[part["outcome"] == "finished", "trajectory_id"].astype(str))
    rows = examples[
        (examples["measure"] == measure) & (examples["epoch"] == epoch) & (examples["split"] == "train")
    ].assign(trajectory_id=lambda frame: frame["trajectory_id"].astype(str))  # fmt: skip
    rows = rows[rows["trajectory_id"].isin(ids)]
    if rows.empty:
        raise AnalysisError("examples", f"examples: no {measure} at epoch {epoch} is there; run the sweep first")
    numbers = pd.to_numeric(rows["value"]).astype("float64")
    return [one.to_numpy(dtype=np.float64) for _, one in numbers.groupby(rows["trajectory_id"])]


def _edges(values: Sequence[Sequence[Floats]]) -> Floats:
    """Return the bin edges: one bin per whole number for counts (the last is open), else 30 between the extremes."""
    known = np.concatenate([one[~np.isnan(one)] for group in values for one in group])
    if not known.size:
        return np.array([-0.5, 0.5])
    if (known == np.round(known)).all():
        return np.arange(min(int(known.max()), MOST_EVENTS) + 2, dtype=np.float64) - 0.5
    edges: Floats = np.linspace(known.min(), known.max(), 31, dtype=np.float64)
    return edges


def _over_seeds(values: Sequence[Floats], edges: Floats, score: Score) -> _Shares:
    rows = []
    for numbers in values:
        known = np.clip(numbers[~np.isnan(numbers)], None, edges[-1] - 1e-9)
        shares = np.histogram(known, edges)[0] / len(numbers)
        rows.append(np.append(shares, np.isnan(numbers).mean()) if score.missing else shares)
    table: Floats = np.array(rows, dtype=np.float64)
    n = len(table)
    half: Floats = np.full(table.shape[1], np.nan)
    if n > 1:
        half = t_half(table.std(axis=0, ddof=1), n)
    medians = np.array([np.nanmedian(numbers) if not np.isnan(numbers).all() else np.nan for numbers in values])
    lost = f", {100 * table[:, -1].mean():.1f} % {score.missing}" if score.missing else ""
    words = f"median {medians.mean():.3g}{lost}, of {len(values[0]):,} examples"
    return _Shares(table.mean(axis=0), half, words)


def _averaged(trainings: Sequence[int]) -> str:
    low, high = min(trainings), max(trainings)
    seeds = f"n = {low if low == high else f'{low} to {high}'} seed{'s' if high > 1 else ''}"
    return f"mean over {seeds}" + (", bars: 95 % t interval of the mean" if high > 1 else ", so no interval")


def _draw(ax: Axes, group: _Shares, edges: Floats, colour: Any, place: float) -> None:
    shares, half = group.shares[: len(edges) - 1], group.half[: len(edges) - 1]
    ax.stairs(100 * shares, edges, color=colour, fill=True, alpha=0.15)
    ax.stairs(100 * shares, edges, color=colour, linewidth=1.2)
    at = edges[:-1] + place * np.diff(edges)
    if np.isfinite(half).any():
        ax.errorbar(at, 100 * shares, 100 * half, fmt="none", ecolor=colour, elinewidth=0.9)
    if len(group.shares) > len(shares):
        beyond = edges[-1] + 0.7
        ax.bar(beyond + place, 100 * group.shares[-1], 0.3, color=colour)
        if np.isfinite(group.half[-1]):
            ax.errorbar(beyond + place, 100 * group.shares[-1], 100 * group.half[-1], fmt="none", ecolor=style.TEXT)


def _scale(ax: Axes, edges: Floats, score: Score, shares: Sequence[Floats]) -> None:
    if score.missing:
        last = int(edges[-1] - 0.5)
        ticks = [*range(0, last + 1, max(1, last // 6))]
        labels = [f"{tick}" + ("+" if tick == MOST_EVENTS else "") for tick in ticks]
        ax.set_xticks([*ticks, edges[-1] + 1.2], [*labels, score.missing.replace(" ", "\n")])
    largest, positive = max(s.max() for s in shares), [s[s > 0].min() for s in shares if (s > 0).any()]
    if positive and largest / min(positive) > 50:
        # On a linear axis, the long tail that the figure is about would be invisible beside the first bin.
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(lambda number, _: f"{number:g}")
    ax.set_xlabel(style.fitted(score.words, 3.2))
    ax.set_ylabel("training examples (%)")
    style.grid(ax, "y")
