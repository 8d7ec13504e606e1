"""Views of the trainings that other runs have completed in a store. To update a view, only new parts are read."""

from __future__ import annotations

from functools import cache

import pyarrow as pa

from sweeps.planning.plan import Training
from sweeps.store.address import Address
from sweeps.store.deduplication import KEY, deduplicate
from sweeps.store.deduplication import LATEST as LATEST_COLUMNS
from sweeps.store.done import STOPPED_BY, Done, marks
from sweeps.store.leases import Run
from sweeps.store.parts import PARTS, Part, listed, load
from sweeps.store.records import Outcome, schema
from sweeps.store.store import Store


class CompletedElsewhere:
    """An incremental view of the trainings that other runs have completed in a store.

    Failed trainings do not count as completed, because the caller is about to retry them.
    """

    def __init__(self, store: Store) -> None:
        self._location = store.location
        self._seen: set[str] = set()
        self._done = Done()

    def among(self, trainings: tuple[Training, ...], stopped_by: str | None = None) -> frozenset[str]:
        """Return the ids of the trainings that have all requested rows and measures, or that were stopped under the
        settings of early stopping with the digest `stopped_by`. Raises StoreError."""
        self._update()
        done = self._done.without_failed()
        return frozenset(training.id for training in trainings if _covers(done, training, stopped_by))

    def _update(self) -> None:
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
def completed_in(uri: Address, run: Run) -> CompletedElsewhere:
    """Return the view of a run. The process shares one view, so that a worker reads no part twice."""
    return CompletedElsewhere(Store(uri))
