"""A cohort from the plan to the store: what every executor has its worker do."""

from __future__ import annotations

import datetime
import traceback
from collections.abc import Callable

from lightning_modules.data.sources import Dataset
from sweeps.execution.protocol import Failure
from sweeps.plan import Cohort
from sweeps.records import MEASURES, Record, Row, software
from sweeps.store import Store

REASON_LENGTH = 4000


def train_and_store(
    cohort: Cohort, dataset: Dataset, store: Store, device: str, on_epoch: Callable[[int], None]
) -> tuple[Failure, ...]:
    """Train, append a part, and say which members did not finish.

    A cohort that raises is trained again as two halves, and so on, so that only a member that raises by itself is
    recorded as failed: what becomes of a member does not depend on who is beside it. Raises StoreError alone.
    """
    try:
        records = _train(cohort, dataset, device, on_epoch)
    except Exception as error:
        middle = len(cohort.members) // 2
        if middle:
            halves = Cohort(cohort.members[:middle]), Cohort(cohort.members[middle:])
            return tuple(f for half in halves for f in train_and_store(half, dataset, store, device, on_epoch))
        return store_failure(cohort, store, device, f"{type(error).__name__}: {error}\n\n{traceback.format_exc()}")
    return _store(records, store)


def store_failure(cohort: Cohort, store: Store, device: str, reason: str) -> tuple[Failure, ...]:
    """Append a record of failure for each member. Raises StoreError."""
    row = Row(cohort.epochs, "failed", dict.fromkeys(MEASURES), reason[:REASON_LENGTH])
    shared = {**software(), "finished_at": _now(), "cohort_size": len(cohort.members), "device": device}
    return _store([Record(member.id, member.point, (row,), shared) for member in cohort.members], store)


def _store(records: list[Record], store: Store) -> tuple[Failure, ...]:
    store.append(records)
    return tuple(
        Failure(record.trajectory_id, row.outcome, row.reason or "")
        for record in records
        for row in record.rows
        if row.outcome != "finished"
    )


def _train(cohort: Cohort, dataset: Dataset, device: str, on_epoch: Callable[[int], None]) -> list[Record]:
    from lightning_modules.training import train_cohort

    result = train_cohort(
        [member.point for member in cohort.members],
        dataset,
        [member.evaluated for member in cohort.members],
        [member.measured for member in cohort.members],
        device=device,
        on_epoch=on_epoch,
    )
    shared = {
        **software(),
        "finished_at": _now(),
        "parameters": result.parameters,
        "cohort_size": len(cohort.members),
        "device": result.device,
        "wall_seconds": result.wall_seconds / len(cohort.members),
    }
    records = []
    for member, trained in zip(cohort.members, result.members, strict=True):
        rows = [Row(epoch, "finished", measures) for epoch, measures in trained.rows]
        if trained.diverged is not None:
            rows.append(_diverged(trained.diverged))
        records.append(
            Record(member.id, member.point, tuple(rows), {**shared, "flops": member.cost.flops}, trained.examples)
        )
    return records


def _diverged(epoch: int) -> Row:
    reason = f"loss or parameters were no longer finite, or the loss beyond any bound, in epoch {epoch}"
    return Row(epoch, "diverged", dict.fromkeys(MEASURES), reason)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
