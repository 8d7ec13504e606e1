"""Cumulative loss: a cheap proxy of how hard an example is to learn.

Jiang et al. 2021, "Characterizing Structural Regularities of Labeled Data in Overparameterized Models" (arXiv
2002.03206), compare such proxies of the learning speed with their C-score, which requires thousands of trainings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from lightning_modules.measures.on_demand import History, Presentation, StackedNetworks, add_at, per_example
from lightning_modules.measures.values import MeasuredValues

if TYPE_CHECKING:
    from lightning_modules.data.datamodule import CohortData


class CumulativeLoss(History):
    """The loss of an example, summed over all its presentations so far: C_i = Σ_t ℓ_i(t).

    ℓ_i(t) is the cross-entropy of example i with its given label, in nats, in the minibatch of its t-th presentation,
    just before the update. C_i is at least 0, and exactly 0 before training. The column is the mean over the training
    examples.
    """

    name: ClassVar[str] = "cumulative_loss"
    adds_up: ClassVar[tuple[str, ...]] = ("_totals",)

    def __init__(self, module: StackedNetworks, data: CohortData) -> None:
        self._ids = data.train.ids
        self._totals = torch.zeros_like(data.train.given, dtype=torch.float64)

    def on_update(self, seen: Presentation) -> None:
        add_at(self._totals, seen.positions, seen.losses.double())

    def read(self, epoch: int) -> list[MeasuredValues]:
        means = self._totals.mean(1).tolist()
        examples = per_example("cumulative_loss", "train", self._ids, self._totals)
        return [MeasuredValues({"cumulative_loss": mean}, (each,)) for mean, each in zip(means, examples, strict=True)]
