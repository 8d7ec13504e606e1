"""Maps of regimes over any two fields. A cell shows the regime of most of its seeds, and how many seeds agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from analysis.errors import AnalysisError
from analysis.figures import style
from analysis.figures.captions import joined, seeds, unreached
from analysis.figures.map_panels import (
    SMALLEST_TEXT,
    Places,
    draw_panels,
    facet_panels,
    letter_size,
    mark_hole,
    panel_size,
)
from analysis.statistics.regime_rules import Evidence, Rule
from analysis.statistics.regimes import DIVERGED, find_rule, name_regimes, pool
from analysis.tables.cells import aggregate, check_axis, levels, map_keys, over_epochs
from analysis.words import AXES


@dataclass(frozen=True)
class Swatch:
    """The colour of a regime, and the letter that identifies it in greyscale."""

    colour: str
    letter: str


SWATCHES: dict[str, Swatch] = {
    "generalizing": Swatch("#0072B2", "G"),
    "coexisting": Swatch("#009E73", "C"),
    "memorizing": Swatch("#D55E00", "M"),
    "underfit": Swatch("#F0E442", "U"),
    "full inversion": Swatch("#0072B2", "F"),
    "partial inversion": Swatch("#CC79A7", "P"),
    "coexistence": Swatch("#009E73", "C"),
    "memorization": Swatch("#D55E00", "M"),
    "confusion": Swatch("#F0E442", "X"),
    "comprehension": Swatch("#0072B2", "C"),
    "grokking": Swatch("#CC79A7", "G"),
}
"""Okabe and Ito's colours, safe for colour-blind readers. Warm colours mean that the rule was not learned."""

OTHERS = ("#56B4E9", "#E69F00", "#CC79A7", "#999999", "#000000")
PALEST = 0.45
"""The fraction of its colour that a cell keeps if almost none of its seeds have the drawn regime."""


def regime_map(
    points: pd.DataFrame,
    x: str,
    y: str,
    *,
    rule: str | Rule = "relative",
    facet: Sequence[str] | str | None = None,
    epoch: int | None = None,
    curves: pd.DataFrame | None = None,
    chance: float | None = None,
    reference: pd.DataFrame | None = None,
    full_size: int | None = None,
    annotate: bool = True,
    note: str = "",
    ax: Axes | None = None,
) -> style.Picture | Axes:
    """Draw the regime of most seeds in every cell of x and y, with y increasing upwards.

    Each cell has the colour and letter of its regime, and the share of its seeds that agree ("2/3"). The fewer seeds
    agree, the paler the cell is. Ties go to the first regime in the rule's order. Lines separate cells of different
    regimes. Cells in which most seeds diverged, and cells without a regime, are hatched as in `heatmap`. The caption
    states the rule with its thresholds.

    Args:
        points: One row per point.
        x: The field on the x axis, or `epoch`.
        y: The field on the y axis, or `epoch`.
        rule: A name in `regimes.RULES`, or a rule with custom thresholds.
        facet: At most two fields; one panel is drawn per value.
        epoch: See `heatmap`.
        curves: See `heatmap`.
        chance: See `regime_rules.Evidence`.
        reference: See `regime_rules.Evidence`. The rule `relative` uses the best clean test accuracy among `points` (at
            their last epoch, regardless of `epoch`) and `reference`.
        full_size: See `regime_rules.Evidence`.
        annotate: Whether to write the letter and, if it fits, the agreement in each cell. Illegible text is left out.
        note: The first sentence of the caption.
        ax: See `heatmap`.

    Raises:
        AnalysisError: A field or rule is unknown, the rule lacks evidence, or a cell would mix values of other fields.
    """
    chosen = find_rule(rule)
    keys = map_keys(points, x, y, facet)
    rows = over_epochs(points, curves, epoch) if epoch is not None or "epoch" in keys else points
    aggregate(rows, keys, "test_accuracy")  # rejects invalid rows before the rule is applied
    best = points if reference is None else pool([points, reference])
    named = name_regimes(rows, chosen, chance=chance, reference=best, curves=curves, full_size=full_size)
    table = regime_cells(rows, named, keys)
    facets, shape = keys[2:], (len(levels(table, y)), len(levels(table, x)))
    columns, down, panels = facet_panels(table, facets)
    with style.panels(ax, columns, down, panel_size(shape, columns), (0.6, 0.5)) as (figure, axes):
        width = style.inches(axes[0, 0])[0] / columns
        many = bool((table["n"] > 1).any()) and _text_size(width, shape, True) > 0
        size = _text_size(width, shape, many) if annotate else 0.0
        swatches = _swatches(chosen)
        draw_panels(axes, table, keys, panels, lambda panel, part, places: _draw(
            panel, part, places, shape, swatches, (size, many)
        ))  # fmt: skip
        handles: list[Artist] = [
            Patch(facecolor=swatch.colour, label=f"{swatch.letter}  {regime}")
            for regime, swatch in swatches.items()
            if (table["regime"] == regime).any()
        ]
        handles += [style.hole(status) for status in style.HOLES if (table["status"] == status).any()]
        caption = joined(
            note,
            _agreed(table, f"after {epoch} epochs" if epoch is not None else ""),
            unreached(table, "regime"),
            chosen.words,
            chosen.stated(rows, Evidence(chance, best, curves, full_size)),
        )
        heading = f"regimes: {AXES[y].words} against {AXES[x].words}"
        return style.complete(ax, figure, heading, caption, _alt(table, x, y, facets), handles)


