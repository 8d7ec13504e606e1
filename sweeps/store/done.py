"""The set of what is finished in a store."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from lightning_modules.measures.catalogue import PROBES
from sweeps.store.pairs import Pairs
from sweeps.store.records import Outcome

STOPPED_BY = "stopped_by"


MARKS = {name: next(iter(probe.columns)) for name, probe in PROBES.items()}
"""By measure on demand: its first column, which is never null where it was taken."""


@dataclass(frozen=True)
class Done:
    """The set of finished ids: what a plan need not train again."""

    rows: Set[tuple[str, int]] = frozenset()
    """(trajectory id, epoch) with measures."""
    diverged: dict[str, int] = field(default_factory=dict)
    """trajectory id -> the epoch it diverged in: every later epoch is settled as well."""
    failed: dict[str, int] = field(default_factory=dict)
    """trajectory id -> the horizon it was to reach: not tried again up to there unless asked."""
    measured: frozenset[tuple[str, int, str]] = frozenset()
    """(trajectory id, epoch, measure on demand) that was taken."""
    stopped: dict[tuple[str, str], int] = field(default_factory=dict)
    """(trajectory id, digest of settings of early stopping) -> the horizon it was to reach when it was stopped under
    these: settled up to there for a sweep that has them, and not done for any other."""

    @classmethod
    def of(cls, table: pa.Table) -> Done:
        """What rows with the columns trajectory_id, epoch and outcome say; of measures on demand, where the columns
        of MARKS are there too; of what was stopped, where stopped_by is."""
        finished = pc.equal(table["outcome"], Outcome.FINISHED)
        names = [name for name in ("trajectory_id", "epoch", "outcome", STOPPED_BY) if name in table.column_names]
        others = table.select(names).filter(pc.invert(finished))
        diverged: dict[str, int] = {}
        failed: dict[str, int] = {}
        stopped: dict[tuple[str, str], int] = {}
        for trajectory_id, epoch, outcome, *by in zip(*(column.to_pylist() for column in others.columns), strict=True):
            if outcome == Outcome.DIVERGED:
                diverged[trajectory_id] = min(epoch, diverged.get(trajectory_id, epoch))
            elif outcome == Outcome.STOPPED:
                for each in by:
                    stopped[trajectory_id, each] = max(epoch, stopped.get((trajectory_id, each), epoch))
            else:
                failed[trajectory_id] = max(epoch, failed.get(trajectory_id, epoch))
        measured: set[tuple[str, int, str]] = set()
        for measure, mark in MARKS.items():
            if mark in table.column_names:
                taken = table.filter(table[mark].is_valid())
                pairs = zip(taken["trajectory_id"].to_pylist(), taken["epoch"].to_pylist(), strict=True)
                measured.update((trajectory_id, epoch, measure) for trajectory_id, epoch in pairs)
        return cls(Pairs.of(table.filter(finished)), diverged, failed, frozenset(measured), stopped)

    def outcome(self, trajectory_id: str, epoch: int, stopped_by: str | None = None) -> Outcome:
        """finished, diverged (in this or an earlier epoch), stopped (on the way to it, under these settings), failed
        (on the way to it), or missing."""
        if (trajectory_id, epoch) in self.rows:
            return Outcome.FINISHED
        if self.diverged.get(trajectory_id, epoch + 1) <= epoch:
            return Outcome.DIVERGED
        if stopped_by is not None and self.stopped.get((trajectory_id, stopped_by), -1) >= epoch:
            return Outcome.STOPPED
        return Outcome.FAILED if self.failed.get(trajectory_id, -1) >= epoch else Outcome.MISSING

    def covers(self, trajectory_id: str, epoch: int) -> bool:
        return self.outcome(trajectory_id, epoch) != "missing"

    def united(self, other: Done) -> Done:
        """What either says."""
        diverged, failed = dict(self.diverged), dict(self.failed)
        for trajectory_id, epoch in other.diverged.items():
            diverged[trajectory_id] = min(epoch, diverged.get(trajectory_id, epoch))
        for trajectory_id, epoch in other.failed.items():
            failed[trajectory_id] = max(epoch, failed.get(trajectory_id, epoch))
        stopped = dict(self.stopped)
        for key, epoch in other.stopped.items():
            stopped[key] = max(epoch, stopped.get(key, epoch))
        return Done(self.rows | other.rows, diverged, failed, self.measured | other.measured, stopped)

    def without_failed(self) -> Done:
        return Done(self.rows, self.diverged, measured=self.measured, stopped=self.stopped)
