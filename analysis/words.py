"""How fields and metrics are called in a picture, and how their values are written."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, SupportsFloat

from lightning_modules.settings import FIELDS, Axis

Direction = Literal["higher", "lower"] | None


@dataclass(frozen=True)
class Metric:
    """What a measured column means.

    words: for a sentence. unit: of the drawn number, which is the stored one times `scale`. limits: of the drawn
    number, and of its colours; None where they depend on the data. better: which end is better, None where neither is.
    complement: the column this is one minus. chance: whether guessing has a level on this scale.
    """

    words: str
    unit: str
    scale: float = 1.0
    limits: tuple[float, float] | None = None
    better: Direction = None
    colormap: str = "viridis"
    complement: str | None = None
    chance: bool = False

    @property
    def label(self) -> str:
        return f"{self.words} ({self.unit})" if self.unit else self.words

    @property
    def difference_unit(self) -> str:
        return {"%": "points", "0 to 1": ""}.get(self.unit, self.unit)


def _share(
    words: str, better: Direction, colormap: str = "viridis", complement: str | None = None, chance: bool = False
) -> Metric:
    return Metric(words, "%", 100.0, (0.0, 100.0), better, colormap, complement, chance)


METRICS: dict[str, Metric] = {
    "train_loss": Metric("training loss", "nats", better="lower", colormap="cividis"),
    "train_accuracy": _share("training accuracy, labels as given", None),
    "test_loss": Metric("test loss", "nats", better="lower", colormap="cividis"),
    "test_accuracy": _share("clean test accuracy", "higher", chance=True),
    "clean_accuracy": _share("accuracy on uncorrupted training examples", "higher", chance=True),
    "memorized_fraction": _share("corrupted labels memorized", "lower", "rocket_r"),
    "recovered_fraction": _share("corrupted labels recovered", "higher", "mako", chance=True),
    "bits_memorized": Metric("memorized information", "bits", colormap="cividis"),
    "validation_loss": Metric("validation loss", "nats", better="lower", colormap="cividis"),
    "validation_accuracy": _share("validation accuracy, labels as noisy as training", "higher"),
    "other_fraction": _share("corrupted labels answered otherwise, neither given nor true", None),
    "clean_loss": Metric("loss on uncorrupted training examples", "nats", better="lower", colormap="cividis"),
    "corrupted_loss": Metric("loss on corrupted training examples, labels as given", "nats", colormap="cividis"),
    "weight_norm": Metric("L2 norm of the weights", "", colormap="cividis"),
    "generalization_gap": Metric(
        "training minus clean test accuracy", "points", 100.0, (-100.0, 100.0), "lower", colormap="vlag"
    ),
    "best_test_accuracy": _share("best clean test accuracy of the training", "higher", chance=True),
    "best_validation_accuracy": _share("best validation accuracy of the training", "higher"),
    "epochs_to_90": Metric("first evaluated epoch with 90 % training accuracy", "epochs", colormap="cividis"),
    "epochs_to_100": Metric("first evaluated epoch with 100 % training accuracy", "epochs", colormap="cividis"),
    "critical_sample_ratio": _share("critical samples", "lower", "rocket_r"),
    "critical_sample_ratio_wide": _share("critical samples, box ten times as wide", "lower", "rocket_r"),
    "input_gradient_norm": Metric("input gradient, L1 norm", "nats per unit of input", colormap="cividis"),
    "input_gradient_gini": Metric("Gini of input gradients over examples", "0 to 1", limits=(0.0, 1.0)),
    "loss_sensitivity": Metric("loss sensitivity, L1 norm", "nats per unit of input", colormap="cividis"),
    "loss_sensitivity_gini": Metric("Gini of loss sensitivity over examples", "0 to 1", limits=(0.0, 1.0)),
    "forgetting_events": Metric("forgetting events per learned example", "events", colormap="cividis"),
    "never_learned": _share("training examples never learned", None),
    "unforgettable": _share("training examples learned and never forgotten", None),
    "cumulative_loss": Metric("loss summed over epochs, mean example", "nats", better="lower", colormap="cividis"),
    "correct_fraction": _share("training examples answered as labelled, left-out ones too", None),
    "left_out_accuracy": _share("accuracy on left-out examples, labels as given", "higher"),
    "train_error": _share("training error, labels as given", None, "cividis", "train_accuracy"),
    "test_error": _share("clean test error", "lower", "cividis", "test_accuracy"),
}
"""Every value that can be drawn; those with a complement are computed, the rest are columns."""


CAPACITY = ("parameters", "parameter_count", "width")
"""The axes that say how large a network is."""

AXES: Mapping[str, Axis] = ChainMap(
    {
        "parameters": Axis("parameters", count=True, unset="not built", phrase="{} parameters"),
        "epoch": Axis("epoch", count=True),
        "randomization": Axis("training data", phrase="{}"),
    },
    FIELDS,  # in a ChainMap the names of the last mapping come first
)
"""What can be an axis: the fields, the parameters a model really has, the epoch of a measurement, and what of the data
is random (`randomization.with_randomization`)."""


def _number(value: float, count: bool, digits: int) -> str:
    if not count or abs(value) < 1000:
        return f"{value:.{max(digits, 3)}g}".replace("e-0", "e-")
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 999,950 is 1M and not 1000k.
        if float(f"{abs(value):.{digits}g}") >= size:
            text = f"{value / size:.{digits}g}"
            return (text if "e" not in text else f"{value / size:.0f}") + suffix
    return f"{value:.{digits}g}"


def _text(field: str, value: object, digits: int) -> str:
    axis = AXES[field]
    if is_unset(value):
        return axis.unset
    if isinstance(value, SupportsFloat):
        return _number(float(value), axis.count, digits)
    text = str(value)
    # Paths and hub names are told apart by their end.
    return text if len(text) <= 24 else "…" + text[-23:]


def is_unset(value: object) -> bool:
    """Whether a setting was left to its default: None, NaN or pandas' NA, which is not imported for it."""
    return value is None or type(value).__name__ == "NAType" or value != value


def value_labels(field: str, values: Sequence[object]) -> list[str]:
    """The values as short tick labels ("0.3", "1.2k", "all"), with just enough digits to keep them apart."""
    for digits in range(2, 8):
        labels = [_text(field, value, digits) for value in values]
        if len(set(labels)) == len(values):
            return labels
    return [AXES[field].unset if is_unset(value) else str(value) for value in values]


def setting(field: str, value: object) -> str:
    """One setting in words: "label noise 0.4"."""
    return settings(field, [value])


def settings(field: str, values: Sequence[object]) -> str:
    """Several settings of one field in words: "label noise 0.2, 0.4"."""
    return (AXES[field].phrase or AXES[field].words + " {}").format(", ".join(value_labels(field, values)))


def short(drawn: float, metric: Metric) -> str:
    """A drawn number in the three or four characters that a cell has room for."""
    size = abs(drawn)
    if metric.unit == "%":
        return f"{drawn:.0f}"
    if size >= 1000:
        return _number(drawn, True, 2)
    if size < 0.01:
        return f"{drawn:.0e}".replace("e-0", "e-") if size else "0"
    return f"{drawn:.{0 if size >= 100 else 1 if size >= 1 else 2}f}"


def short_half(drawn: float, metric: Metric) -> str:
    """Half the width of an interval: one digit more than its mean."""
    return f"{drawn:.1f}" if metric.unit == "%" and drawn < 10 else short(drawn, metric)
