"""The figures of a study as its sweep file asks for them: their specs, and how each is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import pandas as pd

from analysis.errors import AnalysisError, unknown
from analysis.figures.bits import bits_plot
from analysis.figures.captions import joined
from analysis.figures.curves import curves_figure
from analysis.figures.emc import emc_plot
from analysis.figures.frontier import frontier_plot
from analysis.figures.heatmaps import heatmap
from analysis.figures.histograms import SCORES, histogram
from analysis.figures.lines import line_plot
from analysis.figures.regime_maps import regime_map
from analysis.figures.spread import spread_plot
from analysis.figures.style import Picture
from analysis.tables.cells import facet_names, select
from analysis.tables.frames import EVERYTHING, Needs
from analysis.words import AXES, METRICS, settings

REQUIRED: dict[str, tuple[str, ...]] = {
    "heatmap": ("x", "y", "value"),
    "curves": (),
    "lines": ("x", "y"),
    "regimes": ("x", "y"),
    "spread": (),
    "scores": ("value",),
    "frontier": ("x", "y", "over"),
    "bits": (),
    "emc": ("x",),
}
OPTIONAL: dict[str, tuple[str, ...]] = {
    "heatmap": ("facet", "epoch", "annotate", "limits"),
    "curves": ("y", "hue", "facet"),
    "lines": ("hue", "facet", "epoch"),
    "regimes": ("facet", "epoch", "rule"),
    "spread": ("hue", "epoch"),
    "scores": ("hue", "epoch"),
    "frontier": ("x_where", "y_where"),
    "bits": ("hue",),
    "emc": ("hue",),
}
MAPS = ("heatmap", "regimes")
"""Kinds whose y is a field and not a metric."""
COMMON = ("kind", "where", "title")

NO_EXAMPLES = pd.DataFrame(columns=["trajectory_id", "epoch", "measure", "split", "example_id", "value"])


@dataclass(frozen=True)
class FigureSpec:
    """One figure of a study.

    kind: `heatmap` (x, y, value; limits: ends of the colours), `curves` (a panel for each value of hue; y: metrics, if
    not the usual four), `lines` (x, and y: a metric or several), `regimes` (x, y; rule: a name in `regimes.RULES`),
    `spread` (hue: misclassification of single examples), `scores` (value: one of `histograms.SCORES`; hue), `frontier`
    (metrics x and y, over: fields; x_where and y_where: which trainings each is of), `bits` (hue: bits memorized
    against parameters) or `emc` (x: a capacity; hue: how many training examples can be fitted).
    facet: a field, for a map up to two. epoch: draw the trainings as they were then. where: field -> the value, or the
    list of values, at which to hold it. title: the heading on the page, if not the figure's own.
    """

    kind: str
    x: str | None = None
    y: str | tuple[str, ...] | None = None
    value: str | None = None
    facet: tuple[str, ...] = ()
    hue: str | None = None
    epoch: int | None = None
    annotate: str | None = "auto"
    limits: tuple[float, float] | None = None
    rule: str = "relative"
    over: tuple[str, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    x_where: Mapping[str, Any] = field(default_factory=dict)
    y_where: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""

    @property
    def stem(self) -> str:
        """A file name: `heatmap_memorized_fraction_label_noise_by_parameter_count`."""
        vertical = [self.y] if isinstance(self.y, str) else [*(self.y or ())]
        axes = [self.y, "by", self.x] if self.kind in MAPS else ["by", self.x or self.hue]
        named = [self.value] if self.value else vertical if self.kind not in MAPS else []
        parts = [self.kind, *named, *(axes if axes[-1] else [])]
        return "_".join(str(part) for part in parts)

    @property
    def needs(self) -> Needs:
        """The part of a store that it is drawn from."""
        if self.kind != "heatmap" or self.value not in METRICS:
            return EVERYTHING
        axes = [str(name) for name in (self.x, self.y, *self.facet)]
        metrics = (self.value, *(name for name in axes if name == "parameters"))
        return Needs(metrics, self.epoch is None and "epoch" in axes, self.epoch)

    @property
    def measure(self) -> str | None:
        """What it needs of the table of examples."""
        if self.kind == "spread":
            return "correct"
        return SCORES[self.value].measure if self.kind == "scores" and self.value in SCORES else None


def parse_figures(given: object) -> list[FigureSpec]:
    """The figures of a sweep file: a list of mappings. Needs no data, so a sweep can be refused before it is trained.

    Raises AnalysisError with the key `figures` for an unknown kind or key, or a missing one.
    """
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise AnalysisError("figures", f"figures: given {type(given).__name__}; valid is a list of figures")
    return [_parse(index, item) for index, item in enumerate(given)]


def _parse(index: int, item: object) -> FigureSpec:
    at = f"figures[{index}]"
    if isinstance(item, FigureSpec):
        return item
    if not isinstance(item, Mapping):
        raise AnalysisError(at, f"{at}: given {type(item).__name__}; valid is a mapping with kind and its keys")
    kind = item.get("kind")
    if not isinstance(kind, str) or kind not in REQUIRED:
        raise unknown(f"{at}.kind", kind, REQUIRED)
    required, valid = REQUIRED[kind], (*COMMON, *REQUIRED[kind], *OPTIONAL[kind])
    for key in item:
        if key not in valid:
            raise unknown(at, key, valid)
    missing = [key for key in required if item.get(key) is None]
    if missing:
        raise AnalysisError(at, f"{at}: {kind} without {', '.join(missing)}; needed are {', '.join(required)}")
    where, x_where, y_where = (_held(at, item, key) for key in ("where", "x_where", "y_where"))
    _check_words(at, item)
    y, over = item.get("y"), item.get("over")
    known = {f.name for f in fields(FigureSpec)} - {"facet", "y", "over", "limits", "where", "x_where", "y_where"}
    return FigureSpec(
        **{key: value for key, value in item.items() if key in known},
        y=y if y is None or isinstance(y, str) else tuple(y),
        over=() if over is None else (over,) if isinstance(over, str) else tuple(over),
        facet=tuple(facet_names(item.get("facet"))),
        limits=_limits(at, item.get("limits")),
        where=where,
        x_where=x_where,
        y_where=y_where,
    )


def _limits(at: str, given: object) -> tuple[float, float] | None:
    if given is None:
        return None
    numbers = [n for n in given if isinstance(n, int | float)] if isinstance(given, list | tuple) else []
    if len(numbers) != 2 or given != [*numbers] or not numbers[0] < numbers[1]:
        raise AnalysisError(f"{at}.limits", f"{at}.limits: given {given}; valid are two numbers, the lower first")
    return float(numbers[0]), float(numbers[1])


def _held(at: str, item: Mapping[str, Any], key: str) -> dict[str, Any]:
    where = item.get(key) or {}
    if not isinstance(where, Mapping):
        raise AnalysisError(f"{at}.{key}", f"{at}.{key}: given {where}; valid is a mapping of fields to values")
    return dict(where)


def _check_words(at: str, item: Mapping[str, Any]) -> None:
    for key in ("x", "value", "hue", "title", "annotate", "rule"):
        if not isinstance(item.get(key), str | None):
            raise AnalysisError(f"{at}.{key}", f"{at}.{key}: given {item[key]}; valid is one word or name")
    for key in ("y", "facet", "over"):
        given = item.get(key)
        several = isinstance(given, list | tuple) and not (key == "y" and item["kind"] in (*MAPS, "frontier"))
        if not (given is None or isinstance(given, str) or (several and all(isinstance(name, str) for name in given))):
            raise AnalysisError(f"{at}.{key}", f"{at}.{key}: given {given}; valid is a name or a list of names")
    epoch = item.get("epoch")
    if epoch is not None and (isinstance(epoch, bool) or not isinstance(epoch, int)):
        raise AnalysisError(f"{at}.epoch", f"{at}.epoch: given {epoch}; valid is a whole number of epochs")


def draw(
    spec: FigureSpec,
    points: pd.DataFrame,
    curves: pd.DataFrame | None,
    chance: float | None = None,
    examples: pd.DataFrame | None = None,
) -> Picture:
    """The figure; its caption opens with what was held. examples: the per-example table, as far as `spec.measure` asks.

    Raises AnalysisError as the figure's own function does.
    """
    note = held(spec.where)
    chosen = select(points, spec.where)
    if spec.kind in ("spread", "scores"):
        single = NO_EXAMPLES if examples is None else examples
        if spec.kind == "spread":
            return spread_plot(chosen, single, spec.hue, epoch=spec.epoch, note=note)
        assert spec.value
        return histogram(chosen, single, spec.value, spec.hue, epoch=spec.epoch, note=note)
    if spec.kind == "bits":
        return bits_plot(chosen, spec.hue, chance=chance, note=note)
    if spec.kind == "emc":
        assert spec.x
        return emc_plot(chosen, spec.x, spec.hue, note=note)
    if spec.kind == "frontier":
        assert spec.x
        assert isinstance(spec.y, str)
        return frontier_plot(
            chosen, spec.x, spec.y, spec.over, x_where=spec.x_where, y_where=spec.y_where, note=note
        )  # fmt: skip
    if spec.kind == "regimes":
        assert spec.x
        assert isinstance(spec.y, str)
        return regime_map(
            chosen, spec.x, spec.y, rule=spec.rule, facet=spec.facet, epoch=spec.epoch, curves=curves, chance=chance,
            reference=points, note=note,
        )  # fmt: skip
    if spec.kind == "heatmap":
        assert spec.x
        assert isinstance(spec.y, str)
        assert spec.value
        return heatmap(
            chosen, spec.x, spec.y, spec.value, facet=spec.facet, epoch=spec.epoch, curves=curves,
            annotate=spec.annotate, chance=chance, limits=spec.limits, note=note,  # type: ignore[arg-type]
        )  # fmt: skip
    if len(spec.facet) > 1:
        raise AnalysisError("facet", f"facet: given {', '.join(spec.facet)}; {spec.kind} take one, beside hue")
    facet = spec.facet[0] if spec.facet else None
    if spec.kind == "curves":
        assert curves is not None
        of_these = curves[curves["trajectory_id"].isin(chosen["trajectory_id"])] if len(curves) else curves
        return curves_figure(with_missing(chosen, of_these), spec.hue, facet, y=spec.y, chance=chance, note=note)
    assert spec.x
    assert spec.y
    return line_plot(
        chosen, spec.x, spec.y, spec.hue, facet, epoch=spec.epoch, curves=curves, chance=chance, note=note
    )  # fmt: skip


def with_missing(points: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """The curves, and a row without data for every training that has none, so that its panel shows the gap."""
    absent = points[~points["trajectory_id"].isin(curves["trajectory_id"])].drop_duplicates("trajectory_id")
    if absent.empty or curves.empty:
        return curves
    rows = absent.reindex(columns=curves.columns).assign(epoch=int(curves["epoch"].min()))
    return pd.concat([curves, rows], ignore_index=True)


def held(where: Mapping[str, Any]) -> str:
    """What was held, in the order given: "At dropout 0.2, weight decay 0."."""
    parts = [
        settings(name, value if isinstance(value, list | tuple) else [value])
        for name, value in where.items()
        if name in AXES
    ]
    return joined(f"at {', '.join(parts)}") if parts else ""
