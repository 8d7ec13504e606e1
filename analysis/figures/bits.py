"""Figure of the bits of random labels that a network memorizes per parameter (Morris et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.errors import AnalysisError
from analysis.figures import style
from analysis.figures.captions import averaged, joined, unreached
from analysis.figures.lines import line_colours
from analysis.figures.spread import by_hue
from analysis.intervals import t_interval
from analysis.tables.cells import aggregate, check_axis, check_columns, levels, metric_values
from analysis.words import AXES, METRICS, setting, value_labels

FULL = 0.9
"""Training accuracy above which the labels, not the network, limit the memorized information."""


@dataclass(frozen=True)
class Slope:
    """The slope of memorized information against the number of parameters.

    Attributes:
        bits: Bits memorized per additional parameter.
        low: Lower end of the 95 % interval over seeds; NaN below two seeds.
        high: Upper end of the interval.
        intercept: Intercept of the mean fit, in bits.
        sizes: The network sizes fitted, in parameters.
        of: The number of network sizes, fitted or not.
        n: The number of seeds.
    """

    bits: float
    low: float
    high: float
    intercept: float
    sizes: tuple[float, ...]
    of: int
    n: int


def fitted_slope(points: pd.DataFrame) -> Slope | None:
    """Fit `bits_memorized` against `parameters` by least squares, once per seed.

    Only network sizes with a mean training accuracy below 0.9 are fitted. Above 0.9, almost nothing is left to
    memorize, so the labels are the limit.

    Returns:
        The mean slope with its t interval over seeds, or None if fewer than three such sizes have data for every seed.
    """
    rows = points.assign(bits=metric_values(points, "bits_memorized"), fit=metric_values(points, "train_accuracy"))
    rows = rows.dropna(subset=["parameters", "bits", "fit"])
    free = rows.groupby("parameters")["fit"].mean() < FULL
    kept = rows[rows["parameters"].isin(free.index[free])].pivot_table("bits", "parameters", "seed").dropna()
    if len(kept) < 3:
        return None
    at = kept.index.to_numpy(dtype=float)
    fits = np.array([np.polyfit(at, kept[seed].to_numpy(), 1) for seed in kept])
    return Slope(*t_interval(fits[:, 0]), float(fits[:, 1].mean()), tuple(at), len(free), len(fits))


def bits_plot(
    points: pd.DataFrame,
    hue: str | None = None,
    *,
    chance: float | None = None,
    note: str = "",
    ax: Axes | None = None,
) -> style.Picture | Axes:
    """Draw memorized information against the actual number of parameters, with the fitted slope in bits per parameter.

    Markers are means over seeds with 95 % t intervals. The dashed line is the fit of `fitted_slope`, drawn over the
    fitted sizes. Morris et al. 2025 (arXiv 2505.24832) find about 3.6 bits per parameter in language models.

    Args:
        points: One row per point.
        hue: A field; one line is drawn per value.
        chance: 1/C for C classes. If given, a dash-dotted line marks the ceiling of N log2 C bits for N training
            examples, provided that `dataset_size` is set and no example is held out or left out.
        note: The first sentence of the caption.
        ax: The caller's axes to draw into, in the caller's style; None to draw a new picture.

    Raises:
        AnalysisError: A field is unknown, there are more than 6 lines, or a mean would be over anything but seeds.
    """
    check_columns(points, ("parameters", "bits_memorized", "train_accuracy"), "points")
    if hue:
        check_axis(points, "hue", hue)
    built = points[points["parameters"].notna()]
    if built.empty:
        raise AnalysisError("parameters", "parameters: no network has been built yet; run the sweep first")
    keys = ["parameters", *([hue] if hue else [])]
    # Drop the requested size and the resulting width, since the actual size of the same network is drawn.
    table = aggregate(built.drop(columns=["parameter_count", "width"], errors="ignore"), keys, "bits_memorized")
    groups = by_hue(built, hue)
    labels = value_labels(hue, levels(built, hue)) if hue else ["measured"]
    with style.panels(ax, 1, 1, (3.2, 2.2), (0.5, 0.3)) as (figure, axes):
        panel = axes[0, 0]
        handles: list[Any] = []
        sentences = []
        colours = line_colours([value for value, _ in groups])
        for label, (value, part), colour in zip(labels, groups, colours, strict=True):
            own = table if hue is None else table[table[hue] == value]
            own = own.dropna(subset=["mean"])
            panel.errorbar(
                own["parameters"] / 1e3, own["mean"] / 1e3, (own["high"] - own["mean"]) / 1e3, color=colour, marker="o",
                markersize=3, linewidth=0.4, elinewidth=0.9, label="measured",
            )  # fmt: skip
            slope = fitted_slope(part)
            name = setting(hue, value) if hue else label
            words = f"{name}: too few sizes for a slope" if slope is None else f"{name}: {slope_words(slope)}"
            handles.append(Line2D([], [], color=colour, marker="o", markersize=3, label=words))
            sentences.append(words)
            if slope:
                ends = np.array([slope.sizes[0], slope.sizes[-1]])
                panel.plot(
                    ends / 1e3, (slope.intercept + slope.bits * ends) / 1e3, color=style.TEXT, linestyle="--",
                    linewidth=1.1, label="fit",
                )  # fmt: skip
            if ceiling := _ceiling(part, chance):
                panel.axhline(ceiling / 1e3, color=colour, linestyle="-.", linewidth=0.8, label="ceiling")
        fit = f"fit, under {100 * FULL:.0f} % accuracy"
        handles.append(Line2D([], [], color=style.TEXT, linestyle="--", label=fit))
        if any(line.get_label() == "ceiling" for line in panel.lines):
            handles.append(Line2D([], [], color=style.FAINT, linestyle="-.", label="all there is: N log2 C"))
        panel.set_xlabel("parameters (thousands)")
        panel.set_ylabel("memorized information (kilobits)")
        panel.set_xlim(0)
        panel.set_ylim(bottom=min(0.0, panel.get_ylim()[0]))
        style.grid(panel, "y")
        caption = joined(
            note,
            averaged(table[table["n"] > 0], METRICS["bits_memorized"]),
            unreached(table[table["n"] + table["n_lost"] > 0], "bits_memorized"),
            "the slope is a least-squares fit a seed, over the networks with a mean training accuracy under "
            f"{100 * FULL:.0f} %, its interval a t interval over seeds",
        )
        heading = "memorized information against parameters"
        return style.complete(ax, figure, heading, caption, _alt(sentences, hue), handles)


def slope_words(slope: Slope) -> str:
    interval = f" [{slope.low:.2f}, {slope.high:.2f}]" if slope.n > 1 else ""
    return f"{slope.bits:.2f}{interval} bits a parameter ({len(slope.sizes)} of {slope.of} sizes, n = {slope.n})"


def _ceiling(part: pd.DataFrame, chance: float | None) -> float | None:
    """Return the ceiling N log2 C in bits, or None if it is unknown or differs between the points."""
    sizes = set(part["dataset_size"].dropna())
    whole = (part["validation_fraction"] == 0).all() and (part["subset_fraction"] == 1).all()
    if chance is None or len(sizes) != 1 or part["dataset_size"].isna().any() or not whole:
        return None
    return float(sizes.pop() * np.log2(1 / chance))


def _alt(sentences: Sequence[str], hue: str | None) -> str:
    lines = f", a line for each {AXES[hue].words}" if hue else ""
    return joined(f"memorized information in bits against the number of parameters{lines}", *sentences)
