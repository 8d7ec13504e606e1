"""Record: what a trajectory leaves, and the one versioned Arrow schema it is stored in.

A part is a table with one row per (trajectory, evaluated epoch): the fields of the training, the measures at that
epoch, how it ended there, and where it was computed. A trajectory that broke leaves a row too, with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pyarrow as pa

from lightning_modules.measures.catalogue import MEASURES, ON_DEMAND
from lightning_modules.measures.reading import PerExample
from sweeps.spec.point import Point

SCHEMA_VERSION = 2
"""2: trainings may have been stopped early, which a reader of 1 would take for failed."""


class Outcome(StrEnum):
    """How a training ended at an epoch, from the best to the worst: of several rows of one epoch the first is kept."""

    FINISHED = "finished"
    """The measures at this epoch are there."""
    DIVERGED = "diverged"
    """The loss or a parameter stopped being finite in this epoch."""
    STOPPED = "stopped"
    """Early stopping ended the training after epoch `stopped_after`, on the way to this one."""
    FAILED = "failed"
    """The training raised an exception; `reason` says which."""
    MISSING = "missing"
    """There is no row yet. A stored row never says so."""


PROVENANCE: dict[str, tuple[pa.DataType, str]] = {
    "parameters": (pa.int64(), "trainable parameters of the network, counted"),
    "reason": (pa.string(), "why it failed, diverged or was stopped"),
    "stopped_after": (pa.int32(), "the last epoch of a training that early stopping ended"),
    "stopped_by": (pa.string(), "the digest of the settings that it was stopped under"),
    "flops": (pa.float64(), "estimated floating-point operations of the whole training"),
    "wall_seconds": (pa.float64(), "this training's share of its cohort's wall time"),
    "cohort_size": (pa.int32(), "trainings in the stack it was part of"),
    "device": (pa.string(), "where it ran: cpu, or the accelerator's name"),
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
    """The type without dictionary encoding: for sorting, and for readers that know nothing of it."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


@cache
def schema() -> pa.Schema:
    """The columns of a part, in order; the version is in its metadata."""
    columns = [
        pa.field("trajectory_id", pa.string(), nullable=False),
        pa.field("epoch", pa.int32(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        *(pa.field(name, _arrow_type(info.annotation)) for name, info in Point.model_fields.items()),
        *(pa.field(name, pa.float64()) for name in (*MEASURES, *ON_DEMAND)),
        *(pa.field(name, kind) for name, (kind, _) in PROVENANCE.items()),
    ]
    return pa.schema(columns, metadata={"memsweep_schema": str(SCHEMA_VERSION)})


@cache
def example_schema() -> pa.Schema:
    """The columns of a part of per-example measures: one row an example, measure and epoch of a training."""
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
    """One evaluated epoch of one trajectory, or the epoch in which it broke."""

    epoch: int
    outcome: Outcome
    measures: Mapping[str, float | None]
    reason: str | None = None


@dataclass(frozen=True)
class Record:
    """What one trajectory leaves."""

    trajectory_id: str
    point: Point
    rows: tuple[Row, ...]
    provenance: Mapping[str, Any]
    examples: tuple[tuple[int, PerExample], ...] = ()
    """(epoch, a measure of single examples)."""


def table_of(records: Iterable[Record]) -> pa.Table:
    """The rows of these records. What a training's rows have in common is converted once a training, not once a row."""
    records = [*records]
    rows = [row for record in records for row in record.rows]
    common = [
        {"trajectory_id": record.trajectory_id, **record.point.__dict__, **record.provenance} for record in records
    ]
    measured = {"epoch", "outcome", "reason", *MEASURES, *ON_DEMAND}
    trainings = pa.Table.from_pylist(common, schema=pa.schema([each for each in schema() if each.name not in measured]))
    of_row = pa.array([place for place, record in enumerate(records) for _ in record.rows], pa.int64())
    columns = dict(zip(trainings.column_names, trainings.take(of_row).columns, strict=True))
    columns |= {name: pa.array([getattr(row, name) for row in rows], schema().field(name).type)
                for name in ("epoch", "outcome", "reason")}  # fmt: skip
    columns |= {name: pa.array([row.measures.get(name) for row in rows], pa.float64())
                for name in (*MEASURES, *ON_DEMAND)}  # fmt: skip
    return pa.table(columns).select(schema().names).cast(schema())


def examples_of(records: Iterable[Record]) -> pa.Table:
    """The per-example measures of these records, in the order of id, epoch, measure and split: equal contents are
    equal bytes, whoever was in the cohort."""
    blocks = sorted(
        ((record.trajectory_id, epoch, each) for record in records for epoch, each in record.examples),
        key=lambda block: (block[0], block[1], block[2].measure, block[2].split),
    )
    tables = [
        pa.table(
            [
                *(pa.repeat(value, len(each.values)) for value in (trajectory_id, epoch, each.measure, each.split)),
                pa.array(each.example_ids, pa.int64()),
                pa.array(each.values, pa.float64(), from_pandas=True),
            ],
            names=example_schema().names,
        ).cast(example_schema())
        for trajectory_id, epoch, each in blocks
    ]
    return pa.concat_tables([example_schema().empty_table(), *tables]).unify_dictionaries()
