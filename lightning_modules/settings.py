"""The fields of a training. Each field declares its type, bounds, default, meaning, name in figures and planning rules.

`sweeps.spec.point.Point` is a `Settings` with an id. Every field is a Parquet column and can be a grid axis and a plot
axis. To add a field, add it to `Settings`, or call `memsweep.register_field` from your own code. The order of the
fields is the order of the columns in a store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Axis:
    """The name of a field, or of another axis of a figure, in texts, and the rules for the field in planning.

    Attributes:
        words: The name in a sentence.
        unit: The unit, which is appended to the name in a label.
        count: Whether the values are counts, which are written as "1.2k".
        unset: The word for a value that is not set.
        phrase: The format of one setting in words, if not "WORDS VALUE".
        problem: Whether the field is part of the problem that the practitioner is given, such as the data. All other
            fields can be searched over.
        stack: The values that trainings in one stack may have: "equal" (all the same), "on" (all zero or all above
            zero), or None (any).
        inert: Returns whether the field has no effect on a training with the given settings. Points that differ only in
            such a field share a training.
    """

    words: str
    unit: str = ""
    count: bool = False
    unset: str = "unset"
    phrase: str = ""
    problem: bool = False
    stack: Literal["equal", "on"] | None = None
    inert: Callable[[Mapping[str, Any]], bool] | None = None

    @property
    def label(self) -> str:
        return f"{self.words} ({self.unit})" if self.unit else self.words


def _number(value: Any) -> Any:
    """Refuse booleans and strings, which pydantic would silently convert to numbers."""
    if isinstance(value, bool | str):
        raise ValueError("must be a number")
    return value


def _positive_zero(value: float) -> float:
    return value + 0.0


Real = Annotated[float, BeforeValidator(_number), AfterValidator(_positive_zero), Field(allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_number), Field(lt=2**63)]
Fraction = Annotated[Real, Field(ge=0, le=1)]
Count = Annotated[Whole, Field(ge=1, le=10**9)]
"""A number of examples, epochs or updates."""
Strength = Annotated[Real, Field(ge=0, le=10**6)]
Text = Annotated[str, Field(min_length=1)]

LabelNoiseKind = Literal["uniform", "symmetric", "pair"]
InputNoiseKind = Literal["gaussian", "shuffled_pixels", "random_pixels"]
Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["constant", "step", "inverse_sqrt", "cosine"]
Precision = Literal["float32", "tf32", "bfloat16", "float64"]


class Settings(BaseModel):
    """The settings of one training, including its seed. Immutable; every field has a default.

    Raises:
        pydantic.ValidationError: A value has the wrong type or is out of range, or a field is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Annotated[Text, Axis("data set", problem=True, stack="equal")] = Field(
        "mnist1d",
        description="`mnist1d`, `mnist1d_16k`, `digits`, `clusters`, `parquet:PATH`, `hub:NAME` or "
        "`package.module:function`",
    )
    data_digest: Annotated[str, Axis("data digest", problem=True, stack="equal")] = Field(
        "", description="content hash of a data set from outside the package; memsweep fills it in"
    )
    dataset_size: Annotated[
        Count | None,
        Axis("training examples", count=True, unset="all", phrase="{} training examples", problem=True, stack="equal"),
    ] = Field(None, description="training examples, a nested class-stratified subset; unset: all")
    validation_fraction: Annotated[
        Real, Field(ge=0, lt=1), Axis("held out for validation", "fraction", problem=True, stack="equal")
    ] = Field(0.0, description="part of the training examples held out, with labels as noisy as the rest")
    subset_fraction: Annotated[
        Real, Field(gt=0, le=1), Axis("part of the examples seen", "fraction", problem=True, stack="equal")
    ] = Field(1.0, description="part of those that a training sees, drawn by its seed (Feldman and Zhang's subsets)")
    data_seed: Annotated[
        Annotated[Whole, Field(ge=0)] | None,
        Axis("data seed", unset="as the seed", problem=True, inert=lambda f: f["data_seed"] == f["seed"]),
    ] = Field(
        None, description="seed of the examples and of the noise, shared by trainings of other seeds; unset: `seed`"
    )
    complexity: Annotated[
        Whole,
        Field(ge=1, le=10**6),
        Axis(
            "sub-clusters per class", count=True, problem=True, stack="equal", inert=lambda f: f["data"] != "clusters"
        ),
    ] = Field(1, description="sub-clusters per class (`data: clusters`)")
    label_noise: Annotated[Fraction, Axis("label noise", "fraction", problem=True)] = Field(
        0.0, description="fraction of training labels redrawn"
    )
    label_noise_kind: Annotated[
        LabelNoiseKind, Axis("label noise kind", problem=True, inert=lambda f: f["label_noise"] == 0)
    ] = Field(
        "uniform", description="`uniform` over all classes, `symmetric` over the wrong ones, `pair`: the next class"
    )
    input_noise: Annotated[Fraction, Axis("input noise", "fraction", problem=True, stack="on")] = Field(
        0.0, description="fraction of training inputs replaced"
    )
    input_noise_kind: Annotated[
        InputNoiseKind, Axis("input noise kind", problem=True, inert=lambda f: f["input_noise"] == 0)
    ] = Field(
        "gaussian",
        description="`gaussian` of the data's mean and variance, `shuffled_pixels` (one permutation for all), "
        "`random_pixels` (one per example)",
    )

    rotation: Annotated[Real, Field(ge=0, le=180), Axis("rotation", "degrees", stack="on")] = Field(
        0.0, description="augmentation of images: random rotation up to this many degrees"
    )
    augment_noise: Annotated[Strength, Axis("augmentation noise", "standard deviation", stack="on")] = Field(
        0.0, description="augmentation: standard deviation of Gaussian noise added to every batch"
    )
    color_jitter: Annotated[Fraction, Axis("colour jitter", "strength", stack="on")] = Field(
        0.0, description="augmentation of images: random brightness and contrast (and saturation, with 3 channels)"
    )
    crop_flip: Annotated[Whole, Field(ge=0, le=10**4), Axis("crop and flip", "pixels of padding", stack="on")] = Field(
        0, description="augmentation of images: random crop after this much padding, in pixels, and horizontal flip"
    )
    shift: Annotated[Whole, Field(ge=0, le=10**6), Axis("shift", "samples", stack="on")] = Field(
        0, description="augmentation of signals: random circular shift up to this many samples"
    )
    scale: Annotated[Real, Field(ge=0, lt=1), Axis("gain jitter", "fraction", stack="on")] = Field(
        0.0, description="augmentation of signals: random gain in [1 - scale, 1 + scale]"
    )

    model: Annotated[Text, Axis("model", stack="equal")] = Field(
        "mlp",
        description="`linear`, `mlp`, `residual_mlp`, `convnet`, `resnet`, `transformer` or `package.module:function`",
    )
    model_digest: Annotated[str, Axis("model digest", stack="equal")] = Field(
        "", description="hash of the code of a model from outside the package; memsweep fills it in"
    )
    parameter_count: Annotated[
        Annotated[Whole, Field(ge=1, le=10**12)] | None,
        Axis("parameters", count=True, unset="by width", phrase="{} parameters"),
    ] = Field(None, description="parameters wanted: the width that comes nearest is trained, within 10 %")
    width: Annotated[
        Annotated[Whole, Field(ge=1, le=10**6)] | None,
        Axis("width", "units or channels", count=True, unset="by parameters", stack="equal"),
    ] = Field(None, description="units or channels of a layer; the direct form of parameter_count")
    depth: Annotated[
        Annotated[Whole, Field(ge=1, le=1000)] | None, Axis("depth", "layers", unset="default", stack="equal")
    ] = Field(None, description="hidden layers or blocks; unset: the model family's default")
    dropout: Annotated[
        Real, Field(ge=0, lt=1), Axis("dropout", "probability", stack="on", inert=lambda f: f["model"] == "linear")
    ] = Field(0.0, description="probability that a hidden activation is zeroed during training")

    optimizer: Annotated[Optimizer, Axis("optimizer", stack="equal")] = Field("sgd", description="`sgd` or `adamw`")
    learning_rate: Annotated[Real, Field(gt=0, le=10**6), Axis("learning rate")] = Field(
        0.01, description="learning rate before the schedule"
    )
    momentum: Annotated[Real, Field(ge=0, lt=1), Axis("momentum", inert=lambda f: f["optimizer"] != "sgd")] = Field(
        0.9, description="heavy-ball momentum of `sgd`"
    )
    weight_decay: Annotated[Strength, Axis("weight decay")] = Field(
        0.0, description="L2 penalty with `sgd`, decoupled decay with `adamw`"
    )
    lr_schedule: Annotated[Schedule, Axis("learning-rate schedule")] = Field(
        "constant", description="`constant`, `step`, `inverse_sqrt` or `cosine`"
    )
    lr_decay_epochs: Annotated[
        Count, Axis("decay every", "epochs", count=True, inert=lambda f: f["lr_schedule"] != "step")
    ] = Field(15, description="`step`: epochs between two decays")
    lr_decay_factor: Annotated[
        Real, Field(gt=0, le=1), Axis("decay factor", inert=lambda f: f["lr_schedule"] != "step")
    ] = Field(0.5, description="`step`: factor of each decay")
    lr_decay_updates: Annotated[
        Count,
        Axis("decay scale", "updates", count=True, inert=lambda f: f["lr_schedule"] != "inverse_sqrt"),
    ] = Field(512, description="`inverse_sqrt`: rate / sqrt(1 + floor(update / this))")
    batch_size: Annotated[Count, Axis("batch size", "examples", count=True, stack="equal")] = Field(
        128, description="examples in an update"
    )
    epochs: Annotated[
        Whole, Field(ge=0, lt=2**31), Axis("training length", "epochs", count=True, phrase="{} epochs", stack="equal")
    ] = Field(20, description="passes over the training set")
    precision: Annotated[Precision, Axis("precision", stack="equal")] = Field(
        "float32",
        description="`float32`; `tf32`: its matrix products and convolutions in TF32, on GPUs alone; `bfloat16`: these "
        "products in bfloat16, parameters and losses in float32; `float64`",
    )
    seed: Annotated[Whole, Field(ge=0), Axis("seed")] = Field(
        0, description="initialisation, order, noise, dropout and augmentation all derive from it"
    )


