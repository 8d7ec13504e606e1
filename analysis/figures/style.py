"""What every picture shares: its type, its look, the caption under it, and how it is saved.

Pictures are made through matplotlib's object interface, so nothing touches pyplot's figures or the caller's rcParams.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Patch

from analysis.errors import AnalysisError, unknown

COLUMN = 3.5
"""Inches of a column of a two-column paper."""
PAGE = 7.2
DPI = 200
SUFFIXES = ("png", "svg", "pdf")

TEXT = "#222222"
FAINT = "#8a8a8a"
LOST = "#b2182b"

_RC: dict[str, object] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.titlecolor": TEXT,
    "axes.edgecolor": "#666666",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "xtick.minor.width": 0.4,
    "ytick.minor.size": 1.5,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.4,
    "hatch.linewidth": 0.6,
    "pdf.fonttype": 42,
    "svg.hashsalt": "memsweep",
}

HOLES = {
    "missing": ("#f4f4f4", "#a8a8a8", "/////", "no data"),
    "diverged": ("#ffffff", LOST, "xxxxx", "diverged"),
    "stopped": ("#ffffff", "#4a7fa5", "-----", "stopped early"),
    "failed": ("#ffffff", "#444444", ".....", "failed"),
    "undefined": ("#d9d9d9", "#d9d9d9", "", "not defined"),
}
"""Status of a cell without a value: its face, its edge, its hatch, its words."""


def hole(status: str) -> Patch:
    """The swatch of a cell without a value; status: a key of HOLES."""
    face, edge, hatch, words = HOLES[status]
    return Patch(facecolor=face, edgecolor=edge, hatch=hatch, linewidth=0, label=words)


class Picture(Figure):
    """A figure that carries its words. caption: printed under it too. alt: what it shows, for who cannot see it."""

    heading: str = ""
    caption: str = ""
    alt: str = ""


@contextmanager
def look() -> Iterator[None]:
    """The house style, whatever the caller's rcParams are; they are as before afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)  # type: ignore[arg-type]
        yield


def picture(width: float, height: float) -> Picture:
    made = Picture(figsize=(width, height), layout="constrained", dpi=DPI)
    # seaborn draws to measure its labels; without a real canvas it would open a pyplot figure.
    FigureCanvasAgg(made)
    return made


def small_multiples(
    columns: int, rows: int, panel: tuple[float, float], margin: tuple[float, float], *, by_row: bool = False
) -> tuple[Picture, np.ndarray]:
    """Panels of this many inches and an array of axes (rows, columns) that share x, and y at least within a row."""
    width = float(np.clip(columns * panel[0] + margin[0], COLUMN, PAGE))
    made = picture(width, rows * panel[1] + margin[1])
    return made, made.subplots(rows, columns, sharex=True, sharey="row" if by_row else True, squeeze=False)


@contextmanager
def panels(
    ax: Axes | None,
    columns: int,
    rows: int,
    panel: tuple[float, float],
    margin: tuple[float, float],
    *,
    by_row: bool = False,
) -> Iterator[tuple[FigureBase, np.ndarray]]:
    """Axes to draw panels into: new ones in the house style (see `small_multiples`), or the caller's in its own style.

    Raises AnalysisError for axes of the caller and more than one panel.
    """
    if ax is None:
        with look():
            yield small_multiples(columns, rows, panel, margin, by_row=by_row)
    elif columns * rows == 1:
        yield ax.figure, np.array([[ax]])
    else:
        raise AnalysisError("ax", f"ax: given for {columns * rows} panels; valid is a figure of one panel, or no ax")


def inches(ax: Axes) -> np.ndarray:
    """Width and height of the picture that the axes are in, or of axes elsewhere with room for their labels."""
    if isinstance(ax.figure, Picture):
        return ax.figure.get_size_inches()
    extent = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    return np.array([extent.width, extent.height]) + 0.5


def wrapped(count: int, most: int = 4) -> tuple[int, int]:
    """Columns and rows for this many panels, rows of nearly equal length."""
    rows = -(-count // most)
    return -(-count // rows), rows


def finish(made: Picture, heading: str, caption: str, alt: str, handles: Sequence[Artist] = ()) -> Picture:
    """Adds the legend and the caption in a strip of their own below the panels."""
    made.heading, made.caption, made.alt = heading, caption, alt
    width, height = made.get_size_inches()
    lines = textwrap.wrap(caption, int(width * 21.5))
    # An entry takes its swatch and about 0.052 inches a letter.
    entry = max((0.48 + 0.052 * len(str(handle.get_label())) for handle in handles), default=1.0)
    per_row = max(1, min(len(handles), int(width / entry)))
    legend_rows = -(-len(handles) // per_row)
    legend_height = 0.16 * legend_rows + (0.06 if legend_rows else 0.0)
    strip = 0.12 * len(lines) + legend_height + 0.1
    made.set_size_inches(width, height + strip)
    share = strip / (height + strip)
    made.get_layout_engine().set(rect=(0, share, 1, 1 - share))  # type: ignore[union-attr, call-arg]
    if handles:
        made.legend(
            handles=list(handles),
            loc="upper center",
            bbox_to_anchor=(0.5, share),
            ncol=per_row,
            borderaxespad=0.1,
            handlelength=1.8,
            columnspacing=1.3,
        )
    top = share - legend_height / (height + strip)
    made.text(0.02, top, "\n".join(lines), va="top", ha="left", fontsize=6.3, color="#555555", linespacing=1.3)
    # The layout is solved once: solved anew at every save, it would creep, and the same picture have other bytes.
    made.draw_without_rendering()
    made.set_layout_engine("none")
    return made


def complete(
    ax: Axes | None, made: FigureBase, heading: str, caption: str, alt: str, handles: Sequence[Artist] = ()
) -> Picture | Axes:
    """The finished picture (see `finish`), or the caller's axes with a legend of these handles."""
    if ax is None:
        assert isinstance(made, Picture)
        return finish(made, heading, caption, alt, handles)
    if handles:
        ax.legend(handles=list(handles))
    return ax


def fitted(label: str, inches: float) -> str:
    """The label in lines of at most this length, at the size of axis labels."""
    return textwrap.fill(label, max(12, int(inches / 0.066)))


def blank(axes: Axes) -> None:
    axes.set_visible(False)


def check_suffix(path: Path | str) -> str:
    """`png`, `svg` or `pdf`, or AnalysisError: to ask before there is a figure to save."""
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in SUFFIXES:
        raise unknown("out", Path(path).suffix or Path(path).name, [f".{known}" for known in SUFFIXES])
    return suffix


def save_figure(figure: Figure, path: Path | str | BinaryIO, suffix: str | None = None) -> None:
    """Writes PNG (200 dpi), SVG or PDF, the same bytes for the same figure. suffix: of the path, unless given.

    Raises AnalysisError for another suffix, before anything is written, and OSError for a path that cannot be written.
    """
    suffix = check_suffix(path if isinstance(path, Path | str) and suffix is None else f"out.{suffix}")
    undated = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[suffix]
    with look():
        figure.savefig(path, format=suffix, dpi=DPI, metadata=undated)
