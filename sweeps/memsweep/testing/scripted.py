"""An executor that trains nothing. Its measures are functions of the point and the epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from memsweep.testing.records import WHEN, measure_at

from lightning_modules.measures.catalogue import ALL_MEASURES, MEASURES, MEASURES_ON_DEMAND
from sweeps.execution.protocol import CohortEnded, Failure, Listener, Progress
from sweeps.execution.resources import Resources, local_resources
from sweeps.planning.plan import Cohort, Plan, Training
from sweeps.spec.point import Point
from sweeps.store.records import Record, Row
from sweeps.store.store import Store

Measures = Mapping[str, float | None]
Script = Callable[[Point, int], Measures | None]


def scripted_measures(point: Point, epoch: int) -> Measures:
    """Return a value between 0 and 1 for every measure. The values are the same in every process."""
    return {name: measure_at(point.id, epoch, name) for name in ALL_MEASURES}


@dataclass(frozen=True)
class Scripted:
    """An executor whose trainings take no time. See `sweeps.execution.protocol.Executor` for its methods.

    Args:
        script: a function that returns the measures of a point after an epoch, or None if the training diverged. If the
            script raises an error, the training is recorded as failed, with the error as the reason. The point's
            `epochs` is the horizon of the training. An on-demand measure is recorded only at the epochs at which the
            sweep requests it. Per-example measures are not recorded.
        provenance: further columns of every row.
    """

    script: Script = scripted_measures
    provenance: Mapping[str, Any] = field(default_factory=lambda: {"parameters": 99, "wall_seconds": 1.0})

    @contextmanager
    def resources(self, workers: int | None, say: Callable[[str], None]) -> Iterator[Resources]:
        yield local_resources(1)

    def execute(self, plan: Plan, store: Store, listen: Listener) -> None:
        store.prepare()
        for index, cohort in enumerate(plan.cohorts):
            records = [self._record(member, cohort) for member in cohort.members]
            for epoch in range(1, cohort.epochs + 1):
                listen(Progress(index, epoch))
            store.append(records)
            failures = (
                Failure(record.trajectory_id, row.outcome, row.reason or "")
                for record in records
                for row in record.rows
                if row.outcome != "finished"
            )
            listen(CohortEnded(index, tuple(failures)))

    def _record(self, member: Training, cohort: Cohort) -> Record:
        provenance = {"finished_at": WHEN, "cohort_size": len(cohort.members), **self.provenance}
        return Record(member.id, member.settings, tuple(self._rows(member)), provenance)

    def _rows(self, member: Training) -> list[Row]:
        nothing = dict.fromkeys(MEASURES)
        rows: list[Row] = []
        for epoch in member.evaluated:
            try:
                measures = self.script(member.settings, epoch)
            except Exception as error:
                return [Row(member.settings.epochs, "failed", nothing, f"{type(error).__name__}: {error}")]
            if measures is None:
                return [*rows, Row(epoch, "diverged", nothing, f"diverged in epoch {epoch}")]
            asked = member.measured.get(epoch, ())
            on_demand = [column for name in asked for column in MEASURES_ON_DEMAND[name].columns]
            recorded = {name: measures.get(name) for name in (*MEASURES, *on_demand)}
            rows.append(Row(epoch, "finished", recorded))
        return rows
