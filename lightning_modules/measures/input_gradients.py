"""The averaged input gradient: how strongly the loss of an example depends on the example's own input.

The input gradient is cheaper than the loss sensitivity of Arpit et al. 2017 (arXiv 1706.05394), which differentiates
through the whole training (`unrolled`). The two are different quantities and therefore have different names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from lightning_modules.measures.gini import gini
from lightning_modules.measures.on_demand import History, Presentation, StackedNetworks, add_at, defined, per_example
from lightning_modules.measures.values import MeasuredValues

if TYPE_CHECKING:
    from lightning_modules.data.datamodule import CohortData


class InputGradients(History):
    """The mean of ‖∂ℓ_i/∂x_i‖₁ over all presentations of example i so far, in nats per unit of input; at least 0.

    ℓ_i is the cross-entropy with the given label at the presentation, just before the update, in training mode; x_i is
    the input as presented (augmented). The columns are the mean over examples and their Gini coefficient (0..1, None if
    all are 0). They are null before the first update. With BatchNorm, the output of an example depends on its batch,
    and the gradient is that of the summed losses of the batch.
    """

    name: ClassVar[str] = "input_gradient"
    needs_input_gradients: ClassVar[bool] = True
    adds_up: ClassVar[tuple[str, ...]] = ("_totals", "_counts")

    def __init__(self, module: StackedNetworks, data: CohortData) -> None:
        self._ids = data.train.ids
        self._totals = torch.zeros_like(data.train.given, dtype=torch.float64)
        self._counts = torch.zeros_like(self._totals)

    def on_update(self, seen: Presentation) -> None:
        if seen.input_gradients is None:
            raise ValueError("a presentation came without input gradients; input_gradient needs them")
        norms = seen.input_gradients.flatten(2).double().abs().sum(2)
        add_at(self._totals, seen.positions, norms)
        add_at(self._counts, seen.positions, torch.ones_like(norms))

    def read(self, epoch: int) -> list[MeasuredValues]:
        norms = self._totals / self._counts  # NaN (0 / 0) before the first presentation
        means = defined(norms.mean(1).tolist())
        examples = per_example("input_gradient_norm", "train", self._ids, norms)
        spreads = defined([gini(each.values) for each in examples])
        return [
            MeasuredValues({"input_gradient_norm": mean, "input_gradient_gini": spread}, (each,))
            for mean, spread, each in zip(means, spreads, examples, strict=True)
        ]
