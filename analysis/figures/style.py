"""The type, the look and the layout that all pictures share, and how they are saved.

Pictures are made through matplotlib's object interface, so that pyplot's figures and the caller's rcParams stay as they
are.
"""

from __future__ import annotations

import io
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
"""Width of a column of a two-column paper, in inches."""
PAGE = 7.2
DPI = 200
SCREEN_DPI = 100
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
"""Status of a cell without a value -> (face, edge, hatch, words)."""


def hole(status: str) -> Patch:
    """The swatch of a cell without a value. status: a key of HOLES."""
    face, edge, hatch, words = HOLES[status]
    return Patch(facecolor=face, edgecolor=edge, hatch=hatch, linewidth=0, label=words)


class Picture(Figure):
    """A figure with its words.

    caption: printed under the figure too. alt: what it shows, for readers that cannot see it.
    """

    heading: str = ""
    caption: str = ""
    alt: str = ""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The picture under a notebook's cell, whatever matplotlib's backend is, and its size on the page in pixels."""
        buffer = io.BytesIO()
        save_figure(self, buffer, "png")
        width, height = (round(SCREEN_DPI * float(inches)) for inches in self.get_size_inches())
        return buffer.getvalue(), {"width": width, "height": height}


@contextmanager
def look() -> Iterator[None]:
    """Draw in the style of memsweep, whatever the caller's rcParams are. They are restored afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)  # type: ignore[arg-type]
        yield


def picture(width: float, height: float) -> Picture:
    figure = Picture(figsize=(width, height), layout="constrained", dpi=DPI)
    # seaborn draws to measure its labels; without a real canvas it would open a pyplot figure.
    FigureCanvasAgg(figure)
    return figure


def small_multiples(
    columns: int, rows: int, panel: tuple[float, float], margin: tuple[float, float], *, by_row: bool = False
) -> tuple[Picture, np.ndarray]:
    """A picture with a grid of panels.

    Args:
        columns: panels per row.
        rows: rows of panels.
        panel: width and height of a panel, in inches.
        margin: inches to add to the width and the height of all panels.
        by_row: share y within a row only, not among all panels.

    Returns:
        The picture, and its axes [rows, columns], which share x.
    """
    width = float(np.clip(columns * panel[0] + margin[0], COLUMN, PAGE))
    figure = picture(width, rows * panel[1] + margin[1])
    return figure, figure.subplots(rows, columns, sharex=True, sharey="row" if by_row else True, squeeze=False)


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
    """The figure and the axes to draw panels into.

    Without `ax` these are a new picture in the style of memsweep; for the other arguments see `small_multiples`. With
    `ax` they are the axes of the caller, in the style that the caller set.

    Raises:
        AnalysisError: `ax` is given, and there is more than one panel.
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
    """Columns and rows for this many panels, with rows of nearly equal length."""
    rows = -(-count // most)
    return -(-count // rows), rows


def finish(figure: Picture, heading: str, caption: str, alt: str, handles: Sequence[Artist] = ()) -> Picture:
    """Add the legend and the caption, in a strip below the panels."""
    figure.heading, figure.caption, figure.alt = heading, caption, alt
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(caption, int(width * 21.5))
    # An entry takes its swatch and about 0.052 inches per letter.
    entry = max((0.48 + 0.052 * len(str(handle.get_label())) for handle in handles), default=1.0)
    per_row = max(1, min(len(handles), int(width / entry)))
    legend_rows = -(-len(handles) // per_row)
    legend_height = 0.16 * legend_rows + (0.06 if legend_rows else 0.0)
    strip = 0.12 * len(lines) + legend_height + 0.1
    figure.set_size_inches(width, height + strip)
    share = strip / (height + strip)
    figure.get_layout_engine().set(rect=(0, share, 1, 1 - share))  # type: ignore[union-attr, call-arg]
    if handles:
        figure.legend(
            handles=list(handles),
            loc="upper center",
            bbox_to_anchor=(0.5, share),
            ncol=per_row,
            borderaxespad=0.1,
            handlelength=1.8,
            columnspacing=1.3,
        )
    top = share - legend_height / (height + strip)
    figure.text(0.02, top, "\n".join(lines), va="top", ha="left", fontsize=6.3, color="#555555", linespacing=1.3)
    # The layout is solved once. Solved anew at every save it would creep, and the same picture would have other bytes.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def complete(
    ax: Axes | None, figure: FigureBase, heading: str, caption: str, alt: str, handles: Sequence[Artist] = ()
) -> Picture | Axes:
    """The finished picture (see `finish`), or the caller's axes, with a legend of these handles."""
    if ax is None:
        assert isinstance(figure, Picture)
        return finish(figure, heading, caption, alt, handles)
    if handles:
        ax.legend(handles=list(handles))
    return ax


def fitted(label: str, inches: float) -> str:
    """The label, broken into lines of at most this length at the size of axis labels."""
    return textwrap.fill(label, max(12, int(inches / 0.066)))


def blank(axes: Axes) -> None:
    axes.set_visible(False)


def check_suffix(path: Path | str) -> str:
    """The suffix of the path, `png`, `svg` or `pdf`. Can be called before there is a figure to save.

    Raises:
        AnalysisError: the suffix is another one.
    """
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in SUFFIXES:
        raise unknown("out", Path(path).suffix or Path(path).name, [f".{known}" for known in SUFFIXES])
    return suffix


def save_figure(figure: Figure, path: Path | str | BinaryIO, suffix: str | None = None) -> None:
    """Write PNG (200 dpi), SVG or PDF. The same figure gives the same bytes.

    Args:
        figure: the figure.
        path: a path, or a binary file.
        suffix: `png`, `svg` or `pdf`; that of the path by default.

    Raises:
        AnalysisError: the suffix is another one. Nothing is written.
        OSError: the path cannot be written.
    """
    suffix = check_suffix(path if isinstance(path, Path | str) and suffix is None else f"out.{suffix}")
    undated = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[suffix]
    with look():
        figure.savefig(path, format=suffix, dpi=DPI, metadata=undated)