def regime_cells(rows: pd.DataFrame, named: pd.Series, keys: Sequence[str]) -> pd.DataFrame:
    """Compute the cells that `regime_map` draws: one row per combination of the keys' values.

    Args:
        rows: The points.
        named: The regime of each point, from `name_regimes`.
        keys: The fields of the cells.

    Returns:
        A table with the keys and these columns: `regime`, the regime of most seeds (the first in a tie, NaN without
        one); `n`, the number of seeds that finished or diverged; `agreeing`, the number of these seeds in the regime;
        `tied`, whether another regime has as many seeds; `n_diverged` (always 0, since diverged seeds count in `n`);
        `n_stopped`, `n_failed` and their sum `n_lost`; and `status`: `value`, `diverged` (most seeds), `undefined` (the
        rule has no name for most seeds), `stopped`, `failed` or `missing`.

    Raises:
        AnalysisError: A cell would mix points that differ in more than their seed.
    """
    for key in keys:
        check_axis(rows, key, key)
    if not named.index.equals(rows.index):
        raise AnalysisError(
            "regime", f"regime: given {len(named)} names for other rows; valid is one per row, in order"
        )
    table = aggregate(rows, keys, "test_accuracy")
    group = [pd.Series(pd.factorize(rows[key], sort=True, use_na_sentinel=False)[0], rows.index) for key in keys]
    kinds = [*named.cat.categories, "undefined"]
    ended = rows["outcome"].isin(["finished", DIVERGED])
    votes = pd.get_dummies(pd.Categorical(named.astype(object).where(named.notna(), "undefined"), kinds), dtype=int)
    votes = votes.mul(ended.to_numpy(dtype=int), axis=0).groupby([code.to_numpy() for code in group]).sum()
    # Use the order of `aggregate`, which returns every combination of the levels.
    sizes = [range(len(levels(rows, key))) for key in keys]
    every = pd.MultiIndex.from_product(sizes) if len(keys) > 1 else pd.Index(sizes[0])
    counts = votes.reindex(every, fill_value=0).to_numpy()
    n, agreeing = counts.sum(axis=1), counts.max(axis=1)
    most = np.array(kinds, dtype=object)[counts.argmax(axis=1)]
    status = np.select(
        [n == 0, most == DIVERGED, most == "undefined"],
        [_without(table), DIVERGED, "undefined"],
        "value",
    )
    return table[[*keys]].assign(
        regime=pd.Series(most, table.index).where((n > 0) & (most != "undefined")), n=n, agreeing=agreeing,
        tied=((counts == agreeing[:, None]).sum(axis=1) > 1) & (n > 0),
        n_diverged=0, n_stopped=table["n_stopped"], n_failed=table["n_failed"],
        n_lost=table["n_stopped"] + table["n_failed"], status=status,
    )  # fmt: skip


def _without(table: pd.DataFrame) -> np.ndarray:
    """Return the reason why each cell has no regime."""
    return np.select([table["n_stopped"] > 0, table["n_failed"] > 0], ["stopped", "failed"], "missing")


def _swatches(rule: Rule) -> dict[str, Swatch]:
    """Return the swatches of the rule's regimes. An unknown regime gets a spare colour and its first unused letter."""
    spare = iter(OTHERS)
    swatches: dict[str, Swatch] = {}
    for regime in rule.regimes:
        used = {swatch.letter for swatch in swatches.values()}
        letter = next((c.upper() for c in regime if c.isalpha() and c.upper() not in used), regime)
        swatches[regime] = SWATCHES.get(regime) or Swatch(next(spare, "#999999"), letter)
    return swatches


