"""How fields and metrics are called in a picture, and how their values are written."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import SupportsFloat

from lightning_modules.measures.catalogue import COLUMNS_ON_DEMAND, MEASURES
from lightning_modules.measures.metric import Metric as Metric
from lightning_modules.settings import FIELDS, Axis

DERIVED: dict[str, Metric] = {
    "generalization_gap": Metric(
        "`train_accuracy` - `test_accuracy` at the point's epoch, -1 to 1; labels as given against clean ones",
        "training minus clean test accuracy", "points", 100.0, (-100.0, 100.0), "lower", colormap="vlag",
    ),
    "best_test_accuracy": Metric.share(
        "highest `test_accuracy` over the evaluated epochs up to the point's `epochs`: chosen with the test data in "
        "hand, so an upper bound and no estimate",
        "best clean test accuracy of the training", better="higher", chance=True,
    ),
    "best_validation_accuracy": Metric.share(
        "highest `validation_accuracy` over the evaluated epochs up to the point's `epochs`",
        "best validation accuracy of the training", better="higher",
    ),
    "epochs_to_90": Metric(
        "first evaluated epoch with `train_accuracy` of at least 0.9, up to the point's `epochs`; reached after the "
        "evaluated epoch before it and by this one; null: not reached by then",
        "first evaluated epoch with 90 % training accuracy", "epochs", colormap="cividis",
    ),
    "epochs_to_100": Metric(
        "first evaluated epoch with `train_accuracy` of 1 (Arpit et al. 2017: time to convergence), up to the point's "
        "`epochs`; reached after the evaluated epoch before it and by this one; null: not reached by then",
        "first evaluated epoch with 100 % training accuracy", "epochs", colormap="cividis",
    ),
}  # fmt: skip
"""The columns that `tables.derived` computes from stored ones. Accuracies in 0..1, epochs as counts."""

_ERRORS: dict[str, Metric] = {
    "train_error": Metric.share(
        "1 - `train_accuracy`",
        "training error, labels as given", colormap="cividis", complement="train_accuracy",
    ),
    "test_error": Metric.share(
        "1 - `test_accuracy`", "clean test error", better="lower", colormap="cividis", complement="test_accuracy"
    ),
}  # fmt: skip

METRICS: Mapping[str, Metric] = ChainMap(_ERRORS, COLUMNS_ON_DEMAND, DERIVED, MEASURES)  # the last mapping comes first
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
