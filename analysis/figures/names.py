"""The values that a figure's keys accept, where these are neither fields nor metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from analysis.words import CAPACITY
from lightning_modules.settings import FIELDS

Annotation = Literal["auto", "mean", "n", "interval"]
ANNOTATIONS: tuple[str, ...] = get_args(Annotation)
"""The kinds of number that a heatmap can write in its cells."""


def hues() -> tuple[str, ...]:
    """Return the fields that can distinguish the lines of effective model complexity."""
    return tuple(field for field in FIELDS if field not in ("dataset_size", "seed", *CAPACITY))


@dataclass(frozen=True)
class Score:
    """A number about single examples whose distribution can be drawn.

    Attributes:
        measure: Its name in the per-example table.
        words: The label of the horizontal axis.
        missing: What a null value means.
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
