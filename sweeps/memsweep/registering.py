"""Registration of measures from outside."""

from __future__ import annotations

from analysis.tables.points import point_columns
from analysis.words import AXES, METRICS
from lightning_modules.measures.catalogue import COLUMNS_ON_DEMAND, MEASURES, MEASURES_ON_DEMAND, Measure
from lightning_modules.measures.metric import Metric
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
    taken = {*point_columns(), *schema().names, *METRICS, *AXES, *MEASURES_ON_DEMAND}
    for given in (name, *columns):
        if given in taken:
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