def _text_size(panel: float, shape: tuple[int, int], many: bool) -> float:
    """Return the font size in the cells, or 0 if text would be illegible. `many` reserves room for the agreement."""
    fits = letter_size(panel, shape, 3.2 if many else 1.6)
    return min(7.0, fits) if fits >= SMALLEST_TEXT else 0.0


def _draw(
    ax: Axes,
    part: pd.DataFrame,
    places: Places,
    shape: tuple[int, int],
    swatches: dict[str, Swatch],
    text: tuple[float, bool],
) -> None:
    size, many = text
    # Cells without a regime stay transparent.
    colours = np.zeros((*shape, 4))
    drawn = np.full(shape, "", dtype=object)
    for column, row, cell in zip(*places, part.itertuples(), strict=True):
        if cell.status != "value":
            mark_hole(ax, column, row, cell.status)
            continue
        swatch = swatches[cell.regime]
        drawn[row, column] = cell.regime
        colour = _paler(swatch.colour, cell.agreeing / cell.n)
        colours[row, column] = [*colour, 1.0]
        if size:
            written = f"{swatch.letter} {cell.agreeing}/{cell.n}" if many else swatch.letter
            ink = style.TEXT if colour @ [0.299, 0.587, 0.114] > 0.45 else "white"
            ax.text(column + 0.5, row + 0.5, written, ha="center", va="center", fontsize=size, color=ink)
    ax.pcolormesh(
        np.arange(shape[1] + 1), np.arange(shape[0] + 1), colours, edgecolors="white", linewidth=0.4, zorder=0.5
    )
    ax.add_collection(
        LineCollection(_boundaries(drawn), colors=style.TEXT, linewidths=1.3, capstyle="projecting", label="boundary")
    )
    ax.set(xlim=(0, shape[1]), ylim=(0, shape[0]))
    for spine in ax.spines.values():
        spine.set_visible(False)


def _paler(colour: str, agreement: float) -> np.ndarray:
    """Blend a colour towards white: unchanged at an agreement of 1, and paler for a smaller share of agreeing seeds."""
    keep = 1.0 if agreement == 1 else PALEST + (0.8 - PALEST) * agreement
    return keep * np.array(to_rgb(colour)) + (1 - keep)


def _boundaries(drawn: np.ndarray) -> list[list[tuple[int, int]]]:
    """Return the edges (x, y) between neighbouring cells of different regimes, ignoring cells without one ("")."""
    rows, columns = drawn.shape
    beside = [
        [(column + 1, row), (column + 1, row + 1)]
        for row in range(rows)
        for column in range(columns - 1)
        if "" not in (pair := (drawn[row, column], drawn[row, column + 1])) and pair[0] != pair[1]
    ]
    above = [
        [(column, row + 1), (column + 1, row + 1)]
        for row in range(rows - 1)
        for column in range(columns)
        if "" not in (pair := (drawn[row, column], drawn[row + 1, column])) and pair[0] != pair[1]
    ]
    return beside + above


def _agreed(table: pd.DataFrame, when: str) -> str:
    drawn = table[table["n"] > 0]
    after = f", {when}" if when else ""
    if drawn.empty:
        return f"no data yet{after}"
    if drawn["n"].max() == 1:
        return f"one seed a cell (n = 1){after}, so no agreement to show"
    same = int((drawn["agreeing"] == drawn["n"]).sum())
    worst = drawn.loc[(drawn["agreeing"] / drawn["n"]).idxmin()]
    split = int(drawn["tied"].sum())
    tie = f", {split} of them split evenly" if split else ""
    fewest = f", in the others paler, as few as {worst['agreeing']} of {worst['n']}{tie}" if same < len(drawn) else ""
    return f"regime of most of {seeds(drawn)} a cell{after}; all agree in {same} of {len(drawn)} cells{fewest}"


def _alt(table: pd.DataFrame, x: str, y: str, facets: Sequence[str]) -> str:
    panels = f", a panel for each {' and '.join(AXES[name].words for name in facets)}" if facets else ""
    text = f"map of regimes over {AXES[x].words} (across) and {AXES[y].words} (upwards){panels}"
    counts = table["regime"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    holes = int(table["regime"].isna().sum())
    regimes = ", ".join(f"{count} {regime}" for regime, count in counts.items())
    return joined(
        text,
        f"of {len(table)} cells {regimes or 'none has a regime'}",
        f"{holes} {'has' if holes == 1 else 'have'} none" if holes else "",
    )
