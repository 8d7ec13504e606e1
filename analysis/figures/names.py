"""The names that the keys of a figure can have, where they are neither fields nor metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from analysis.words import CAPACITY
from sweeps.spec.point import FIELDS

Annotation = Literal["auto", "mean", "n", "interval"]
ANNOTATIONS: tuple[str, ...] = get_args(Annotation)
"""What the number in a cell of a heatmap is."""

HUES = tuple(field for field in FIELDS if field not in ("dataset_size", "seed", *CAPACITY))
"""What can tell the lines of effective model complexity apart."""


@dataclass(frozen=True)
class Score:
    """A number about single examples whose distribution can be drawn.

    measure: its name in the table of examples. words: the label of the horizontal axis. missing: what a null means.
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
