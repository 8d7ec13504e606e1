"""The words for fields and metrics in a picture, and the formatting of their values."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import SupportsFloat

from lightning_modules.measures.catalogue import COLUMNS_ON_DEMAND, MEASURES
from lightning_modules.measures.metric import Metric as Metric
from lightning_modules.settings import FIELDS, Axis
from lightning_modules.shown_text import visible

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
"""The metrics that `tables.derived` computes from stored columns. Accuracies are in 0..1, and epochs are counts."""

_ERRORS: dict[str, Metric] = {
    "train_error": Metric.share(
        "1 - `train_accuracy`",
        "training error, labels as given", colormap="cividis", complement="train_accuracy",
    ),
    "test_error": Metric.share(
        "1 - `test_accuracy`", "clean test error", better="lower", colormap="cividis", complement="test_accuracy"
    ),
}  # fmt: skip

METRICS: Mapping[str, Metric] = ChainMap(_ERRORS, COLUMNS_ON_DEMAND, DERIVED, MEASURES)  # iterates from last to first
"""All metrics that can be drawn. A metric with a complement is computed from it, and all others are columns."""


CAPACITY = ("parameters", "parameter_count", "width")
"""The axes that describe the size of a network."""

AXES: Mapping[str, Axis] = ChainMap(
    {
        "parameters": Axis("parameters", count=True, unset="not built", phrase="{} parameters"),
        "epoch": Axis("epoch", count=True),
        "randomization": Axis("training data", phrase="{}"),
    },
    FIELDS,  # a ChainMap iterates over its last mapping first
)
"""The possible axes: the fields, the actual number of parameters of a model, the epoch of a measurement, and the
randomized part of the data (see `randomization.with_randomization`)."""


def _number(value: float, count: bool, digits: int) -> str:
    if not count or abs(value) < 1000:
        return f"{value:.{max(digits, 3)}g}".replace("e-0", "e-")
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 999,950 becomes 1M, not 1000k.
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
    text = _shown(value)
    # Keep the end, which distinguishes paths and hub names.
    return text if len(text) <= 24 else "…" + text[-23:]


def is_unset(value: object) -> bool:
    """Return whether a setting is unset: None, NaN or pandas' NA (recognized by its type's name, without pandas)."""
    return value is None or type(value).__name__ == "NAType" or value != value


def value_labels(field: str, values: Sequence[object]) -> list[str]:
    """Format the values as short tick labels ("0.3", "1.2k", "all"), with just enough digits to make them distinct."""
    for digits in range(2, 8):
        labels = [_text(field, value, digits) for value in values]
        if len(set(labels)) == len(values):
            return labels
    return [AXES[field].unset if is_unset(value) else _shown(value) for value in values]


def _shown(value: object) -> str:
    return visible(str(value)).replace("\n", " ")


def setting(field: str, value: object) -> str:
    """Format one setting in words: "label noise 0.4"."""
    return settings(field, [value])


def settings(field: str, values: Sequence[object]) -> str:
    """Format several settings of one field in words: "label noise 0.2, 0.4"."""
    return (AXES[field].phrase or AXES[field].words + " {}").format(", ".join(value_labels(field, values)))


def short(drawn: float, metric: Metric) -> str:
    """Format a drawn number in the three or four characters that fit into a cell."""
    size = abs(drawn)
    if metric.unit == "%":
        return f"{drawn:.0f}"
    if size >= 1000:
        return _number(drawn, True, 2)
    if size < 0.01:
        return f"{drawn:.0e}".replace("e-0", "e-") if size else "0"
    return f"{drawn:.{0 if size >= 100 else 1 if size >= 1 else 2}f}"


def short_half(drawn: float, metric: Metric) -> str:
    """Format the half-width of an interval. Percentages below 10 get one decimal, unlike their means."""
    return f"{drawn:.1f}" if metric.unit == "%" and drawn < 10 else short(drawn, metric)
