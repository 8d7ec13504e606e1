"""Refuse a figure before anything is trained for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from lightning_modules.errors import choices
from sweeps.errors import SweepError
from sweeps.spec.point import FIELDS
from sweeps.spec.sweep import Sweep


def check_figures(sweep: Sweep) -> None:
    """Refuse a figure that no data could make drawable, so that it is known before a training and not after.

    Imports the plotting libraries, 1.5 s, which is why reading a file does not. Raises SweepError.
    """
    from analysis.errors import AnalysisError
    from analysis.figures.emc import HUES
    from analysis.figures.heatmaps import ANNOTATIONS
    from analysis.figures.histograms import SCORES
    from analysis.figures.kinds import MAPS
    from analysis.report import parse_figures
    from analysis.statistics.emc import CAPACITY
    from analysis.statistics.regimes import RULES
    from analysis.words import AXES, METRICS

    try:
        figures = parse_figures(sweep.figures)
    except AnalysisError as error:
        raise SweepError(sweep.source, "", str(error)) from None
    for index, figure in enumerate(figures):
        vertical = (figure.y,) if isinstance(figure.y, str | None) else figure.y
        named: list[tuple[str, Collection[str], Iterable[str | None]]] = [
            ("x", {"frontier": METRICS, "emc": CAPACITY}.get(figure.kind, AXES), (figure.x,)),
            ("y", AXES if figure.kind in MAPS else METRICS, vertical),
            ("value", SCORES if figure.kind == "scores" else METRICS, (figure.value,)),
            ("facet", AXES, figure.facet),
            ("hue", HUES if figure.kind == "emc" else AXES, (figure.hue,)),
            ("over", FIELDS, figure.over),
            ("where", AXES, figure.where),
            ("x_where", AXES, figure.x_where),
            ("y_where", AXES, figure.y_where),
            ("annotate", ANNOTATIONS, (figure.annotate,)),
            ("rule", RULES, (figure.rule,)),
        ]
        for key, valid, names in named:
            for name in names:
                if name is not None and name not in valid:
                    raise SweepError(sweep.source, f"figures[{index}].{key}", f"unknown name; {choices(name, valid)}")
