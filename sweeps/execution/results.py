"""Results of a cohort: records of what its members left or why they failed, and how they are stored."""

from __future__ import annotations

import datetime
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_modules.machine_limits import available_bytes
from lightning_modules.measures.catalogue import MEASURES
from sweeps.execution.identity import check_code, stored_code
from sweeps.execution.protocol import Failure
from sweeps.planning.plan import Cohort, Training
from sweeps.spec.stopping import EarlyStopping
from sweeps.store.provenance import software
from sweeps.store.records import Outcome, Record, Row
from sweeps.store.store import Store

if TYPE_CHECKING:
    from lightning_modules.training.stack import MemberResult
    from lightning_modules.training.train import CohortResult

REASON_LENGTH = 4000


def store_failure(cohort: Cohort, store: Store, device: str, reason: str) -> tuple[Failure, ...]:
    """Store a record with the outcome "failed" for each member, and return the failures. Raises StoreError."""
    row = Row(cohort.epochs, Outcome.FAILED, dict.fromkeys(MEASURES), reason[:REASON_LENGTH])
    shared = {**software(), "finished_at": _now(), "cohort_size": len(cohort.members), "device": device,
              "code": stored_code(cohort.members[0].settings)}  # fmt: skip
    return append([Record(member.id, member.settings, (row,), shared) for member in cohort.members], store)


def append(records: Sequence[Record], store: Store) -> tuple[Failure, ...]:
    """Store the records as one part, and return the members that did not finish.

    Raises StoreError, or ExecutionError if their code is not the planned one.
    """
    check_code(record.point for record in records)
    store.append(records)
    return tuple(
        Failure(record.trajectory_id, row.outcome, row.reason or "")
        for record in records
        for row in record.rows
        if row.outcome != Outcome.FINISHED
    )


def records_of(cohort: Cohort, result: CohortResult) -> list[Record]:
    """Return the records of a cohort that has finished training."""
    shared = provenance(result.parameters, len(cohort.members), result.device)
    return [record_of(member, left, shared) for member, left in zip(cohort.members, result.members, strict=True)]


def provenance(parameters: int, cohort_size: int, device: str) -> dict[str, Any]:
    """Return the columns that are equal for all members of a stack."""
    return {
        **software(),
        "finished_at": _now(),
        "parameters": parameters,
        "cohort_size": cohort_size,
        "device": device,
    }


def record_of(
    member: Training, trained: MemberResult, shared: Mapping[str, Any], stopped: EarlyStopping | None = None
) -> Record:
    """Return the record of a member. `stopped` holds the settings of early stopping if they ended the training."""
    rows = [Row(epoch, Outcome.FINISHED, measures) for epoch, measures in trained.rows]
    own: dict[str, Any] = {
        "flops": member.cost.flops, "wall_seconds": trained.seconds, "code": stored_code(member.settings),
    }  # fmt: skip
    if trained.diverged is not None:
        rows.append(_diverged(trained.diverged))
    elif stopped:
        own["flops"] *= trained.epoch / member.settings.epochs
        own |= {"stopped_after": trained.epoch, "stopped_by": stopped.digest()}
        reason = f"stopped after epoch {trained.epoch} by {stopped.words()}"
        rows.append(Row(member.settings.epochs, Outcome.STOPPED, dict.fromkeys(MEASURES), reason))
    return Record(member.id, member.settings, tuple(rows), {**shared, **own}, trained.examples)


def _diverged(epoch: int) -> Row:
    reason = f"loss or parameters were no longer finite, or the loss beyond any bound, in epoch {epoch}"
    return Row(epoch, Outcome.DIVERGED, dict.fromkeys(MEASURES), reason)


def told(error: Exception, cohort: Cohort, device: str) -> str:
    """Return the text to record for an error of a cohort. Call this function in the handler of the error."""
    return f"{type(error).__name__}: {error}{_memory(error, cohort, device)}\n\n{traceback.format_exc()}"


def _memory(error: Exception, cohort: Cohort, device: str) -> str:
    """Describe the estimated and the free memory if the error is a lack of memory; otherwise return an empty string."""
    import torch

    refused = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    if not (refused or isinstance(error, MemoryError | torch.OutOfMemoryError)):
        return ""
    free, total = torch.cuda.mem_get_info() if device == "cuda" else (available_bytes(), 0)
    of = f" of {total / 2**30:.1f}" if total else ""
    return (
        f" (a stack of {len(cohort.members)} is estimated at {cohort.cost.bytes / 2**30:.2g} GiB besides the data; "
        f"{free / 2**30:.1f}{of} GiB were free on {device})"
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
