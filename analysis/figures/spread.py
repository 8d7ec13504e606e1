"""Figure of how often each example is misclassified by many trainings (Arpit et al. 2017, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy import stats

from analysis.errors import AnalysisError
from analysis.figures import style
from analysis.figures.captions import joined
from analysis.figures.lines import line_colours
from analysis.statistics.scores import Overdispersion, correctness_matrix, overdispersion
from analysis.tables.cells import check_axis, levels, varying
from analysis.words import AXES, value_labels

MOST_LINES = 6


def spread_plot(
    points: pd.DataFrame,
    examples: pd.DataFrame,
    hue: str | None = None,
    *,
    epoch: int | None = None,
    note: str = "",
    ax: Axes | None = None,
) -> style.Picture | Axes:
    """Draw the share of the trainings that misclassify each training example, in ascending order.

    The dotted line is the expectation if all examples were equally hard: the quantiles of Binomial(R, p)/R for R
    trainings with the mean misclassification p. The legend states the overdispersion of each line with its 95 %
    bootstrap interval over examples (see `scores.overdispersion`; Arpit et al. 2017, arXiv 1706.05394, figure 1).
    Left-out training examples are included.

    Args:
        points: One row per point.
        examples: The per-example table.
        hue: A field; one line is drawn per value.
        epoch: The epoch of the predictions; by default, the first epoch with predictions.
        note: The first sentence of the caption.
        ax: The caller's axes to draw into, in the caller's style; None to draw a new picture.

    Raises:
        AnalysisError: There are no predictions of single examples at that epoch, there are more than 6 lines, or a line
            would mix trainings that differ in more than their seed.
    """
    if hue:
        check_axis(points, "hue", hue)
    at = first_epoch(examples, "correct") if epoch is None else epoch
    groups = by_hue(points, hue)
    refuse_mixture(groups)
    with style.panels(ax, 1, 1, (3.2, 2.1), (0.5, 0.3)) as (figure, axes):
        panel = axes[0, 0]
        dispersions: list[Overdispersion] = []
        handles: list[Any] = []
        labels = value_labels(hue, [value for value, _ in groups]) if hue else ["all trainings"]
        for label, (_, part), colour in zip(labels, groups, line_colours([v for v, _ in groups]), strict=True):
            ids = part.loc[part["outcome"] == "finished", "trajectory_id"].astype(str).unique()
            correct = correctness_matrix(examples, "train", epoch=at, trajectories=sorted(ids)).correct
            known = correct[~np.isnan(correct).any(axis=1)]
            one = overdispersion(1 - known)
            dispersions.append(one)
            _draw(panel, 1 - known.mean(axis=0), one, colour)
            interval = f"{one.value:.2g} [{one.low:.2g}, {one.high:.2g}]"
            handles.append(Line2D([], [], color=colour, label=f"{label}: overdispersion {interval}"))
        handles.append(Line2D([], [], color=style.FAINT, linestyle=":", label="if all were equally hard: binomial"))
        panel.set_xlim(0, 100)
        panel.set_ylim(-2, 102)
        panel.set_xlabel("training examples, easiest first (%)")
        panel.set_ylabel("trainings that misclassify it (%)")
        panel.grid(axis="y", color="#e6e6e6", linewidth=0.5)
        runs = sorted({one.runs for one in dispersions})
        sizes = sorted({one.examples for one in dispersions})
        caption = joined(
            note,
            f"after {at} epoch{'s' if at != 1 else ''}; n = {_span(runs)} trainings a line, {_span(sizes)} examples; "
            "overdispersion: variance over examples divided by that of the binomial, 95 % bootstrap interval over "
            "examples; 1: examples differ by luck alone",
        )
        heading = "misclassification of single examples" + (f" by {AXES[hue].words}" if hue else "")
        return style.complete(ax, figure, heading, caption, _alt(labels, dispersions), handles)


def by_hue(points: pd.DataFrame, hue: str | None) -> list[tuple[Any, pd.DataFrame]]:
    """Split the rows by the ascending values of `hue`. If `hue` is None, all rows are one group with the value None.

    Raises:
        AnalysisError: There are more than 6 groups.
    """
    if hue is None:
        return [(None, points)]
    values = levels(points, hue)
    if len(values) > MOST_LINES:
        raise AnalysisError("hue", f"hue: given {len(values)} values of {hue}; valid are at most {MOST_LINES}")
    codes = pd.factorize(points[hue], sort=True, use_na_sentinel=False)[0]
    return [(value, points[codes == code]) for code, value in enumerate(values)]


def refuse_mixture(groups: Sequence[tuple[Any, pd.DataFrame]]) -> None:
    """Reject groups whose trainings differ in more than their seed.

    Raises:
        AnalysisError: A group has several values of other fields, which the message names.
    """
    for _, part in groups:
        mixed = [field for field in varying(part) if field != "epochs"]
        if mixed:
            raise AnalysisError(
                mixed[0],
                f"{', '.join(mixed)}: given several values inside one line, and only seeds are put together; make it "
                "the hue, or hold it with where",
            )


def first_epoch(examples: pd.DataFrame, measure: str) -> int:
    return int(_epochs(examples, measure).min())


def last_epoch(examples: pd.DataFrame, measure: str) -> int:
    return int(_epochs(examples, measure).max())


def _epochs(examples: pd.DataFrame, measure: str) -> pd.Series:
    rows = examples.loc[examples["measure"] == measure, "epoch"]
    if rows.empty:
        raise AnalysisError("examples", f"examples: no {measure} of single examples is there; run the sweep first")
    return rows


def _draw(ax: Axes, rates: np.ndarray, one: Overdispersion, colour: Any) -> None:
    share = 100 * (np.arange(len(rates)) + 0.5) / len(rates)
    ax.plot(share, 100 * np.sort(rates), color=colour, label="measured")
    expected = stats.binom.ppf(share / 100, one.runs, one.p) / one.runs
    ax.plot(share, 100 * expected, color=colour, linestyle=":", linewidth=1.0, label="binomial")


def _span(values: Sequence[int]) -> str:
    return f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"


def _alt(labels: Sequence[str], dispersions: Sequence[Overdispersion]) -> str:
    lines = [
        f"{label}: misclassified by {100 * one.p:.0f} % of the trainings on average, overdispersion {one.value:.2g}"
        for label, one in zip(labels, dispersions, strict=True)
    ]
    return joined("misclassification of each training example in ascending order, a line each", *lines)
