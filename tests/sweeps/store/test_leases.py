"""Tests of leases: which run holds one, which run gives way, and what happens to the lease of a dead worker."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.errors import StoreError
from sweeps.store import leases
from sweeps.store.atomic_files import Location
from sweeps.store.leases import Lease, Run


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return Location(tmp_path / "store")


def test_who_comes_later_gives_way_for_what_is_held(location):
    first, second = Run.begin(location), Run.begin(location)
    with Lease(location, first, ["a", "b"]) as held:
        assert held.taken == frozenset()
        with Lease(location, second, ["b", "c"]) as late:
            assert late.taken == {"b"}
            with Lease(location, first, ["b", "c"]) as again:
                assert again.taken == {"c"}, "b is the first run's own, and the second does not hold it"
    with Lease(location, second, ["a", "b", "c"]) as free:
        assert free.taken == frozenset()


def test_workers_of_one_run_do_not_give_way_to_each_other(location):
    run = Run.begin(location)
    with Lease(location, run, ["a"]), Lease(location, run, ["a"]) as other:
        assert other.taken == frozenset()


def test_it_knows_of_another_run_when_that_is_over_too(location):
    run = Run.begin(location)
    with Lease(location, run, ["a"]) as lease:
        assert lease.alone
    Run.begin(location)
    with Lease(location, run, ["a"]) as lease:
        assert not lease.alone


def test_it_is_given_back_and_after_days_nothing_is_left(location, tmp_path):
    run = Run.begin(location)
    with Lease(location, run, ["a"]):
        assert len(list((tmp_path / "store" / "leases").iterdir())) == 2
    (left,) = (tmp_path / "store" / "leases").iterdir()
    old = time.time() - 3 * 86_400
    os.utime(left, (old, old))
    later = Run.begin(location)
    assert [path.name for path in (tmp_path / "store" / "leases").iterdir()] == [f"{later.id}.run"]


YEAR = 365 * 86_400


@pytest.mark.parametrize("ahead", [YEAR, -YEAR])
def test_the_date_of_another_file_changes_no_lease(location, tmp_path, ahead):
    """A file of another machine, or with another clock, says nothing about the present."""
    folder = tmp_path / "store" / "leases"
    run, other = Run.begin(location), Run.begin(location)
    with Lease(location, run, ["a"], renew_seconds=600):
        strange = folder / f"{'0' * 32}-1.lease"
        for name in (strange.name, f"{'0' * 32}.run", "notes.txt", ".0.tmp"):
            (folder / name).write_text("elsewhere 1@2.00\nb")
            os.utime(folder / name, (time.time() + ahead,) * 2)
        (folder / "a folder").mkdir()
        with Lease(location, other, ["a", "b"]) as lease:
            assert lease.taken == {"a"}, "a lease that is not renewed holds nothing"
        living = {path.name for path in folder.iterdir()} - {strange.name, f"{'0' * 32}.run"}
        later = Run.begin(location)
        assert {path.name for path in folder.iterdir()} == {*living, f"{later.id}.run"}


class Forgetful(Location):
    """A store whose listing is empty, as between a deletion and the next write."""

    def list(self, folder: str) -> list[Any]:
        return []


def test_an_empty_listing_is_not_an_error(tmp_path):
    location = Forgetful(tmp_path / "store")
    with Lease(location, Run.begin(location), ["a"]) as lease:
        assert lease.taken == frozenset()


HOLDER = """
import sys, time
from sweeps.store.leases import Lease, Run
from sweeps.store.atomic_files import Location
location = Location(sys.argv[1])
with Lease(location, Run.begin(location), ["a"]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.xdist_group("forks")
def test_a_dead_process_of_this_machine_holds_nothing(location, tmp_path, fork):
    holder = fork(HOLDER, ["holder", str(location)], tmp_path)
    holder.wait_for("held")
    with Lease(location, Run.begin(location), ["a"]) as lease:
        assert lease.taken == {"a"}
    holder.kill()
    holder.communicate()
    with Lease(location, Run.begin(location), ["a"]) as lease:
        assert lease.taken == frozenset()


def test_a_lease_of_another_machine_is_held_until_it_is_not_renewed(location, tmp_path):
    path = f"leases/{Run.begin(location).id}-1.lease"
    location.write(path, b"elsewhere 1@2.00\na")
    run = Run.begin(location)
    with Lease(location, run, ["a"]) as lease:
        assert lease.taken == {"a"}
    old = time.time() - leases.HELD_SECONDS - 1
    os.utime(tmp_path / "store" / path, (old, old))
    with Lease(location, run, ["a"]) as lease:
        assert lease.taken == frozenset()


def test_it_is_renewed_while_it_is_held(location, tmp_path):
    with Lease(location, Run.begin(location), ["a"], renew_seconds=0.01) as lease:
        path = tmp_path / "store" / lease._path
        written = path.stat().st_mtime_ns
        assert_soon(lambda: path.stat().st_mtime_ns > written)


class Flaky(Location):
    """A folder that cannot be written while `broken` is true."""

    broken = False

    def write(self, path: str, content: bytes) -> None:
        if self.broken:
            raise StoreError("store x: cannot be written: No space left on device")
        super().write(path, content)


def test_a_lease_that_cannot_be_renewed_is_logged_once(tmp_path, caplog):
    location = Flaky(tmp_path / "store")
    with Lease(location, Run.begin(location), ["a", "b"], renew_seconds=0.01):
        location.broken = True
        assert_soon(lambda: bool(caplog.messages))
        time.sleep(0.1)
        location.broken = False
    (message,) = caplog.messages
    assert message == (
        "lease of 2 trainings not renewed: store x: cannot be written: No space left on device; "
        "trying again every 0.01 s, but after 30 s another run may train them too"
    )


def test_giving_way_to_another_run_is_logged(location, caplog):
    caplog.set_level("INFO", "memsweep")
    with Lease(location, Run.begin(location), ["a"]), Lease(location, Run.begin(location), ["a", "b"]):
        assert caplog.messages == ["lease of 1 trainings given up: another run is training them"]


def assert_soon(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()
