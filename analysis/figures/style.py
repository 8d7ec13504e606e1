"""The type, style, layout and saving of all pictures.

Pictures use matplotlib's object interface, so pyplot's figures and the caller's rcParams are left unchanged.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter, LogFormatterMathtext

from analysis.errors import AnalysisError, unknown
from lightning_modules.whole_files import written_whole

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
    "text.parse_math": False,  # a dollar in a name is a dollar
}

HOLES = {
    "missing": ("#f4f4f4", "#a8a8a8", "/////", "no data"),
    "diverged": ("#ffffff", LOST, "xxxxx", "diverged"),
    "stopped": ("#ffffff", "#4a7fa5", "-----", "stopped early"),
    "failed": ("#ffffff", "#444444", ".....", "failed"),
    "undefined": ("#d9d9d9", "#d9d9d9", "", "not defined"),
}
"""Maps the status of a cell without a value to (face, edge, hatch, words)."""


def hole(status: str) -> Patch:
    """Create the swatch of a cell without a value, given its status (a key of HOLES)."""
    face, edge, hatch, words = HOLES[status]
    return Patch(facecolor=face, edgecolor=edge, hatch=hatch, linewidth=0, label=words)


class Picture(Figure):
    """A figure with a heading, a caption (also printed under the panels) and an alternative text."""

    heading: str = ""
    caption: str = ""
    alt: str = ""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return the PNG for a notebook, independent of matplotlib's backend, and its displayed size in pixels."""
        buffer = io.BytesIO()
        save_figure(self, buffer, "png")
        width, height = (round(SCREEN_DPI * float(inches)) for inches in self.get_size_inches())
        return buffer.getvalue(), {"width": width, "height": height}


@contextmanager
def look() -> Iterator[None]:
    """Set the style of memsweep, and restore the caller's rcParams afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)  # type: ignore[arg-type]
        yield


def picture(width: float, height: float) -> Picture:
    figure = Picture(figsize=(width, height), layout="constrained", dpi=DPI)
    # seaborn draws the figure to measure labels. Without a real canvas, seaborn would open a pyplot figure.
    FigureCanvasAgg(figure)
    return figure


def small_multiples(
    columns: int, rows: int, panel: tuple[float, float], margin: tuple[float, float], *, by_row: bool = False
) -> tuple[Picture, np.ndarray]:
    """Create a picture with a grid of panels.

    Args:
        columns: Number of panels per row.
        rows: Number of rows.
        panel: Width and height of a panel, in inches.
        margin: Inches to add to the total width and height of the panels.
        by_row: Share y within a row only, not among all panels.

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
    """Yield the figure and the axes to draw panels into.

    If `ax` is None, both are new and in the style of memsweep. If it is given, they are the caller's figure and axes,
    in the caller's style. For the other arguments, see `small_multiples`.

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
    """Return the width and height, in inches, of the axes' picture, or of a caller's axes with room for labels."""
    if isinstance(ax.figure, Picture):
        return ax.figure.get_size_inches()
    extent = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
    return np.array([extent.width, extent.height]) + 0.5


def wrapped(count: int, most: int = 4) -> tuple[int, int]:
    """Return the numbers of columns (at most `most`) and rows for `count` panels, with rows of nearly equal length."""
    rows = -(-count // most)
    return -(-count // rows), rows


def finish(figure: Picture, heading: str, caption: str, alt: str, handles: Sequence[Artist] = ()) -> Picture:
    """Add the legend and the caption, in a strip below the panels."""
    figure.heading, figure.caption, figure.alt = heading, caption, alt
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(caption, int(width * 21.5))
    # An entry needs room for its swatch and about 0.052 inches per letter.
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
    for ax in figure.axes:
        _write_plain_ticks(ax)
    # Solve the layout once. A layout solved at every save would drift, and the saved bytes would differ.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def _write_plain_ticks(ax: Axes) -> None:
    """Write the ticks of logarithmic axes (of base 10) as numbers, for matplotlib would write formulas."""
    for axis in (ax.xaxis, ax.yaxis):
        for current, choose in (
            (axis.get_major_formatter(), axis.set_major_formatter),
            (axis.get_minor_formatter(), axis.set_minor_formatter),
        ):
            if isinstance(current, LogFormatterMathtext):
                choose(LogFormatter(labelOnlyBase=current.labelOnlyBase, minor_thresholds=current.minor_thresholds))


def _read_no_formulas(ax: Axes) -> None:
    """Show the texts in a caller's axes as given, except for ticks that matplotlib writes as formulas."""
    formulas = {
        label
        for axis in (ax.xaxis, ax.yaxis)
        if isinstance(axis.get_major_formatter(), LogFormatterMathtext)
        for label in axis.get_ticklabels(which="both")
    }
    for text in ax.findobj(Text):
        if text not in formulas:
            text.set_parse_math(False)


def complete(
    ax: Axes | None, figure: FigureBase, heading: str, caption: str, alt: str, handles: Sequence[Artist] = ()
) -> Picture | Axes:
    """Finish and return a new picture (see `finish`), or add a legend to the caller's axes and return the axes."""
    if ax is None:
        assert isinstance(figure, Picture)
        return finish(figure, heading, caption, alt, handles)
    if handles:
        ax.legend(handles=list(handles))
    _read_no_formulas(ax)
    return ax


def fitted(label: str, inches: float) -> str:
    """Break a label into lines of at most `inches` inches in the font size of axis labels."""
    return textwrap.fill(label, max(12, int(inches / 0.066)))


def grid(ax: Axes, axis: Literal["both", "x", "y"] = "both") -> None:
    """Draw faint grid lines behind the data."""
    ax.grid(axis=axis, color="#e6e6e6", linewidth=0.5)
    ax.set_axisbelow(True)


def blank(axes: Axes) -> None:
    axes.set_visible(False)


def check_suffix(path: Path | str) -> str:
    """Return the suffix of the path: `png`, `svg` or `pdf`. Call this function before drawing the figure to fail early.

    Raises:
        AnalysisError: The path has any other suffix.
    """
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in SUFFIXES:
        raise unknown("out", Path(path).suffix or Path(path).name, [f".{known}" for known in SUFFIXES])
    return suffix


def save_figure(figure: Figure, path: Path | str | BinaryIO, suffix: str | None = None) -> None:
    """Write a figure as PNG (200 dpi), SVG or PDF, whole or not at all. The same figure always gives the same bytes.

    Args:
        figure: The figure.
        path: A path, or a binary file.
        suffix: `png`, `svg` or `pdf`; by default, the suffix of the path.

    Raises:
        AnalysisError: The suffix is none of these. Nothing is written.
        OSError: The path cannot be written.
    """
    suffix = check_suffix(path if isinstance(path, Path | str) and suffix is None else f"out.{suffix}")
    undated = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[suffix]
    content = io.BytesIO()
    with look():
        figure.savefig(content, format=suffix, dpi=DPI, metadata=undated)
    if not isinstance(path, str | Path):
        path.write(content.getvalue())
        return
    with written_whole(path) as aside:
        aside.write_bytes(content.getvalue())
