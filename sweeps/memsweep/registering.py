"""Registration of fields and measures from outside."""

from __future__ import annotations

from typing import Any

from analysis.tables.points import point_columns
from analysis.words import AXES, METRICS
from lightning_modules.measures.catalogue import COLUMNS_ON_DEMAND, MEASURES, MEASURES_ON_DEMAND, Measure
from lightning_modules.measures.metric import Metric
from lightning_modules.settings import Axis, add_field
from sweeps.store.records import schema


def register_measure(name: str, measure: Metric | Measure) -> None:
    """Add a measure that works like those of memsweep in sweep files, stores, tables, figures and early stopping.

    It has to be registered in every process that trains or reads. Rows that were stored before are null in its columns.

    Args:
        name: The name. A measure of every epoch is also the column of that name.
        measure: A `Metric` with `compute`, for a measure of every epoch; a `Measure` for one on demand, whose
            `implementation` is the import path of a class with the methods of
            `lightning_modules.measures.on_demand.OnDemandMeasure`.

    Raises:
        ValueError: The name, or a column, is taken, or the declaration is incomplete.

    Example:
        >>> def confident_fraction(stack):  # in my_measures.py: a tensor [K] for K members
        ...     return (stack.train.loss < 0.1).double().mean(1)
        >>> about = ms.Metric.share(
        ...     "training examples with a loss below 0.1 nats", "confident", compute="my_measures:confident_fraction"
        ... )
        >>> ms.register_measure("confident_fraction", about)
    """
    columns = {name: measure} if isinstance(measure, Metric) else measure.columns
    for given in (name, *columns):
        if given in _taken():
            raise ValueError(f"measure {name!r}: the name {given!r} is taken")
    if isinstance(measure, Measure):
        if not columns:
            raise ValueError(f"measure {name!r}: has no columns; it needs at least one")
        MEASURES_ON_DEMAND[name] = measure
        COLUMNS_ON_DEMAND.update(columns)
    else:
        if measure.compute is None:
            raise ValueError(f"measure {name!r}: has no `compute`, which a measure of every epoch needs")
        MEASURES[name] = measure


def register_field(name: str, annotation: Any, default: Any, description: str, axis: Axis) -> None:
    """Add a field to every training: sweeps can set it, a store has it as a column, and pictures as an axis.

    A point that leaves the field at its default keeps its id, and rows stored before have the default. Whatever reads
    the field, such as a registered data source, finds it as an attribute of the training's settings. It has to be
    registered before points are made, in every process that trains or reads.

    Args:
        name: An identifier.
        annotation: Its type: a number, text, or a Literal of texts, or one of these or None; with bounds as in
            `Annotated[float, pydantic.Field(ge=0)]`.
        default: The value at which a training is what it was without the field.
        description: One line for documentation.
        axis: Its name in pictures and its part in planning. `stack="equal"` is safe for every field.

    Raises:
        ValueError: The name is taken or is no identifier, or the default is not valid.
    """
    if name in _taken():
        raise ValueError(f"field {name!r}: the name is taken")
    add_field(name, annotation, default, description, axis)


def _taken() -> set[str]:
    """Return the names of all fields, measures, columns and axes."""
    return {*point_columns(), *schema().names, *METRICS, *AXES, *MEASURES_ON_DEMAND}
