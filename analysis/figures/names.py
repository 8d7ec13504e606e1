"""The annotations, hues and scores that the keys of a figure accept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from analysis.words import CAPACITY
from lightning_modules.settings import FIELDS

Annotation = Literal["auto", "mean", "n", "interval"]
ANNOTATIONS: tuple[str, ...] = get_args(Annotation)
"""The kinds of number that a heatmap can write in its cells."""


def hues() -> tuple[str, ...]:
    """Return the fields that can be the hue of a figure of effective model complexity."""
    return tuple(field for field in FIELDS if field not in ("dataset_size", "seed", *CAPACITY))


@dataclass(frozen=True)
class Score:
    """A per-example number whose distribution can be drawn.

    Attributes:
        measure: The measure in the per-example table from which the score is computed.
        words: The label of the horizontal axis.
        missing: The meaning of a null value, or an empty string if values are never null.
    """

    measure: str
    words: str
    missing: str = ""


MEMORIZATION = "memorization"
SCORES: dict[str, Score] = {
    MEMORIZATION: Score("correct", "memorization score: P[right | seen] - P[right | left out]"),
    "forgetting_events": Score("forgetting_events", "forgetting events of a training example", "never learned"),
    "cumulative_loss": Score("cumulative_loss", "loss of a training example, summed over epochs (nats)"),
    "input_gradient_norm": Score("input_gradient_norm", "input gradient, L1 norm (nats per unit of input)"),
    "loss_sensitivity": Score("loss_sensitivity", "loss sensitivity, L1 norm (nats per unit of input)"),
}
