"""Records of trainings, and the versioned Arrow schema that stores them.

A part is a table with one row per (training, evaluated epoch). A row contains the training's fields, its measures and
outcome at that epoch, and its provenance. A training that did not finish also has a row, which gives the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pyarrow as pa

from lightning_modules.measures.catalogue import ALL_MEASURES
from lightning_modules.measures.values import PerExample
from sweeps.spec.point import Point

SCHEMA_VERSION = 2
"""Version 2 added trainings that were stopped early, which a reader of version 1 would count as failed."""


class Outcome(StrEnum):
    """The outcome of a training at an epoch, from best to worst. Of several rows for an epoch, the best is kept."""

    FINISHED = "finished"
    """The measures at this epoch are stored."""
    DIVERGED = "diverged"
    """The loss or a parameter stopped being finite in this epoch."""
    STOPPED = "stopped"
    """Early stopping ended the training after epoch `stopped_after`, before it reached this epoch."""
    FAILED = "failed"
    """The training raised an exception, which is given in `reason`."""
    MISSING = "missing"
    """There is no row yet. No stored row has this outcome."""


STORED_OUTCOMES = tuple(outcome for outcome in Outcome if outcome is not Outcome.MISSING)

PROVENANCE: dict[str, tuple[pa.DataType, str]] = {
    "parameters": (pa.int64(), "trainable parameters of the network, counted"),
    "reason": (pa.string(), "why it failed, diverged or was stopped"),
    "stopped_after": (pa.int32(), "the last epoch of a training that early stopping ended"),
    "stopped_by": (pa.string(), "the digest of the settings that it was stopped under"),
    "flops": (pa.float64(), "estimated floating-point operations of the whole training"),
    "wall_seconds": (pa.float64(), "this training's share of its cohort's wall time"),
    "cohort_size": (pa.int32(), "trainings in the stack it was part of"),
    "device": (pa.string(), "where it ran: cpu, or the accelerator's name"),
    "code": (pa.string(), "the hash of each file of the model's code, as JSON; null for a model of memsweep"),
    "host": (pa.string(), "machine type and operating system"),
    "memsweep_version": (pa.string(), "version of memsweep"),
    "commit": (pa.string(), "its git commit, with + when the tree was changed"),
    "torch_version": (pa.string(), "version of torch"),
    "ray_version": (pa.string(), "version of ray"),
    "finished_at": (pa.timestamp("us", tz="UTC"), "when the part was written"),
}


def _arrow_type(annotation: Any) -> pa.DataType:
    while get_origin(annotation) in (Annotated, Union, UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is Literal:
        return pa.dictionary(pa.int32(), pa.string())
    return {int: pa.int64(), float: pa.float64(), str: pa.dictionary(pa.int32(), pa.string())}[annotation]


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type without dictionary encoding, for sorting and for readers that do not support it."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def schema() -> pa.Schema:
    """Return the Arrow schema of a part: its columns in order, with the version as metadata."""
    return _schema((*Point.model_fields,), (*ALL_MEASURES,))


@cache
def _schema(fields: tuple[str, ...], measures: tuple[str, ...]) -> pa.Schema:
    columns = [
        pa.field("trajectory_id", pa.string(), nullable=False),
        pa.field("epoch", pa.int32(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        *(pa.field(name, _arrow_type(Point.model_fields[name].annotation)) for name in fields),
        *(pa.field(name, pa.float64()) for name in measures),
        *(pa.field(name, kind) for name, (kind, _) in PROVENANCE.items()),
    ]
    return pa.schema(columns, metadata={"memsweep_schema": str(SCHEMA_VERSION)})


@cache
def example_schema() -> pa.Schema:
    """Return the schema of per-example measures, with one row per training, epoch, measure, split and example."""
    columns = [
        pa.field("trajectory_id", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("epoch", pa.int32(), nullable=False),
        pa.field("measure", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("split", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("example_id", pa.int64(), nullable=False),
        pa.field("value", pa.float64()),
    ]
    return pa.schema(columns, metadata={"memsweep_schema": str(SCHEMA_VERSION)})


@dataclass(frozen=True)
class Row:
    """The measures of a training at one evaluated epoch, or the reason why the training has none."""

    epoch: int
    outcome: Outcome
    measures: Mapping[str, float | None]
    reason: str | None = None


@dataclass(frozen=True)
class Record:
    """The results of one training."""

    trajectory_id: str
    point: Point
    rows: tuple[Row, ...]
    provenance: Mapping[str, Any]
    examples: tuple[tuple[int, PerExample], ...] = ()
    """The per-example measures, as (epoch, measure)."""


def table_of(records: Iterable[Record]) -> pa.Table:
    """Convert records to a table. Columns that are equal in all rows of a training are converted once per training."""
    records = [*records]
    rows = [row for record in records for row in record.rows]
    common = [
        {"trajectory_id": record.trajectory_id, **record.point.__dict__, **record.provenance} for record in records
    ]
    measured = {"epoch", "outcome", "reason", *ALL_MEASURES}
    shared = pa.schema([column for column in schema() if column.name not in measured])
    trainings = pa.Table.from_pylist(common, schema=shared)
    training_of_row = pa.array([index for index, record in enumerate(records) for _ in record.rows], pa.int64())
    columns = dict(zip(trainings.column_names, trainings.take(training_of_row).columns, strict=True))
    columns |= {name: pa.array([getattr(row, name) for row in rows], schema().field(name).type)
                for name in ("epoch", "outcome", "reason")}  # fmt: skip
    columns |= {name: pa.array([row.measures.get(name) for row in rows], pa.float64()) for name in ALL_MEASURES}
    return pa.table(columns).select(schema().names).cast(schema())


def examples_of(records: Iterable[Record]) -> pa.Table:
    """Return a table of the per-example measures of records, sorted by id, epoch, measure and split.

    Equal contents are encoded to equal bytes, no matter which trainings shared a cohort.
    """
    blocks = sorted(
        ((record.trajectory_id, epoch, measured) for record in records for epoch, measured in record.examples),
        key=lambda block: (block[0], block[1], block[2].measure, block[2].split),
    )
    tables = [
        pa.table(
            [
                *(
                    pa.repeat(key, len(measured.values))
                    for key in (trajectory_id, epoch, measured.measure, measured.split)
                ),
                pa.array(measured.example_ids, pa.int64()),
                pa.array(measured.values, pa.float64(), from_pandas=True),
            ],
            names=example_schema().names,
        ).cast(example_schema())
        for trajectory_id, epoch, measured in blocks
    ]
    return pa.concat_tables([example_schema().empty_table(), *tables]).unify_dictionaries()
