"""What other runs have completed in the store, kept up to date by reading only new parts."""

from __future__ import annotations

from functools import cache

import pyarrow as pa

from sweeps.planning.plan import Training
from sweeps.store.deduplication import KEY, deduplicate
from sweeps.store.deduplication import LATEST as LATEST_COLUMNS
from sweeps.store.done import STOPPED_BY, Done, marks
from sweeps.store.leases import Run
from sweeps.store.parts import PARTS, Part, listed, load
from sweeps.store.records import Outcome, schema
from sweeps.store.store import Store


class CompletedElsewhere:
    """Incremental view of what other runs have completed in this store.

    Failed trainings count as open: the caller is about to retry them.
    """

    def __init__(self, store: Store) -> None:
        self._location = store.location
        self._seen: set[str] = set()
        self._done = Done()

    def among(self, trainings: tuple[Training, ...], stopped_by: str | None = None) -> frozenset[str]:
        """The ids of those that have every row and measure that is asked of them, or were stopped under these settings
        of early stopping. Raises StoreError."""
        self._look()
        done = self._done.without_failed()
        return frozenset(each.id for each in trainings if _covers(done, each, stopped_by))

    def _look(self) -> None:
        names = dict.fromkeys((*KEY, "outcome", *marks().values(), STOPPED_BY, *LATEST_COLUMNS))
        kept = pa.schema([schema().field(name) for name in names])
        for info in listed(self._location, PARTS)[0]:
            if info.base_name not in self._seen:
                part = load(self._location, f"{PARTS}/{info.base_name}", kept)
                self._seen.add(info.base_name)
                if isinstance(part, Part):
                    self._done = self._done.union(Done.of(deduplicate(part.rows)))


def _covers(done: Done, training: Training, stopped_by: str | None) -> bool:
    for epoch in training.requested:
        outcome = done.outcome(training.id, epoch, stopped_by)
        wanted = {(training.id, at, name) for at in training.measured if at <= epoch for name in training.measured[at]}
        if outcome == Outcome.MISSING or (outcome == Outcome.FINISHED and not wanted <= done.measured):
            return False
    return True


@cache
def completed_in(uri: str, run: Run) -> CompletedElsewhere:
    """One view per run that this process works for, so that a worker reads no part twice."""
    return CompletedElsewhere(Store(uri))
