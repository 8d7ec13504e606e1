"""Leases on trainings in progress, which prevent two runs on one store from repeating each other's trainings.

    ROOT/leases/<run>.run          marks that a run has begun
    ROOT/leases/<run>-<id>.lease   names one worker process of the run and the ids of its current trainings

Workers renew their leases. A lease that is not renewed belongs to a dead worker. The age of a lease is measured by
the store's own clock, which a worker reads from the date of the file that it has just written, and never from the files
of others: anybody may date these. To lease trainings, a worker writes a lease, lists all other leases, and gives up
every training that another lease contains. If two workers lease a training at the same moment, both give it up and try
again later.
"""

from __future__ import annotations

import datetime
import logging
import re
import threading
import uuid
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from pyarrow import fs

from sweeps.errors import StoreError
from sweeps.store.atomic_files import Location
from sweeps.store.holders import has_died, own_name

_log = logging.getLogger(f"memsweep.{__name__}")

FOLDER = "leases"
_NAME = re.compile(r"[^.].*\.(?:run|lease)")
RENEW_SECONDS = 5.0
HELD_SECONDS = 30.0
"""Seconds without renewal after which a worker counts as dead. In its own machine or container, its death is seen at
once."""
HELD = datetime.timedelta(seconds=HELD_SECONDS)
"""A lease that is dated further ahead than this is not renewed either: its date would be the present."""
FORGET = datetime.timedelta(days=2)
"""Files of runs that wrote nothing for longer than this, or are dated as far ahead, are deleted by the next run."""


@dataclass(frozen=True)
class Run:
    """One run of a sweep. All workers of the run share its id."""

    id: str

    @classmethod
    def begin(cls, location: Location) -> Run:
        """Announce a new run in the store. Raises StoreError."""
        run = cls(uuid.uuid4().hex)
        path = f"{FOLDER}/{run.id}.run"
        location.write(path, b"")
        infos = _listed(location)
        now = _now(infos, path)
        living = {_run_of(info) for info in infos if abs(now - info.mtime) < FORGET}
        for info in infos:
            if _run_of(info) not in living:
                location.delete(f"{FOLDER}/{info.base_name}")
        return run

    def is_seen_at(self, location: Location) -> bool:
        """Return whether this run has begun in this store, which a folder of the same name elsewhere does not show.

        Raises StoreError.
        """
        return location.read(f"{FOLDER}/{self.id}.run") is not None


class Lease:
    """A context manager that leases trainings for one worker. Entering it may raise StoreError.

    `taken` contains the trainings that another run has leased. `alone` is True if no other run began within FORGET.
    """

    def __init__(
        self, location: Location, run: Run, ids: Collection[str], renew_seconds: float = RENEW_SECONDS
    ) -> None:
        self._location = location
        self._run = run
        self._renew_seconds = renew_seconds
        self._path = f"{FOLDER}/{run.id}-{uuid.uuid4().hex}.lease"
        self._ids = frozenset(ids)
        self._ended = threading.Event()
        self._renewal = threading.Thread(target=self._renew, daemon=True)
        self.taken: frozenset[str] = frozenset()
        self.alone = True

    def __enter__(self) -> Lease:
        self.taken = self._claim()
        self._renewal.start()
        return self

    def take(self, ids: Collection[str]) -> frozenset[str]:
        """Lease further trainings, and return those that another run has already leased. Raises StoreError."""
        self._ids |= frozenset(ids)
        taken = self._claim() & frozenset(ids)
        self.taken |= taken
        return taken

    def _claim(self) -> frozenset[str]:
        """Write this lease, and give up and return the trainings in it that another run has already leased."""
        self._write()
        infos = _listed(self._location)
        others = [info for info in infos if not info.base_name.startswith(self._run.id)]
        self.alone = not others
        now = _now(infos, self._path)
        recent = [info for info in others if info.base_name.endswith(".lease") and abs(now - info.mtime) < HELD]
        taken = frozenset(i for info in recent for i in self._leased_ids(info)) & self._ids
        if taken:
            _log.info("lease of %d trainings given up: another run is training them", len(taken))
            self._ids -= taken
            self._write()  # so that other runs need not give up these trainings
        return taken

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._renewal.join()
        with suppress(StoreError):  # a lease that cannot be deleted expires
            self._location.delete(self._path)

    def _leased_ids(self, info: fs.FileInfo) -> list[str]:
        """Return the training ids in a lease, or [] if its process ran on this machine and is dead."""
        content = self._location.read(f"{FOLDER}/{info.base_name}") or b"\n"
        holder, *ids = content.decode("utf-8", "replace").split("\n")
        return [] if has_died(holder) else ids

    def _write(self) -> None:
        lines = [own_name(), *sorted(self._ids)]
        self._location.write(self._path, "\n".join(lines).encode())

    def _renew(self) -> None:
        lost = False
        while not self._ended.wait(self._renew_seconds):
            try:
                self._write()
                lost = False
            except StoreError as error:  # if it persists, storing the rows will raise it
                if not lost:
                    _log.warning(
                        "lease of %d trainings not renewed: %s; trying again every %g s, but after %g s another run "
                        "may train them too", len(self._ids), error, self._renew_seconds, HELD_SECONDS,
                    )  # fmt: skip
                lost = True


def _run_of(info: fs.FileInfo) -> str:
    """Return the id of the run to which a file of `_listed` belongs."""
    name: str = info.base_name
    return name.removesuffix(".run").partition("-")[0]


def _listed(location: Location) -> list[fs.FileInfo]:
    """Return the files of runs and leases, and no others."""
    infos = location.list(FOLDER)
    return [info for info in infos if info.type == fs.FileType.File and _NAME.fullmatch(info.base_name)]


def _now(infos: list[fs.FileInfo], written: str) -> datetime.datetime:
    """Return the date of the file that this process has just written; this machine's time if it is not listed."""
    dates = [info.mtime for info in infos if written.endswith(f"/{info.base_name}")]
    return dates[0] if dates else datetime.datetime.now(datetime.UTC)
