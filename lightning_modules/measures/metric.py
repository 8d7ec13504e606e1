"""The declaration of one number: its meaning, its name and look in a figure, what it needs, and how it is computed.

Planning, the store and the figures read declarations, so nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Literal, cast

Direction = Literal["higher", "lower"] | None
Needs = Literal["corrupted", "clean", "held_out"] | None


@dataclass(frozen=True)
class Metric:
    """A number per training and epoch: a column of the store, or computed from such columns.

    Attributes:
        description: What it is, with unit and range, for the tables of the documentation.
        words: Its name in a sentence.
        unit: The unit of the drawn number, which is the stored number times `scale`.
        scale: See `unit`.
        limits: The range of the drawn number and of its colours; None if it depends on the data.
        better: The better end, for colours and for what a study calls the best; None if neither end is better.
        colormap: The colours of a heatmap.
        complement: The column that this number is one minus.
        chance: Whether guessing has a level on this scale.
        needs: The examples without which it is null: training examples with a corrupted label, training examples with
            their true label ("clean"), or a held-out part. It is not computed where no part is held out.
        compute: For a measure of every epoch, how it is computed: a function, or `module:function`, which is imported
            when a network is first evaluated. It maps an `every_epoch.EvaluatedStack` of K members to a tensor [K] of
            floats, NaN where the measure is not defined. The value of a member must not depend on the other members.
    """

    description: str
    words: str
    unit: str = ""
    scale: float = 1.0
    limits: tuple[float, float] | None = None
    better: Direction = None
    colormap: str = "viridis"
    complement: str | None = None
    chance: bool = False
    needs: Needs = None
    compute: str | Callable[[Any], Any] | None = None

    @classmethod
    def share(cls, description: str, words: str, **more: Any) -> Metric:
        """Declare a number that is stored in 0..1 and drawn in percent."""
        return cls(description, words, "%", 100.0, (0.0, 100.0), **more)

    @property
    def label(self) -> str:
        return f"{self.words} ({self.unit})" if self.unit else self.words

    @property
    def difference_unit(self) -> str:
        return {"%": "points", "0 to 1": ""}.get(self.unit, self.unit)

    @property
    def function(self) -> Callable[[Any], Any]:
        """The function that computes a measure of every epoch."""
        function: Any = resolve_name(self.compute) if isinstance(self.compute, str) else self.compute
        return cast("Callable[[Any], Any]", function)
