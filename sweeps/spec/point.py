"""Point: one cell of the grid with one seed, and its id.

A Point is flat, so that every field is a grid axis, a Parquet column and a plot axis alike. Its id is a hash of the
fields that differ from their defaults, so a field added later changes no id that exists.

Adding a field: give it a default and a description (docs/fields.md is generated from both), and if it does nothing
under some setting of another field, say so in `INERT`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator


def _number(value: Any) -> Any:
    """Refuse what pydantic would turn into a number behind the user's back."""
    if isinstance(value, bool | str):
        raise ValueError("must be a number")
    return value


def _positive_zero(value: float) -> float:
    return value + 0.0


Real = Annotated[float, BeforeValidator(_number), AfterValidator(_positive_zero), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_number), Field(lt=2**63)]
Fraction = Annotated[Real, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]

LabelNoiseKind = Literal["uniform", "symmetric", "pair"]
InputNoiseKind = Literal["gaussian", "shuffled_pixels", "random_pixels"]
Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["constant", "step", "inverse_sqrt", "cosine"]
Precision = Literal["float32", "float64"]

HORIZON_SCHEDULES = frozenset({"cosine"})
"""Schedules whose learning rate at a step depends on how many epochs there will be: their trainings do not fold."""


class Point(BaseModel):
    """One training setting and its seed. Immutable; every field has a default.

    Raises pydantic.ValidationError for a wrong type, a value out of range, or fields that contradict each other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Text = Field(
        "mnist1d",
        description="`mnist1d`, `mnist1d_16k`, `digits`, `clusters`, `parquet:PATH`, `hub:NAME` or "
        "`package.module:function`",
    )
    data_digest: str = Field(
        "", description="content hash of a data set from outside the package; memsweep fills it in"
    )
    dataset_size: Annotated[Whole, Field(ge=1)] | None = Field(
        None, description="training examples, a nested class-stratified subset; unset: all"
    )
    validation_fraction: Annotated[Real, Field(ge=0, lt=1)] = Field(
        0.0, description="part of the training examples held out, with labels as noisy as the rest"
    )
    subset_fraction: Annotated[Real, Field(gt=0, le=1)] = Field(
        1.0, description="part of those that a training sees, drawn by its seed (Feldman and Zhang's subsets)"
    )
    data_seed: Annotated[Whole, Field(ge=0)] | None = Field(
        None, description="seed of the examples and of the noise, shared by trainings of other seeds; unset: `seed`"
    )
    complexity: Annotated[Whole, Field(ge=1)] = Field(1, description="sub-clusters per class (`data: clusters`)")
    label_noise: Fraction = Field(0.0, description="fraction of training labels redrawn")
    label_noise_kind: LabelNoiseKind = Field(
        "uniform", description="`uniform` over all classes, `symmetric` over the wrong ones, `pair`: the next class"
    )
    input_noise: Fraction = Field(0.0, description="fraction of training inputs replaced")
    input_noise_kind: InputNoiseKind = Field(
        "gaussian",
        description="`gaussian` of the data's mean and variance, `shuffled_pixels` (one permutation for all), "
        "`random_pixels` (one per example)",
    )

    rotation: Annotated[Real, Field(ge=0, le=180)] = Field(
        0.0, description="augmentation of images: random rotation up to this many degrees"
    )
    augment_noise: Annotated[Real, Field(ge=0)] = Field(
        0.0, description="augmentation: standard deviation of Gaussian noise added to every batch"
    )
    color_jitter: Fraction = Field(
        0.0, description="augmentation of images: random brightness and contrast (and saturation, with 3 channels)"
    )
    crop_flip: Annotated[Whole, Field(ge=0)] = Field(
        0, description="augmentation of images: random crop after this much padding, in pixels, and horizontal flip"
    )
    shift: Annotated[Whole, Field(ge=0)] = Field(
        0, description="augmentation of signals: random circular shift up to this many samples"
    )
    scale: Annotated[Real, Field(ge=0, lt=1)] = Field(
        0.0, description="augmentation of signals: random gain in [1 - scale, 1 + scale]"
    )

    model: Text = Field(
        "mlp",
        description="`linear`, `mlp`, `residual_mlp`, `convnet`, `resnet`, `transformer` or `package.module:function`",
    )
    model_digest: str = Field(
        "", description="hash of the code of a model from outside the package; memsweep fills it in"
    )
    parameter_count: Annotated[Whole, Field(ge=1)] | None = Field(
        None, description="parameters wanted: the width that comes nearest is trained, within 10 %"
    )
    width: Annotated[Whole, Field(ge=1)] | None = Field(
        None, description="units or channels of a layer; the direct form of parameter_count"
    )
    depth: Annotated[Whole, Field(ge=1)] | None = Field(
        None, description="hidden layers or blocks; unset: the model family's default"
    )
    dropout: Annotated[Real, Field(ge=0, lt=1)] = Field(
        0.0, description="probability that a hidden activation is zeroed during training"
    )

    optimizer: Optimizer = Field("sgd", description="`sgd` or `adamw`")
    learning_rate: Annotated[Real, Field(gt=0)] = Field(0.01, description="learning rate before the schedule")
    momentum: Annotated[Real, Field(ge=0, lt=1)] = Field(0.9, description="heavy-ball momentum of `sgd`")
    weight_decay: Annotated[Real, Field(ge=0)] = Field(
        0.0, description="L2 penalty with `sgd`, decoupled decay with `adamw`"
    )
    lr_schedule: Schedule = Field("constant", description="`constant`, `step`, `inverse_sqrt` or `cosine`")
    lr_decay_epochs: Annotated[Whole, Field(ge=1)] = Field(15, description="`step`: epochs between two decays")
    lr_decay_factor: Annotated[Real, Field(gt=0, le=1)] = Field(0.5, description="`step`: factor of each decay")
    lr_decay_updates: Annotated[Whole, Field(ge=1)] = Field(
        512, description="`inverse_sqrt`: rate / sqrt(1 + floor(update / this))"
    )
    batch_size: Annotated[Whole, Field(ge=1)] = Field(128, description="examples in an update")
    epochs: Annotated[Whole, Field(ge=0, lt=2**31)] = Field(20, description="passes over the training set")
    precision: Precision = Field("float32", description="`float32` or `float64`")
    seed: Annotated[Whole, Field(ge=0)] = Field(
        0, description="initialisation, order, noise, dropout and augmentation all derive from it"
    )

    @model_validator(mode="after")
    def _agrees(self) -> Point:
        problem = contradiction(self)
        if problem:
            raise ValueError(f"{problem[0]}: {problem[1]}")
        return self

    @property
    def id(self) -> str:
        """20 hexadecimal digits: the hash of the canonical form."""
        return digest(self.canonical())

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


FIELDS: tuple[str, ...] = tuple(Point.model_fields)
DEFAULTS: dict[str, Any] = {name: field.default for name, field in Point.model_fields.items()}
_SORTED_DEFAULTS = sorted(DEFAULTS.items())

INERT: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "label_noise_kind": lambda f: f["label_noise"] == 0,
    "input_noise_kind": lambda f: f["input_noise"] == 0,
    "data_seed": lambda f: f["data_seed"] == f["seed"],
    "complexity": lambda f: f["data"] != "clusters",
    "momentum": lambda f: f["optimizer"] != "sgd",
    "lr_decay_epochs": lambda f: f["lr_schedule"] != "step",
    "lr_decay_factor": lambda f: f["lr_schedule"] != "step",
    "dropout": lambda f: f["model"] == "linear",
    "lr_decay_updates": lambda f: f["lr_schedule"] != "inverse_sqrt",
}
"""When a field changes nothing about the training: points that differ in it alone are one trajectory."""


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


@lru_cache(maxsize=65536)
def _item(name: str, kind: str, value: Any) -> str:
    # `kind` keeps 1 and 1.0, which are equal and hash alike, apart in the cache.
    return f"{json.dumps(name)}:{json.dumps(value)}"


def canonical_form(fields: Mapping[str, Any]) -> str:
    """JSON of the fields off their defaults; a data set from outside is named by its content, not its path."""
    items = []
    for name, default in _SORTED_DEFAULTS:
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
