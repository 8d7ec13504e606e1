"""Forgetting events: how often an example that was classified correctly no longer is.

Toneva et al. 2019, "An Empirical Study of Example Forgetting during Deep Neural Network Learning" (arXiv 1812.05159).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from lightning_modules.measures.probe import History, Presentation, StackedNetworks, add_at, defined, per_example
from lightning_modules.measures.reading import Reading

if TYPE_CHECKING:
    from lightning_modules.data.datamodule import CohortData


class Forgetting(History):
    """acc_i(t): whether example i is classified as its given label in the minibatch of its t-th presentation, just
    before the update. A forgetting event is acc_i(t − 1) > acc_i(t).

    An example that was never correct at any presentation is never learned: it has no number of events (null), and is a
    class of its own. One that was learned and has none is unforgettable. Scalars: the fraction never learned, the mean
    number of events over those learned (None where none is), and the fraction that is unforgettable. Before the first
    update nothing is learned.
    """

    name: ClassVar[str] = "forgetting"
    adds_up: ClassVar[tuple[str, ...]] = ("_events", "_correct", "_learned")

    def __init__(self, module: StackedNetworks, data: CohortData) -> None:
        self._ids = data.train.ids
        self._events = torch.zeros_like(data.train.given)
        self._correct = torch.zeros_like(data.train.given, dtype=torch.bool)
        """At the last presentation."""
        self._learned = torch.zeros_like(self._correct)

    def on_update(self, seen: Presentation) -> None:
        now = seen.logits.argmax(2) == seen.labels
        before = self._correct.gather(1, seen.positions)
        add_at(self._events, seen.positions, (before & ~now).to(self._events.dtype))
        self._correct.scatter_(1, seen.positions, now)
        self._learned.scatter_(1, seen.positions, self._learned.gather(1, seen.positions) | now)

    def read(self, epoch: int) -> list[Reading]:
        events = self._events.double().masked_fill(~self._learned, torch.nan)
        columns = {
            "never_learned": (~self._learned).double().mean(1).tolist(),
            "forgetting_events": defined(events.nanmean(1).tolist()),
            "unforgettable": (events == 0).double().mean(1).tolist(),
        }
        examples = per_example("forgetting_events", "train", self._ids, events)
        return [
            Reading({name: column[k] for name, column in columns.items()}, (example,))
            for k, example in enumerate(examples)
        ]
