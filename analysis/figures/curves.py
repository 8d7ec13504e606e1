"""Figure of learning curves, with one panel per value of a field and the memorization phase shaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.errors import AnalysisError
from analysis.figures import style
from analysis.figures.captions import joined, seeds
from analysis.statistics.phases import RISE, Phase, memorization_phase
from analysis.tables.cells import aggregate, check_axis, check_columns, check_metric, levels, one_facet
from analysis.words import AXES, METRICS, setting

MOST_PANELS = 16
PHASE = "#D55E00"
Dash = Literal["-", "--", "-.", ":"]
MEASURES: dict[str, tuple[str, Dash]] = {
    "train_accuracy": ("#555555", "--"),
    "test_accuracy": ("#0072B2", "-"),
    "memorized_fraction": (PHASE, "-"),
    "recovered_fraction": ("#009E73", "-."),
}
"""The colour (from Okabe and Ito's palette) and dash of each line that is drawn by default."""
OTHERS: tuple[tuple[str, Dash], ...] = (("#CC79A7", "--"), ("#56B4E9", "-."), ("#E69F00", "-"), ("#000000", ":"))
"""The colours and dashes of further lines, in order."""


def curves_figure(
    curves: pd.DataFrame,
    hue: str | None = None,
    facet: Sequence[str] | str | None = None,
    *,
    y: Sequence[str] | str | None = None,
    chance: float | None = None,
    points: pd.DataFrame | None = None,
    note: str = "",
    ax: Axes | None = None,
) -> style.Picture | Axes:
    """Draw training and clean test accuracy and memorized and recovered fraction against the epoch (logarithmic axis).

    Lines are means over the seeds that finished, and bands are 95 % t intervals of the mean. Only epochs at which every
    seed of a panel was evaluated are drawn. The memorization phase of the mean curves (see `phases.memorization_phase`)
    is shaded, unless `y` is given. A panel without data is hatched.

    Args:
        curves: One row per training and evaluated epoch.
        hue: A field; one panel is drawn per value.
        facet: A field; one row of panels is drawn per value.
        y: Other shares (metrics in %) to draw instead. Metrics known at few epochs get markers.
        chance: The accuracy of guessing (0..1), drawn as a dotted line.
        points: If given, draw only the trainings of these points, and a gap for each training without a curve.
        note: The first sentence of the caption.
        ax: The caller's axes for a single panel, drawn in the caller's style; None to draw a new picture.

    Raises:
        AnalysisError: A field or metric is unknown, a metric is not a share, there are more than 16 panels, or a panel
            would mix values of other fields.
    """
    facet = one_facet(facet, "curves")
    if points is not None:
        own = curves[curves["trajectory_id"].isin(points["trajectory_id"])] if len(curves) else curves
        curves = _with_missing(points, own)
    if curves.empty:
        raise AnalysisError("curves", "curves: given none, as no training has been evaluated; run the sweep first")
    keys = [check_axis(curves, key, name) for key, name in (("hue", hue), ("facet", facet)) if name]
    looks = _looks(curves, y)
    tables = {name: _shared_epochs(aggregate(curves, [*keys, "epoch"], name), keys) for name in looks}
    leading = tables[next(iter(looks))]
    panels = list(_groups(leading, keys))
    if len(panels) > MOST_PANELS:
        raise AnalysisError("hue", f"hue: given {len(panels)} panels; valid are at most {MOST_PANELS}: fix some values")
    columns, rows = style.wrapped(len(panels))
    if len(keys) == 2:
        columns = len(levels(curves, keys[0]))
        rows = len(panels) // columns
    size = (min(2.9 if columns == 1 else 1.9, (style.PAGE - 0.6) / columns), 1.55)
    with style.panels(ax, columns, rows, size, (0.6, 0.3)) as (figure, axes):
        phases: dict[str, Phase] = {}
        for index, panel in enumerate(axes.flat):
            if index >= len(panels):
                style.blank(panel)
                continue
            first = panels[index].iloc[0]
            phase = _draw(panel, {name: table.loc[panels[index].index] for name, table in tables.items()}, looks)
            phase = None if y else phase
            if phase is not None:
                panel.axvspan(
                    phase.start, phase.end, color=PHASE, alpha=0.1, linewidth=0, zorder=0, label="memorization phase"
                )
            if phase is not None:
                phases[", ".join(setting(key, first[key]) for key in keys)] = phase
            if keys and (len(keys) == 1 or index < columns):
                panel.set_title(setting(keys[0], first[keys[0]]), pad=4)
            if index % columns == 0:
                named = f"{setting(keys[1], first[keys[1]])}\n\n" if len(keys) == 2 else ""
                panel.set_ylabel(f"{named}examples (%)")
            if chance is not None:
                panel.axhline(100 * chance, color=style.FAINT, linestyle=":", linewidth=0.8)
        _scale(axes, curves["epoch"], len(panels))
        table = leading
        lost = curves.loc[curves["outcome"] != "finished", "trajectory_id"].nunique()
        caption = joined(
            note,
            "one seed a panel (n = 1), so no interval"
            if table["n"].max() == 1
            else f"mean over {seeds(table)} a panel, band: 95 % t interval of the mean",
            f"shaded: from the best clean test accuracy to the end, if at least {RISE * 100:.0f} points more of the "
            "corrupted labels are memorized by then" if phases else "",
            f"{lost} training{'s' if lost > 1 else ''} did not finish, left out" if lost else "",
        )  # fmt: skip
        heading = "learning curves" + (f" by {AXES[hue].words}" if hue else "")
        handles = _handles(tables, looks, phases, chance)
        return style.complete(ax, figure, heading, caption, _alt(tables, keys, phases), handles)


def _with_missing(points: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Add a row without data for every training that has no curve, so that its panel shows the gap."""
    absent = points[~points["trajectory_id"].isin(curves["trajectory_id"])].drop_duplicates("trajectory_id")
    if absent.empty or curves.empty:
        return curves
    rows = absent.reindex(columns=curves.columns).assign(epoch=int(curves["epoch"].min()))
    return pd.concat([curves, rows], ignore_index=True)


def _looks(curves: pd.DataFrame, y: Sequence[str] | str | None) -> dict[str, tuple[str, Dash]]:
    """Return the colour and dash of each metric to draw. If `y` is None, clean test accuracy comes first."""
    if y is None:
        check_columns(curves, ("test_accuracy", "train_accuracy"), "curves")
        order = ["test_accuracy", *MEASURES]
        return {name: MEASURES[name] for name in order if name in curves.columns}
    names = [y] if isinstance(y, str) else list(dict.fromkeys(y))
    for name in names:
        check_metric(curves, "y", name)
        if METRICS[name].unit != "%":
            raise AnalysisError("y", f"y: given {name}, which is in {METRICS[name].unit}; valid are shares, in %")
    own = [name for name in names if name not in MEASURES]
    if not names or len(own) > len(OTHERS):
        raise AnalysisError("y", f"y: given {len(names)} metrics; valid are 1 to {len(OTHERS)}")
    return {name: MEASURES[name] if name in MEASURES else OTHERS[own.index(name)] for name in names}


def _groups(table: pd.DataFrame, keys: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield the rows of each panel. The first key varies across the columns, the second down the rows."""
    if not keys:
        yield table
        return
    codes = [pd.factorize(table[key], sort=True, use_na_sentinel=False)[0] for key in reversed(keys)]
    for _, part in table.groupby(codes):
        yield part


def _shared_epochs(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Blank epochs that some seeds of a panel lack, since the mean would jump where the set of seeds changes."""
    for part in _groups(table, keys):
        fewer = part.index[part["n"] < part["n"].max()]
        table.loc[fewer, ["mean", "low", "high"]] = float("nan")
        table.loc[fewer, "n"] = 0
    return table


def _draw(ax: Axes, tables: Mapping[str, pd.DataFrame], looks: Mapping[str, tuple[str, Dash]]) -> Phase | None:
    """Draw one panel, and return the memorization phase of its mean curves."""
    for name, table in tables.items():
        colour, dash = looks[name]
        rows = table.dropna(subset=["mean"])
        # Without markers, a single measurement would be invisible, and a few measurements would look like many.
        mark = "o" if len(rows) == 1 or 2 * len(rows) < len(table) else ""
        ax.plot(rows["epoch"], 100 * rows["mean"], color=colour, linestyle=dash, marker=mark, markersize=3, label=name)
        band = rows.dropna(subset=["low"])
        ax.fill_between(
            band["epoch"], 100 * band["low"], 100 * band["high"], color=colour, alpha=0.2, linewidth=0, label=name
        )
    if all(table["mean"].isna().all() for table in tables.values()):
        ax.text(0.5, 0.5, "no data", transform=ax.transAxes, ha="center", va="center", color=style.FAINT)
        ax.patch.set(hatch="/////", edgecolor="#dcdcdc")
        return None
    test, memorized = tables.get("test_accuracy"), tables.get("memorized_fraction")
    if test is None or memorized is None:
        return None
    return memorization_phase(test["epoch"].tolist(), test["mean"].tolist(), memorized["mean"].tolist())


def _scale(axes: np.ndarray, epochs: pd.Series, panels: int) -> None:
    columns = axes.shape[1]
    low, high = float(epochs.min()), float(epochs.max())
    for index, ax in enumerate(axes.flat[:panels]):
        if low > 0:
            ax.set_xscale("log")
        else:
            # Epoch 0, the untrained network, should be shown but has no logarithm.
            ax.set_xscale("symlog", linthresh=1, linscale=0.4)
        ax.set_xlim(low, high if high > low else low + 1)
        ax.set_ylim(-2, 102)
        ax.set_yticks(range(0, 101, 25))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        style.grid(ax, "y")
        outer = index + columns >= panels
        ax.tick_params(labelbottom=outer, labelleft=index % columns == 0)
        ax.set_xlabel("epoch" if outer else "")


def _handles(
    tables: Mapping[str, pd.DataFrame],
    looks: Mapping[str, tuple[str, Dash]],
    phases: Mapping[str, Phase],
    chance: float | None,
) -> list[Artist]:
    ordered = sorted(looks, key=lambda name: [*MEASURES, *looks].index(name))
    handles: list[Artist] = [
        Line2D([], [], color=looks[name][0], linestyle=looks[name][1], label=METRICS[name].words)
        for name in ordered
        if tables[name]["mean"].notna().any()
    ]
    if phases:
        handles.append(Patch(facecolor=PHASE, alpha=0.15, label="memorization phase"))
    if chance is not None:
        handles.append(Line2D([], [], color=style.FAINT, linestyle=":", linewidth=0.8, label="chance"))
    return handles


def _alt(tables: Mapping[str, pd.DataFrame], keys: Sequence[str], phases: Mapping[str, Phase]) -> str:
    panels = f", a panel for each {' and '.join(AXES[key].words for key in keys)}" if keys else ""
    parts = [
        f"memorization phase{' at ' + title if title else ''} from epoch {phase.start:g} to {phase.end:g}: memorized "
        f"{100 * phase.rise:+.0f} points, clean test accuracy {-100 * phase.fall:+.0f} points"
        for title, phase in phases.items()
    ]
    lines = ", ".join(METRICS[name].words for name in tables)
    none = [] if parts or not {"test_accuracy", "memorized_fraction"} <= {*tables} else ["no memorization phase"]
    return joined(f"learning curves against the epoch{panels}: {lines}", *parts, *none)
