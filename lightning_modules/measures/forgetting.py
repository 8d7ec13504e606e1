"""Forgetting events: how often the classification of an example changes from correct to incorrect.

Toneva et al. 2019, "An Empirical Study of Example Forgetting during Deep Neural Network Learning" (arXiv 1812.05159).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from lightning_modules.measures.logits import most_likely
from lightning_modules.measures.on_demand import History, Presentation, StackedNetworks, add_at, defined, per_example
from lightning_modules.measures.values import MeasuredValues

if TYPE_CHECKING:
    from lightning_modules.data.datamodule import CohortData


class Forgetting(History):
    """The number of forgetting events of each training example: presentations t with acc_i(t − 1) > acc_i(t).

    acc_i(t) is 1 if example i is classified as its given label in the minibatch of its t-th presentation, just before
    the update, and 0 otherwise. An example that was not classified correctly at any presentation is "never learned",
    and its number of events is null. An example that was learned and has no event is "unforgettable". The columns are
    the fraction never learned, the mean number of events over the learned examples (None if no example is learned), and
    the unforgettable fraction. Before the first update, no example is learned.
    """

    name: ClassVar[str] = "forgetting"
    adds_up: ClassVar[tuple[str, ...]] = ("_events", "_correct", "_learned")

    def __init__(self, module: StackedNetworks, data: CohortData) -> None:
        self._ids = data.train.ids
        self._events = torch.zeros_like(data.train.given)
        self._correct = torch.zeros_like(data.train.given, dtype=torch.bool)
        """Whether each example was classified correctly at its last presentation."""
        self._learned = torch.zeros_like(self._correct)

    def on_update(self, seen: Presentation) -> None:
        now = most_likely(seen.logits) == seen.labels
        before = self._correct.gather(1, seen.positions)
        add_at(self._events, seen.positions, (before & ~now).to(self._events.dtype))
        self._correct.scatter_(1, seen.positions, now)
        self._learned.scatter_(1, seen.positions, self._learned.gather(1, seen.positions) | now)

    def read(self, epoch: int) -> list[MeasuredValues]:
        events = self._events.double().masked_fill(~self._learned, torch.nan)
        columns = {
            "never_learned": (~self._learned).double().mean(1).tolist(),
            "forgetting_events": defined(events.nanmean(1).tolist()),
            "unforgettable": (events == 0).double().mean(1).tolist(),
        }
        examples = per_example("forgetting_events", "train", self._ids, events)
        return [
            MeasuredValues({name: column[k] for name, column in columns.items()}, (example,))
            for k, example in enumerate(examples)
        ]
