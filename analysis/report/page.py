"""HTML pages with tables and figures. Every figure is also written as PNG, SVG and PDF."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from analysis.claims import Decision
from analysis.errors import AnalysisError
from analysis.figures.captions import sentence
from analysis.figures.defaults import default_figures
from analysis.figures.drawing import draw
from analysis.figures.kinds import FigureSpec
from analysis.figures.style import SUFFIXES, Picture, save_figure
from analysis.report.verdicts import claim_rows
from analysis.tables.cells import OUTCOMES
from lightning_modules.shown_text import visible
from lightning_modules.whole_files import written_whole

FIGURES = "figures"


def write_report(
    points: pd.DataFrame,
    curves: pd.DataFrame,
    description: Mapping[str, Any],
    figures: Sequence[FigureSpec],
    out: Path,
    claims: Sequence[Decision] = (),
    examples: pd.DataFrame | None = None,
) -> list[Path]:
    """Write the page of a study, `out/index.html`, and its figures, `out/figures/*.{png,svg,pdf}`.

    All figures are drawn before anything is written. Every file is written atomically, and the page is written last.

    Args:
        points: One row per point.
        curves: One row per training and evaluated epoch.
        description: A mapping with `name` and, if known, `question`, `definition` (YAML), `fixed` (field -> value),
            `axes` (fields, or field -> values), `provenance` (label -> text) and `chance` (1/C for C classes).
        figures: The figures to draw. If empty, `defaults.default_figures` chooses them.
        out: The folder to write into.
        claims: The claims that rest on the study. Each contrast becomes a table row with a small picture (PNG, SVG).
        examples: The per-example table, with at least the measures that the figures need.

    Returns:
        The paths written, starting with the page.

    Raises:
        AnalysisError: A figure cannot be drawn.
        OSError: `out` cannot be written.
    """
    out = Path(out)
    specs = figures or default_figures(points, curves)
    chance = description.get("chance")
    drawn = [(spec, _drawn(index, spec, points, curves, chance, examples)) for index, spec in enumerate(specs)]
    files: dict[str, bytes] = {}
    shown: list[dict[str, Any]] = []
    for stem, (spec, picture) in zip(_stems(specs), drawn, strict=True):
        about, rendered = _shown(stem, picture, spec.title)
        files |= rendered
        shown.append(about)
    rows, small = claim_rows(claims)
    files |= {link: _rendered(picture, link.rpartition(".")[2]) for link, picture in small.items()}
    page = _template().render(
        name=description.get("name", "sweep"),
        question=description.get("question", ""),
        definition=description.get("definition", ""),
        settings=_settings(description),
        provenance=dict(description.get("provenance") or {}),
        status=status(points),
        figures=shown,
        claims=rows,
    )
    return _written(out, page, files)


def write_claims(decisions: Sequence[Decision], provenance: Mapping[str, str], out: Path) -> list[Path]:
    """Write a page with a table of claims, `out/index.html`, and its pictures, `out/figures/*.{png,svg}`.

    Returns:
        The paths written, starting with the page.

    Raises:
        OSError: `out` cannot be written.
    """
    rows, small = claim_rows(decisions)
    files = {link: _rendered(picture, link.rpartition(".")[2]) for link, picture in small.items()}
    page = _template().render(
        name="What the data say",
        question="Each claim of the papers, the contrast that tests it, and the verdict.",
        definition="",
        settings={},
        provenance=dict(provenance),
        status=None,
        figures=None,
        claims=rows,
    )
    return _written(Path(out), page, files)


@dataclass(frozen=True)
class PageTable:
    """A table on a page, with its cells as text and a note below it."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def write_study_page(
    description: Mapping[str, Any],
    tables: Sequence[PageTable],
    pictures: Mapping[str, Picture],
    files: Mapping[str, bytes],
    out: Path,
) -> list[Path]:
    """Write a page of tables and pictures, `out/index.html`, and the pictures, `out/figures/*.{png,svg,pdf}`.

    Args:
        description: See `write_report`.
        tables: The tables, in the order of the page.
        pictures: A mapping from file name without suffix to picture.
        files: Other files to write, as a mapping from path below `out` to content.
        out: The folder to write into.

    Returns:
        The paths written, starting with the page.

    Raises:
        OSError: `out` cannot be written.
    """
    contents = dict(files)
    shown = []
    for stem, picture in pictures.items():
        about, rendered = _shown(stem, picture)
        contents |= rendered
        shown.append(about)
    page = _template().render(
        name=description.get("name", "study"),
        question=description.get("question", ""),
        definition=description.get("definition", ""),
        settings=_settings(description),
        provenance=dict(description.get("provenance") or {}),
        status=None,
        figures=shown,
        claims=None,
        tables=tables,
    )
    return _written(Path(out), page, contents)


def status(points: pd.DataFrame) -> dict[str, int]:
    """Count the points, in total and per outcome."""
    counts = points["outcome"].value_counts() if len(points) else pd.Series(dtype=int)
    return {"points": len(points), **{outcome: int(counts.get(outcome, 0)) for outcome in OUTCOMES}}


def _drawn(
    index: int,
    spec: FigureSpec,
    points: pd.DataFrame,
    curves: pd.DataFrame,
    chance: float | None,
    examples: pd.DataFrame | None,
) -> Picture:
    try:
        return draw(spec, points, curves, chance, examples)
    except AnalysisError as error:
        raise AnalysisError(f"figures[{index}].{error.key}", f"figures[{index}] ({spec.kind}): {error}") from error


def _shown(stem: str, picture: Picture, title: str = "") -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the template values of a picture, and a mapping from link to file content."""
    links = {suffix: f"{FIGURES}/{stem}.{suffix}" for suffix in SUFFIXES}
    width, height = (round(float(inches) * 96) for inches in picture.get_size_inches())
    about = {
        "id": stem, "heading": title or sentence(picture.heading).rstrip("."), "caption": picture.caption,
        "alt": picture.alt, "links": links, "width": width, "height": height,
    }  # fmt: skip
    return about, {link: _rendered(picture, suffix) for suffix, link in links.items()}


def _stems(specs: Sequence[FigureSpec]) -> list[str]:
    """Return one distinct file name per figure, numbering figures that would share a name."""
    names: list[str] = []
    for spec in specs:
        same = sum(name == spec.stem or name.startswith(f"{spec.stem}-") for name in names)
        names.append(f"{spec.stem}-{same + 1}" if same else spec.stem)
    return names


def _rendered(picture: Picture, suffix: str) -> bytes:
    buffer = io.BytesIO()
    save_figure(picture, buffer, suffix)
    return buffer.getvalue()


def _settings(description: Mapping[str, Any]) -> dict[str, str]:
    axes = description.get("axes") or {}
    if not isinstance(axes, Mapping):
        axes = dict.fromkeys(axes, "varies")
    return {
        name: ", ".join("unset" if one is None else str(one) for one in (value if isinstance(value, list) else [value]))
        for name, value in {**axes, **(description.get("fixed") or {})}.items()
    }


def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("analysis.report", ".")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=lambda value: visible(value) if isinstance(value, str) else value,
    )  # fmt: skip
    return environment.get_template("page.html.j2")


def _written(out: Path, page: str, files: Mapping[str, bytes]) -> list[Path]:
    """Write the files and then the page, so that the page never refers to a missing file."""
    written = [_write(out / link, content) for link, content in files.items()]
    return [_write(out / "index.html", page.encode()), *written]


def _write(path: Path, content: bytes) -> Path:
    with written_whole(path) as aside:
        aside.write_bytes(content)
    return path
