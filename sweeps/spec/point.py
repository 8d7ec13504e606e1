"""Point: one cell of the grid with one seed, and its id.

Its fields are those of `lightning_modules.settings.Settings`. Its id is a hash of the fields that differ from their
defaults, so a field added later changes no id that exists.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Annotated, Any

from pydantic import TypeAdapter, model_validator

from lightning_modules.hashing import hash_of_text
from lightning_modules.settings import DEFAULTS, INERT, SORTED_DEFAULTS, Settings

HORIZON_SCHEDULES = frozenset({"cosine"})
"""Schedules whose learning rate at a step depends on how many epochs there will be: their trainings do not fold."""


class Point(Settings):
    """One training setting and its seed, with an id.

    Raises pydantic.ValidationError for a wrong type, a value out of range, or fields that contradict each other.
    """

    @model_validator(mode="after")
    def _agrees(self) -> Point:
        problem = contradiction(self)
        if problem:
            raise ValueError(f"{problem[0]}: {problem[1]}")
        return self

    @property
    def id(self) -> str:
        """20 hexadecimal digits: the hash of the canonical form."""
        return hash_of_text(self.canonical())

    def canonical(self) -> str:
        """The fields that differ from their defaults, as JSON sorted by name."""
        return canonical_form(self.__dict__)

    def with_(self, **changes: Any) -> Point:
        """A copy with other values, which must already be of the fields' types: 1 µs against 20 for validation.

        As pydantic unpickles: its own `model_copy` keeps a set of names a copy, 70 MB for 100,000 points.
        """
        copy = Point.__new__(Point)
        copy.__setstate__(
            {
                "__dict__": {**self.__dict__, **changes},
                "__pydantic_fields_set__": self.__pydantic_fields_set__,
                "__pydantic_extra__": None,
                "__pydantic_private__": None,
            }
        )
        return copy


def contradiction(point: Point) -> tuple[str, str] | None:
    """Check for fields that contradict each other. Returns (the key to blame, the reason), or None."""
    if point.width is not None and point.parameter_count is not None:
        return "parameter_count", (
            f"given {point.parameter_count} together with width {point.width}; give one of the two"
        )
    if point.lr_schedule in HORIZON_SCHEDULES and point.epochs == 0:
        return "epochs", f"given 0 with lr_schedule {point.lr_schedule}, which needs at least 1"
    return None


@lru_cache(maxsize=65536)
def _item(name: str, kind: str, value: Any) -> str:
    # `kind` keeps 1 and 1.0, which are equal and hash alike, apart in the cache.
    return f"{json.dumps(name)}:{json.dumps(value)}"


def canonical_form(fields: Mapping[str, Any]) -> str:
    """JSON of the fields off their defaults; a data set from outside is named by its content, not its path."""
    items = []
    for name, default in SORTED_DEFAULTS:
        value = fields[name]
        if value is default:  # as most are: faster than to compare them
            continue
        if value != default and not (name == "data" and fields["data_digest"]):
            items.append(_item(name, type(value).__name__, value))
    return "{" + ",".join(items) + "}"


def training_form(point: Point) -> str:
    """The canonical form of a training: inert fields at their defaults, and the horizon only where it matters."""
    fields = dict(point.__dict__)
    for name, is_inert in INERT.items():
        if is_inert(fields):
            fields[name] = DEFAULTS[name]
    if point.lr_schedule not in HORIZON_SCHEDULES:
        fields["epochs"] = DEFAULTS["epochs"]
    return canonical_form(fields)


def validate_value(name: str, value: Any) -> Any:
    """The value coerced to the field's type. Raises pydantic.ValidationError."""
    return _adapter(name).validate_python(value)


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    info = Point.model_fields[name]
    kind: Any = info.annotation
    for constraint in info.metadata:
        kind = Annotated[kind, constraint]
    return TypeAdapter(kind)


@cache
def valid_values(name: str) -> str:
    """In words, what a field may be: 'a number from 0 to 1', 'a whole number of at least 1 or null', ..."""
    schema = Point.model_json_schema()["properties"][name]
    options = schema.get("anyOf", [schema])
    return " or ".join(_words(option) for option in options)


def _words(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(schema["enum"])
    kind = {"number": "a number", "integer": "a whole number", "string": "text", "null": "null"}[schema["type"]]
    # Behind a validator of one's own, pydantic writes its names of the bounds instead of JSON schema's.
    low, above = schema.get("minimum", schema.get("ge")), schema.get("exclusiveMinimum", schema.get("gt"))
    high, below = schema.get("maximum", schema.get("le")), schema.get("exclusiveMaximum", schema.get("lt"))
    if below == 2**63:  # what a 64-bit integer holds: no bound that anybody meets
        below = None
    bounds = []
    if above is not None:
        bounds.append(f"above {above:g}")
    if low is not None:
        bounds.append(f"of at least {low:g}")
    if below is not None:
        bounds.append(f"below {below:,}")
    if high is not None:
        bounds.append(f"at most {high:g}")
    return " ".join([kind, " and ".join(bounds)]).strip()
