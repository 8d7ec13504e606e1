"""Metric: the declaration of a measured value, with its meaning, name, appearance, requirements and computation.

This module does not import torch, because planning, the store and the figures use it.
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
    """A value per training and epoch. It is a column of the store, or it is computed from such columns.

    Attributes:
        description: The meaning, with unit and range, for the tables of the documentation.
        words: The name of the value in a sentence.
        unit: The unit of the drawn value, which is the stored value times `scale`.
        scale: The factor between the stored and the drawn value.
        limits: The range of the drawn value and of its colours; None if the range depends on the data.
        better: Which values are better, for colours and for the best point of a study; None if neither end is better.
        colormap: The colormap of a heatmap.
        complement: The column from which this value is computed as one minus that column.
        chance: Whether figures may show the level of guessing on the scale of this value.
        needs: The examples without which the value is null: training examples with a corrupted label, training examples
            with their true label ("clean"), or a held-out part. Without a held-out part, the value is not computed.
        compute: The function that computes a per-epoch measure, or its path `module:function`, which is imported when
            a network is first evaluated. The function maps an `every_epoch.EvaluatedStack` of K members to floats [K],
            NaN if the measure is not defined. The value of a member must not depend on the other members.
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
        """Declare a value that is stored as a fraction in 0..1 and drawn in percent."""
        return cls(description, words, "%", 100.0, (0.0, 100.0), **more)

    @property
    def label(self) -> str:
        return f"{self.words} ({self.unit})" if self.unit else self.words

    @property
    def difference_unit(self) -> str:
        return {"%": "points", "0 to 1": ""}.get(self.unit, self.unit)

    @property
    def function(self) -> Callable[[Any], Any]:
        """The function that computes a per-epoch measure."""
        function: Any = resolve_name(self.compute) if isinstance(self.compute, str) else self.compute
        return cast("Callable[[Any], Any]", function)
