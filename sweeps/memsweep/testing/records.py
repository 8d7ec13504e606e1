"""Fake records of trainings."""

from __future__ import annotations

import datetime
import zlib
from typing import Any

from lightning_modules.measures.catalogue import MEASURES
from lightning_modules.settings import FIELDS
from sweeps.spec.point import Point
from sweeps.store.records import Record, Row

WHEN = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)
"""The time at which every fake training finished, so that equal records give equal bytes."""


def measure_at(training_id: str, epoch: int, name: str) -> float:
    """Return a value between 0 and 1 that differs between trainings, epochs and measures, but not between processes."""
    return zlib.crc32(f"{training_id} {epoch} {name}".encode()) / 2**32


def make_record(
    trajectory_id: str, finished: tuple[int, ...] = (), diverged: int | None = None, failed: int | None = None,
    stopped: int | None = None, **more: Any,
) -> Record:  # fmt: skip
    """Create a fake record of a training. Its measures are functions of the training's id and the epoch.

    Args:
        finished: the epochs that have measures.
        diverged: the epoch of a row with this outcome and without measures. `stopped` and `failed` work likewise.
        more: fields of the point, or columns of provenance.
    """
    fields = {name: more.pop(name) for name in list(more) if name in FIELDS}
    rows = [
        Row(epoch, "finished", {name: measure_at(trajectory_id, epoch, name) for name in MEASURES})
        for epoch in finished
    ]
    nothing = dict.fromkeys(MEASURES)
    if diverged is not None:
        rows.append(Row(diverged, "diverged", nothing, f"diverged in {diverged}"))
    if stopped is not None:
        rows.append(Row(stopped, "stopped", nothing, f"stopped before {stopped}"))
        more = {"stopped_by": "settings", **more}
    if failed is not None:
        rows.append(Row(failed, "failed", nothing, f"RuntimeError: broke\n\nbefore {failed}"))
    return Record(trajectory_id, Point(**fields), tuple(rows), {"parameters": 99, "finished_at": WHEN, **more})
