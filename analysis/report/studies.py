"""Which figures a study has: as its sweep file asks, or chosen from the axes of its grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd

from analysis.captions import joined
from analysis.curves import curves_figure
from analysis.errors import AnalysisError, unknown
from analysis.frames import facet_names, levels, metric_values, select, varying
from analysis.heatmaps import heatmap
from analysis.lines import line_plot
from analysis.style import Picture
from analysis.words import AXES, settings

REQUIRED = {"heatmap": ("x", "y", "value"), "curves": (), "lines": ("x", "y")}
OPTIONAL = {
    "heatmap": ("facet", "epoch", "annotate"),
    "curves": ("hue", "facet"),
    "lines": ("hue", "facet", "epoch"),
}
COMMON = ("kind", "where", "title")

CAPACITY = ("parameter_count", "width")
NOISE = ("label_noise", "input_noise")
MAPPED = ("memorized_fraction", "test_accuracy", "train_accuracy")
MOST_FACETS = 4


@dataclass(frozen=True)
class FigureSpec:
    """One figure of a study.

    kind: `heatmap` (x, y, value), `curves` (a panel for each value of hue) or `lines` (x, and y: a metric or several).
    facet: a field, for a heatmap up to two. epoch: draw the trainings as they were then. where: field -> the value, or
    the list of values, at which to hold it. title: the heading on the page, if not the figure's own.
    """

    kind: str
    x: str | None = None
    y: str | tuple[str, ...] | None = None
    value: str | None = None
    facet: tuple[str, ...] = ()
    hue: str | None = None
    epoch: int | None = None
    annotate: str | None = "auto"
    where: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""

    @property
    def stem(self) -> str:
        """A file name: `heatmap_memorized_fraction_label_noise_by_parameter_count`."""
        measured = [self.value] if self.value else [self.y] if isinstance(self.y, str) else [*(self.y or ())]
        axes = [self.y, "by", self.x] if self.kind == "heatmap" else ["by", self.x or self.hue]
        parts = [self.kind, *(measured if self.kind != "curves" else []), *(axes if axes[-1] else [])]
        return "_".join(str(part) for part in parts)


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
    where = item.get("where") or {}
    if not isinstance(where, Mapping):
        raise AnalysisError(f"{at}.where", f"{at}.where: given {where}; valid is a mapping of fields to values")
    _check_words(at, item)
    y = item.get("y")
    known = {f.name for f in fields(FigureSpec)} - {"facet", "where", "y"}
    return FigureSpec(
        **{key: value for key, value in item.items() if key in known},
        y=y if y is None or isinstance(y, str) else tuple(y),
        facet=tuple(facet_names(item.get("facet"))),
        where=dict(where),
    )


def _check_words(at: str, item: Mapping[str, Any]) -> None:
    for key in ("x", "value", "hue", "title", "annotate"):
        if not isinstance(item.get(key), str | None):
            raise AnalysisError(f"{at}.{key}", f"{at}.{key}: given {item[key]}; valid is one word or name")
    for key in ("y", "facet"):
        given = item.get(key)
        several = isinstance(given, list | tuple) and not (key == "y" and item["kind"] == "heatmap")
        if not (given is None or isinstance(given, str) or (several and all(isinstance(name, str) for name in given))):
            raise AnalysisError(f"{at}.{key}", f"{at}.{key}: given {given}; valid is a name or a list of names")
    epoch = item.get("epoch")
    if epoch is not None and (isinstance(epoch, bool) or not isinstance(epoch, int)):
        raise AnalysisError(f"{at}.epoch", f"{at}.epoch: given {epoch}; valid is a whole number of epochs")


def draw(spec: FigureSpec, points: pd.DataFrame, curves: pd.DataFrame, chance: float | None = None) -> Picture:
    """The figure; its caption opens with what was held. Raises AnalysisError as the figure's own function does."""
    note = held(spec.where)
    chosen = select(points, spec.where)
    if spec.kind == "heatmap":
        assert spec.x
        assert isinstance(spec.y, str)
        assert spec.value
        return heatmap(
            chosen, spec.x, spec.y, spec.value, facet=spec.facet, epoch=spec.epoch, curves=curves,
            annotate=spec.annotate, chance=chance, note=note,  # type: ignore[arg-type]
        )  # fmt: skip
    if len(spec.facet) > 1:
        raise AnalysisError("facet", f"facet: given {', '.join(spec.facet)}; {spec.kind} take one, beside hue")
    facet = spec.facet[0] if spec.facet else None
    if spec.kind == "curves":
        of_these = curves[curves["trajectory_id"].isin(chosen["trajectory_id"])] if len(curves) else curves
        return curves_figure(with_missing(chosen, of_these), spec.hue, facet, chance=chance, note=note)
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