FIELDS: dict[str, Axis] = {}
"""Every field by name, in the order of the columns of a store."""
DEFAULTS: dict[str, Any] = {}
"""The default of every field."""
SORTED_DEFAULTS: list[tuple[str, Any]] = []
"""`DEFAULTS` sorted by name, which is the order of the canonical form from which ids are hashed."""
INERT: dict[str, Callable[[Mapping[str, Any]], bool]] = {}
"""`Axis.inert` of the fields that have one."""
EQUAL_IN_STACK: list[str] = []
ON_IN_STACK: list[str] = []
"""The fields whose `Axis.stack` is "on". `EQUAL_IN_STACK` lists the fields for which it is "equal"."""


def _index() -> None:
    """Update the tables above. They are modified in place, because other modules have references to them."""
    for table in (FIELDS, DEFAULTS, INERT):
        table.clear()
    for name, info in Settings.model_fields.items():
        axis = FIELDS[name] = next(part for part in info.metadata if isinstance(part, Axis))
        DEFAULTS[name] = info.default
        if axis.inert is not None:
            INERT[name] = axis.inert
    SORTED_DEFAULTS[:] = sorted(DEFAULTS.items())
    EQUAL_IN_STACK[:] = [name for name, axis in FIELDS.items() if axis.stack == "equal"]
    ON_IN_STACK[:] = [name for name, axis in FIELDS.items() if axis.stack == "on"]


