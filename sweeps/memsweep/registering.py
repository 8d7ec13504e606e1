"""Registration of custom fields and measures."""

from __future__ import annotations

from typing import Any

from analysis.tables.points import point_columns
from analysis.words import AXES, METRICS
from lightning_modules.measures.catalogue import COLUMNS_ON_DEMAND, MEASURES, MEASURES_ON_DEMAND, Measure
from lightning_modules.measures.metric import Metric
from lightning_modules.settings import Axis, add_field
from sweeps.store.records import schema


def register_measure(name: str, measure: Metric | Measure) -> None:
    """Add a measure that works like a built-in one in sweep files, stores, tables, figures and early stopping.

    Register the measure in every process that trains or reads results. Its columns are null in rows stored earlier.

    Args:
        name: The name of the measure. A per-epoch measure is stored in the column of the same name.
        measure: A `Metric` with `compute` for a per-epoch measure, or a `Measure` for an on-demand measure. The
            `implementation` of a `Measure` is the import path of a class with the methods of
            `lightning_modules.measures.on_demand.OnDemandMeasure`.

    Raises:
        ValueError: If the name or a column is taken, or if the declaration is incomplete.

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
    """Add a field to every training. Sweeps can set the field, stores have a column for it, and figures an axis.

    A point that leaves the field at its default keeps its id, and rows stored earlier have the default. Custom code,
    such as a registered data source, reads the field as an attribute of the training's settings. Register the field
    before points are created, in every process that trains or reads results.

    Args:
        name: The name of the field, which must be an identifier.
        annotation: The type: a number, a string or a Literal of strings, optionally with None. Bounds are written as in
            `Annotated[float, pydantic.Field(ge=0)]`.
        default: The value with which a training is the same as without the field.
        description: One line for the documentation.
        axis: The field's name in figures and its role in planning. `stack="equal"` is safe for every field.

    Raises:
        ValueError: If the name is taken or is not an identifier, or if the default is not valid.
    """
    if name in _taken():
        raise ValueError(f"field {name!r}: the name is taken")
    add_field(name, annotation, default, description, axis)


def _taken() -> set[str]:
    """Return the names of all fields, measures, columns and axes."""
    return {*point_columns(), *schema().names, *METRICS, *AXES, *MEASURES_ON_DEMAND}
