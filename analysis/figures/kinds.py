"""Registry of the kinds of figures that a sweep file can request. The module imports no plotting library.

To add a kind, add an entry to `_KINDS`, or call `register_figure` from other code.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from analysis.figures.names import ANNOTATIONS, SCORES, hues
from analysis.words import AXES, CAPACITY, METRICS
from lightning_modules.settings import FIELDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.figures.style import Picture
    from analysis.tables.frames import Needs

COMMON = ("kind", "where", "title")
"""The keys that every figure can have."""

NAMES: Mapping[str, Collection[str]] = {
    "x": AXES,
    "y": METRICS,
    "value": METRICS,
    "facet": AXES,
    "hue": AXES,
    "over": FIELDS,
    "where": AXES,
    "x_where": AXES,
    "y_where": AXES,
}
"""The valid names under each key, unless a kind overrides them."""


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    Attributes:
        draw: The function that draws the figure, or "module:function", which is imported when the first figure is
            drawn. The function gets keyword arguments only: every key of `required` and `optional`, everything in
            `takes`, and `note`, the first sentence of the caption. It returns a `style.Picture`.
        required: The required keys in a sweep file, besides COMMON.
        optional: The optional keys in a sweep file.
        takes: The data that the function needs: `points` (one row per point, selected by `where`), `reference` (all
            points), `curves` (all curves), `examples` (the measure `measure` of single examples) and `chance` (the
            accuracy of guessing).
        list_keys: The keys whose value may be a list of names.
        names: For each key whose valid names differ from NAMES: the names, a function that returns them, or
            "module:attribute".
        measure: A function that returns the per-example measure that a figure needs, or None.
        needs: A function that returns the part of a store that a figure needs, or None if figures need everything.
    """

    name: str
    draw: str | Callable[..., Picture | Axes]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    takes: tuple[str, ...] = ("points",)
    list_keys: tuple[str, ...] = ("facet", "over")
    names: Mapping[str, Collection[str] | Callable[[], Collection[str]] | str] = field(default_factory=dict)
    measure: Callable[[FigureSpec], str | None] = lambda spec: None
    needs: Callable[[FigureSpec], Needs] | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        return (*COMMON, *self.required, *self.optional)

    @property
    def over_fields(self) -> bool:
        """Whether y is a field, not a metric."""
        return self.names.get("y") is AXES

    def valid(self, key: str) -> Collection[str] | None:
        """Return the valid names under a key, or None if the value of the key is not a name."""
        names = self.names.get(key, NAMES.get(key))
        valid: Any = resolve_name(names) if isinstance(names, str) else names
        return valid() if callable(valid) else valid

    @property
    def function(self) -> Callable[..., Picture | Axes]:
        """The function that draws the figure."""
        function: Callable[..., Picture | Axes] = resolve_name(self.draw) if isinstance(self.draw, str) else self.draw
        return function


@dataclass(frozen=True)
class FigureSpec:
    """One figure of a study: its kind, and the values of the kind's keys.

    Attributes:
        kind: The name of the kind.
        x: A field or metric, depending on the kind.
        y: A field or metric, depending on the kind; `curves` and `lines` take several metrics.
        value: A metric, or a name in `names.SCORES`.
        facet: The fields with one panel per value.
        hue: The field with one line per value.
        epoch: The epoch to draw; if None, the default of the kind.
        annotate: The number in each cell.
        limits: The ends of the colour scale.
        rule: A name in `regimes.RULES`.
        over: The fields, with one line per field.
        where: Maps each fixed field to its value or list of values.
        x_where: The settings of the points that give x.
        y_where: The settings of the points that give y.
        title: The heading on the page; by default, the heading of the picture.
        options: The values of all other keys, which belong to registered kinds.
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
    options: Mapping[str, Any] = field(default_factory=dict)

    def value_of(self, key: str) -> Any:
        """Return the value of a key of the figure's kind."""
        return getattr(self, key) if key in self.__dataclass_fields__ else self.options.get(key)

    @property
    def stem(self) -> str:
        """The file name without suffix, such as `heatmap_memorized_fraction_label_noise_by_parameter_count`."""
        vertical = [self.y] if isinstance(self.y, str) else [*(self.y or ())]
        over_fields = KINDS[self.kind].over_fields
        axes = [self.y, "by", self.x] if over_fields else ["by", self.x or self.hue]
        named = [self.value] if self.value else [] if over_fields else vertical
        parts = [self.kind, *named, *(axes if axes[-1] else [])]
        return "_".join(str(part) for part in parts)

    @property
    def measure(self) -> str | None:
        """The per-example measure that the figure needs, or None."""
        return KINDS[self.kind].measure(self)

    @property
    def needs(self) -> Needs:
        """The part of a store that the figure needs."""
        from analysis.tables.frames import EVERYTHING

        needs = KINDS[self.kind].needs
        return needs(self) if needs else EVERYTHING


def _needs_of_heatmap(spec: FigureSpec) -> Needs:
    from analysis.tables.frames import EVERYTHING, Needs

    if spec.value is None or spec.value not in METRICS:
        return EVERYTHING
    axes = [str(name) for name in (spec.x, spec.y, *spec.facet)]
    metrics = (spec.value, *(name for name in axes if name == "parameters"))
    return Needs(metrics, spec.epoch is None and "epoch" in axes, spec.epoch)


_KINDS = (
    Kind(
        "heatmap", "analysis.figures.heatmaps:heatmap", ("x", "y", "value"), ("facet", "epoch", "annotate", "limits"),
        ("points", "curves", "chance"), names={"y": AXES, "annotate": ANNOTATIONS}, needs=_needs_of_heatmap,
    ),
    Kind(
        "curves", "analysis.figures.curves:curves_figure", (), ("y", "hue", "facet"), ("curves", "points", "chance"),
        list_keys=("y", "facet"),
    ),
    Kind(
        "lines", "analysis.figures.lines:line_plot", ("x", "y"), ("hue", "facet", "epoch"),
        ("points", "curves", "chance"), list_keys=("y", "facet"),
    ),
    Kind(
        "regimes", "analysis.figures.regime_maps:regime_map", ("x", "y"), ("facet", "epoch", "rule"),
        ("points", "curves", "chance", "reference"), names={"y": AXES, "rule": "analysis.statistics.regimes:RULES"},
    ),
    Kind(
        "spread", "analysis.figures.spread:spread_plot", (), ("hue", "epoch"), ("points", "examples"),
        measure=lambda spec: "correct",
    ),
    Kind(
        "scores", "analysis.figures.histograms:histogram", ("value",), ("hue", "epoch"), ("points", "examples"),
        names={"value": SCORES}, measure=lambda spec: SCORES[spec.value].measure if spec.value in SCORES else None,
    ),
    Kind(
        "frontier", "analysis.figures.frontier:frontier_plot", ("x", "y", "over"), ("x_where", "y_where"),
        names={"x": METRICS},
    ),
    Kind("bits", "analysis.figures.bits:bits_plot", (), ("hue",), ("points", "chance")),
    Kind("emc", "analysis.figures.emc:emc_plot", ("x",), ("hue",), names={"x": CAPACITY, "hue": hues}),
)  # fmt: skip

KINDS: dict[str, Kind] = {kind.name: kind for kind in _KINDS}
"""All kinds by name."""


def register_figure(kind: Kind) -> None:
    """Add a kind of figure, replacing any kind of the same name."""
    KINDS[kind.name] = kind
