"""Sweeps whose data are missing, of which a store has a record."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager

from memsweep.messages import warn, warn_of_damage

from lightning_modules.data import sources
from lightning_modules.data.recalled import Identity, recalling
from lightning_modules.errors import InputError, MissingDataError, shortened
from sweeps.errors import SweepError
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.sweep import Sweep
from sweeps.store.data_records import find_record
from sweeps.store.done import Done
from sweeps.store.store import Store


@contextmanager
def read_without_data(store: Store) -> Iterator[None]:
    """Let sweeps be planned in this block without data that are missing, if the store has a record, and warn of it.

    Raises:
        MissingDataError: data are missing, and the store has no record of them.
        StoreError: data are missing, and the store's records cannot be read.
    """
    notes: list[str] = []

    def recall(name: str, error: MissingDataError) -> Identity:
        record, damaged = find_record(store.location, name)
        warn_of_damage(damaged)
        if record is None:
            store.check_exists()
            remedy = "data that were moved or renamed are given by --set data=parquet:PATH, and keep all results"
            problem = f"the store {store} has no record of these data, which `memsweep run` writes"
            raise MissingDataError("data", f"{error}; {problem}; {remedy}")
        when = f"{record.written.astimezone(datetime.UTC):%Y-%m-%d %H:%M} UTC"
        notes.append(f"data: {shortened(name, 200)} is missing; its results are read by the record of a run on {when}")
        return record.identity

    with recalling(recall):
        yield
    warn(notes)


def rest_of(sweep: Sweep, packing: Packing, done: Done, store: Store) -> Plan:
    """Plan what is left of a sweep. Data are needed only for points that are not done, if the store has a record.

    Raises:
        SweepError: the sweep is not valid, or points that are not done need data that are missing.
    """

    def recall(name: str, error: MissingDataError) -> Identity | None:
        record, _ = find_record(store.location, name)
        return record.identity if record else None

    with recalling(recall) as missing:
        plan = Plan.of(sweep, packing).without(done)
    for name in {cell.point.data for cell in plan.missing} & missing.keys():
        try:
            sources.content_digest(name)
        except InputError as error:
            raise SweepError(sweep.source, error.field, str(error)) from None
    return plan
