"""Example correctness: the data from which misclassification rates and memorization scores are computed.

Averaging over trainings with different seeds gives the misclassification rate m_i of Arpit et al. 2017 (arXiv
1706.05394), figure 1. Random subsets give the memorization scores of Feldman & Zhang 2020 (arXiv 2008.03703).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from lightning_modules.measures.on_demand import Snapshot, per_example, predicted_classes
from lightning_modules.measures.values import MeasuredValues

if TYPE_CHECKING:
    from lightning_modules.data.datamodule import Examples


class ExampleCorrectness(Snapshot):
    """Whether each training, left-out and test example is classified correctly: correct_i = 1[f(x_i) = y_i].

    The network is in evaluation mode. y_i is the label as given for training and left-out examples, and the clean label
    for test examples. The columns are `correct_fraction`, the mean over training and left-out examples, and
    `left_out_accuracy`, the mean over left-out examples, which is None if no example is left out.
    """

    name: ClassVar[str] = "example_correctness"

    def read(self, epoch: int) -> list[MeasuredValues]:
        data = self._data
        parts: dict[str, Examples | None] = {"train": data.train, "left_out": data.left_out, "test": data.test}
        correct = {
            split: (predicted_classes(self._module, part) == part.given).double()
            for split, part in parts.items()
            if part is not None
        }
        seen_or_not = torch.cat([correct[split] for split in ("train", "left_out") if split in correct], 1)
        fractions = seen_or_not.mean(1).tolist()
        left_out = correct["left_out"].mean(1).tolist() if "left_out" in correct else [None] * len(fractions)
        examples = [
            per_example("correct", split, part.ids, correct[split]) for split, part in parts.items() if part is not None
        ]
        return [
            MeasuredValues({"correct_fraction": fractions[k], "left_out_accuracy": left_out[k]}, each)
            for k, each in enumerate(zip(*examples, strict=True))
        ]