def problem_fields() -> tuple[str, ...]:
    """Return the fields that define a problem, which the practitioner is given. All other fields are searched over."""
    return tuple(name for name, axis in FIELDS.items() if axis.problem)


def add_field(name: str, annotation: Any, default: Any, description: str, axis: Axis) -> None:
    """Add a field to every training. See `memsweep.register_field`, which calls this.

    Raises:
        ValueError: The name is taken or is not an identifier, or the default is not valid.
    """
    if name in FIELDS:
        raise ValueError(f"field {name!r} is registered already")
    if not name.isidentifier() or any(hasattr(kind, name) for kind in _kinds()):
        raise ValueError(f"given {name!r}; a field's name is an identifier that is no attribute of a training")
    kind: Any = Annotated[annotation, axis]
    info = FieldInfo.from_annotated_attribute(kind, Field(default, description=description))
    _rebuild({**Settings.model_fields, name: info})
    try:
        Settings(**{name: default})
    except ValueError as error:
        _rebuild({key: value for key, value in Settings.model_fields.items() if key != name})
        raise ValueError(f"the default of field {name!r} is not valid: {error}") from None


def _kinds() -> tuple[type[Settings], ...]:
    return Settings, *Settings.__subclasses__()


def _rebuild(fields: Mapping[str, FieldInfo]) -> None:
    """Set the fields of `Settings` and its subclasses, and rebuild the pydantic models."""
    for kind in _kinds():
        kind.__pydantic_fields__.clear()
        kind.__pydantic_fields__.update(fields)
        kind.model_rebuild(force=True)
    _index()


_index()
