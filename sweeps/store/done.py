"""Sets of a store's settled points, compact enough for millions of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lightning_modules.measures.catalogue import MEASURES_ON_DEMAND
from sweeps.store.records import Outcome

STOPPED_BY = "stopped_by"


def marks() -> dict[str, str]:
    """Map each on-demand measure to its first column, which is null exactly in rows that lack the measure."""
    return {name: next(iter(measure.columns)) for name, measure in MEASURES_ON_DEMAND.items()}


class Pairs(Set[tuple[str, int]]):
    """An immutable set of (trajectory id, epoch), equal to any other set of the same pairs.

    Pairs stores one set of epochs per trajectory, and trajectories with equal sets share one object. 3 million pairs of
    100,000 trajectories take 15 MB, compared with 700 MB for a frozenset of tuples.
    """

    def __init__(self, pairs: Iterable[tuple[str, int]] = ()) -> None:
        epochs: dict[str, set[int]] = {}
        for trajectory_id, epoch in pairs:
            epochs.setdefault(trajectory_id, set()).add(epoch)
        self._epochs: Mapping[str, frozenset[int]] = {key: frozenset(values) for key, values in epochs.items()}

    @classmethod
    def of(cls, table: pa.Table) -> Pairs:
        """Collect the trajectory_id and epoch of every row of a table."""
        ids = table["trajectory_id"].cast(pa.string()).dictionary_encode().combine_chunks()
        codes, epochs = ids.indices.to_numpy(), table["epoch"].to_numpy()
        order = np.argsort(codes, kind="stable")
        ends = 4 * np.cumsum(np.bincount(codes, minlength=len(ids.dictionary)))
        buffer, shared = epochs[order].astype(np.int32).tobytes(), dict[bytes, frozenset[int]]()
        by_id, start = {}, 0
        for trajectory_id, end in zip(ids.dictionary.to_pylist(), ends.tolist(), strict=True):
            key, start = buffer[start:end], end
            if key not in shared:
                shared[key] = frozenset(np.frombuffer(key, np.int32).tolist())
            by_id[trajectory_id] = shared[key]
        return cls._from_sets(by_id)

    @classmethod
    def _from_sets(cls, epochs: Mapping[str, frozenset[int]]) -> Pairs:
        pairs = cls()
        pairs._epochs = epochs
        return pairs

    def __contains__(self, pair: object) -> bool:
        trajectory_id, epoch = cast(tuple[str, int], pair)
        return epoch in self._epochs.get(trajectory_id, ())

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return ((trajectory_id, epoch) for trajectory_id, epochs in self._epochs.items() for epoch in epochs)

    def __len__(self) -> int:
        return sum(map(len, self._epochs.values()))

    def __or__(self, other: Set[Any]) -> Any:
        """Return the union. For two Pairs, the time grows with the number of trajectories, not of epochs."""
        if not isinstance(other, Pairs):
            return super().__or__(other)
        union = dict(self._epochs)
        for trajectory_id, epochs in other._epochs.items():
            union[trajectory_id] = union.get(trajectory_id, frozenset()) | epochs
        return self._from_sets(union)

    def __repr__(self) -> str:
        return f"Pairs({sorted(self)})"


@dataclass(frozen=True)
class Done:
    """The settled points of a store, which a plan need not train again."""

    rows: Set[tuple[str, int]] = frozenset()
    """(trajectory id, epoch) of the points whose measures are stored."""
    diverged: dict[str, int] = field(default_factory=dict)
    """trajectory id -> the epoch in which it diverged. Every later epoch is settled as well."""
    failed: dict[str, int] = field(default_factory=dict)
    """trajectory id -> the horizon that it failed to reach. Epochs up to this horizon are retried only on request."""
    measured: frozenset[tuple[str, int, str]] = frozenset()
    """The stored on-demand measures, as (trajectory id, epoch, measure)."""
    stopped: dict[tuple[str, str], int] = field(default_factory=dict)
    """(trajectory id, digest of early-stopping settings) -> the horizon that the training was to reach when it was
    stopped. Epochs up to this horizon are settled for sweeps with the same settings, but not for other sweeps."""

    @classmethod
    def of(cls, table: pa.Table) -> Done:
        """Collect the points that a table's rows settle.

        The columns trajectory_id, epoch and outcome are required. If the columns of `marks` are absent, no on-demand
        measure counts as computed. If stopped_by is absent, no training counts as stopped.
        """
        if not table.num_rows:
            return cls()
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
                for digest in by:
                    stopped[trajectory_id, digest] = max(epoch, stopped.get((trajectory_id, digest), epoch))
            else:
                failed[trajectory_id] = max(epoch, failed.get(trajectory_id, epoch))
        measured: set[tuple[str, int, str]] = set()
        for measure, mark in marks().items():
            if mark in table.column_names:
                taken = table.filter(table[mark].is_valid())
                pairs = zip(taken["trajectory_id"].to_pylist(), taken["epoch"].to_pylist(), strict=True)
                measured.update((trajectory_id, epoch, measure) for trajectory_id, epoch in pairs)
        return cls(Pairs.of(table.filter(finished)), diverged, failed, frozenset(measured), stopped)

    def outcome(self, trajectory_id: str, epoch: int, stopped_by: str | None = None) -> Outcome:
        """Return the outcome of a training at an epoch.

        A training that diverged earlier counts as diverged. One that failed or was stopped on the way to this epoch or
        a later one counts as failed or stopped, but as stopped only if `stopped_by` is the digest of its settings.
        """
        if (trajectory_id, epoch) in self.rows:
            return Outcome.FINISHED
        if self.diverged.get(trajectory_id, epoch + 1) <= epoch:
            return Outcome.DIVERGED
        if stopped_by is not None and self.stopped.get((trajectory_id, stopped_by), -1) >= epoch:
            return Outcome.STOPPED
        return Outcome.FAILED if self.failed.get(trajectory_id, -1) >= epoch else Outcome.MISSING

    def covers(self, trajectory_id: str, epoch: int) -> bool:
        return self.outcome(trajectory_id, epoch) != "missing"

    def union(self, other: Done) -> Done:
        """Return the points that are settled in this set or in the other."""
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