def default_figures(points: pd.DataFrame, curves: pd.DataFrame) -> list[FigureSpec]:
    """Heatmaps of what was memorized, tested and trained over the two longest numeric axes, capacity across; the errors
    along the capacity; learning curves by the noise.

    Further axes become facets (two at most, four values each); those beyond are held: `epochs` and capacity at their
    largest value, others at their first. With one numeric axis, lines take the place of heatmaps.
    """
    if points.empty:
        return []
    axes = varying(points)
    numeric = sorted(
        (name for name in axes if all(pd.api.types.is_number(v) or pd.isna(v) for v in levels(points, name))),
        key=lambda name: (-points[name].nunique(dropna=False), _rank(name)),
    )
    have = [m for m in MAPPED if m in points and (metric_values(points, m).notna().any() or _unfinished(points))]
    figures: list[FigureSpec] = []
    if len(numeric) >= 2:
        x, y = _oriented(numeric[0], numeric[1])
        facet, where = _others(points, [name for name in axes if name not in (x, y)], 2)
        figures += [FigureSpec("heatmap", x=x, y=y, value=m, facet=facet, where=where) for m in have]
    capacity = next((name for name in CAPACITY if name in numeric), None)
    along = capacity if capacity and points[capacity].nunique() >= 3 else numeric[0] if len(numeric) == 1 else None
    if along:
        hue = next((name for name in [*NOISE, *numeric] if name in numeric and name != along), None)
        rest = [name for name in axes if name not in (along, hue)]
        facet, where = _others(points, rest, 1)
        where |= _thinned(points, hue, 7)
        shown = ("test_error", "train_error") if capacity == along else tuple(have)
        if shown:
            figures.append(FigureSpec("lines", x=along, y=shown, hue=hue, facet=facet, where=where))
    if not curves.empty:
        hue = next((name for name in [*NOISE, *numeric, *axes] if name in axes and name != "epochs"), None)
        _, where = _others(points, [name for name in axes if name != hue], 0)
        where |= _thinned(points, hue, 8)
        figures.append(FigureSpec("curves", hue=hue, where=where))
    return figures


def _unfinished(points: pd.DataFrame) -> bool:
    return not (points["outcome"] == "finished").any()


def _rank(name: str) -> int:
    order = [*CAPACITY, *NOISE, "dataset_size"]
    return order.index(name) if name in order else len(order)


def _oriented(one: str, other: str) -> tuple[str, str]:
    """(x, y): capacity across, then training length and data; noise upwards."""
    across = [*CAPACITY, "epochs", "dataset_size", "", *reversed(NOISE)]
    first, second = sorted((one, other), key=lambda name: across.index(name if name in across else ""))
    return first, second


def _others(points: pd.DataFrame, rest: Sequence[str], most: int) -> tuple[tuple[str, ...], dict[str, Any]]:
    """What to do with the axes that a figure does not draw: facets, and the settings at which the others are held."""
    facet = [name for name in rest if name != "epochs"][:most]
    where: dict[str, Any] = {}
    for name in rest:
        found = levels(points, name)
        if name in facet:
            where |= _thinned(points, name, MOST_FACETS)
        else:
            # Unset sorts last and is no size.
            sized = [value for value in found if not pd.isna(value)] or found
            where[name] = _plain(sized[-1] if name in ("epochs", *CAPACITY) else found[0])
    return tuple(facet), where


def _thinned(points: pd.DataFrame, name: str | None, most: int) -> dict[str, Any]:
    """Evenly spread values of a field that has too many to draw; nothing if it has not."""
    if name is None or len(found := levels(points, name)) <= most:
        return {}
    return {name: [_plain(found[i]) for i in np.linspace(0, len(found) - 1, most).round().astype(int)]}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
