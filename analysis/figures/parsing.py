"""Parsing of a sweep file's figures into FigureSpecs.

Parsing needs neither data nor a plotting library. A figure that could never be drawn is therefore rejected before
anything is trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from analysis.errors import AnalysisError, unknown
from analysis.figures.kinds import KINDS, FigureSpec, Kind
from lightning_modules.errors import choices, quoted
from sweeps.errors import SweepError
from sweeps.spec.sweep import Sweep

MOST_FACETS = 2


def figures_of(sweep: Sweep) -> list[FigureSpec]:
    """Parse the figures that a sweep file requests.

    Raises:
        SweepError: A figure has an unknown kind, key or name, or lacks a key.
    """
    try:
        specs = parse_figures(sweep.figures)
    except AnalysisError as error:
        raise SweepError(sweep.source, "", str(error)) from None
    for index, spec in enumerate(specs):
        kind = KINDS[spec.kind]
        for key in (*kind.required, *kind.optional, "where"):
            names = [*_names(sweep.figures[index].get(key))]
            valid = kind.valid(key) if names else None  # some valid names lie in modules that import pandas
            for name in names:
                if valid is not None and name not in valid:
                    problem = f"unknown name; {choices(name, valid)}"
                    raise SweepError(sweep.source, f"figures[{index}].{key}", problem)
    return specs


def _names(given: object) -> Iterable[object]:
    return () if given is None else given if isinstance(given, Mapping | list | tuple) else (given,)


def parse_figures(given: object) -> list[FigureSpec]:
    """Parse figures from a list of mappings.

    Raises:
        AnalysisError: `given` is not a list of mappings, or a figure has an unknown kind or key or lacks a key.
    """
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise AnalysisError("figures", f"figures: given {type(given).__name__}; valid is a list of figures")
    return [_parse(f"figures[{index}]", item) for index, item in enumerate(given)]


def _parse(at: str, item: object) -> FigureSpec:
    if not isinstance(item, Mapping):
        raise AnalysisError(at, f"{at}: given {type(item).__name__}; valid is a mapping with kind and its keys")
    name = item.get("kind")
    if not isinstance(name, str) or name not in KINDS:
        raise unknown(f"{at}.kind", name, KINDS)
    kind = KINDS[name]
    for key in item:
        if key not in kind.keys:
            raise unknown(at, key, kind.keys)
    missing = [key for key in kind.required if item.get(key) is None]
    if missing:
        needed = ", ".join(kind.required)
        raise AnalysisError(at, f"{at}: {name} without {', '.join(missing)}; needed are {needed}")
    values = {key: _value(f"{at}.{key}", key, value, kind) for key, value in item.items()}
    _check_differ(at, kind, values)
    own = {field.name for field in fields(FigureSpec)}
    options = {key: values.pop(key) for key in [*values] if key not in own}
    return FigureSpec(**values, options=options)


def _check_differ(at: str, kind: Kind, values: Mapping[str, Any]) -> None:
    """Check that no field is given under two of the keys that divide the points."""
    keys = [key for key in ("x", *(["y"] if kind.over_fields else []), "hue", "facet") if values.get(key)]
    fields = [name for key in keys for name in ([values[key]] if isinstance(values[key], str) else values[key])]
    if len(set(fields)) < len(fields):
        raise AnalysisError(at, f"{at}: given {', '.join(fields)} for {', '.join(keys)}; valid: fields that all differ")


def _value(at: str, key: str, given: Any, kind: Kind) -> Any:
    """Convert the value of a key to the type that FigureSpec expects.

    Raises:
        AnalysisError: The value has a different type.
    """
    if key in ("where", "x_where", "y_where"):
        if not isinstance(given or {}, Mapping):
            raise AnalysisError(at, f"{at}: given {quoted(given)}; valid is a mapping of fields to values")
        return dict(given or {})
    if key in ("y", "facet", "over"):
        return _listed(at, key, given, kind)
    if key == "limits":
        return _limits(at, given)
    if key == "epoch":
        if given is not None and (isinstance(given, bool) or not isinstance(given, int)):
            raise AnalysisError(at, f"{at}: given {quoted(given)}; valid is a whole number of epochs")
    elif key in ("x", "value", "hue", "title", "annotate", "rule") and not isinstance(given, str | None):
        raise AnalysisError(at, f"{at}: given {quoted(given)}; valid is one word or name")
    return given


def _listed(at: str, key: str, given: Any, kind: Kind) -> Any:
    names = given if isinstance(given, list | tuple) and key in kind.list_keys else [given]
    if given is not None and not all(isinstance(name, str) for name in names):
        raise AnalysisError(at, f"{at}: given {quoted(given)}; valid is a name or a list of names")
    if key == "facet" and len(names) > MOST_FACETS:
        raise AnalysisError(
            at, f"{at}: given {len(names)} fields ({', '.join(names)}); valid are at most {MOST_FACETS}"
        )
    if key == "y":
        return given if isinstance(given, str | None) else tuple(given)
    return () if given is None else tuple(names)


def _limits(at: str, given: object) -> tuple[float, float] | None:
    if given is None:
        return None
    numbers = [n for n in given if isinstance(n, int | float)] if isinstance(given, list | tuple) else []
    if len(numbers) != 2 or given != [*numbers] or not numbers[0] < numbers[1]:
        raise AnalysisError(at, f"{at}: given {quoted(given)}; valid are two numbers, the lower first")
    return float(numbers[0]), float(numbers[1])
