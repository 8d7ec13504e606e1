"""Leases: who holds one, who gives way, and what becomes of one whose holder died."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeps.store import leases
from sweeps.store.leases import Lease, Run
from sweeps.store.location import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "store")


def test_who_comes_later_gives_way_for_what_is_held(place):
    first, second = Run.begin(place), Run.begin(place)
    with Lease(place, first, ["a", "b"]) as held:
        assert held.taken == frozenset()
        with Lease(place, second, ["b", "c"]) as late:
            assert late.taken == {"b"}
            with Lease(place, first, ["b", "c"]) as again:
                assert again.taken == {"c"}, "b is the first run's own, and the second does not hold it"
    with Lease(place, second, ["a", "b", "c"]) as free:
        assert free.taken == frozenset()


def test_workers_of_one_run_do_not_give_way_to_each_other(place):
    run = Run.begin(place)
    with Lease(place, run, ["a"]), Lease(place, run, ["a"]) as other:
        assert other.taken == frozenset()


def test_it_knows_of_another_run_when_that_is_over_too(place):
    run = Run.begin(place)
    with Lease(place, run, ["a"]) as lease:
        assert lease.alone
    Run.begin(place)
    with Lease(place, run, ["a"]) as lease:
        assert not lease.alone


def test_it_is_given_back_and_after_days_nothing_is_left(place, tmp_path):
    run = Run.begin(place)
    with Lease(place, run, ["a"]):
        assert len(list((tmp_path / "store" / "leases").iterdir())) == 2
    (left,) = (tmp_path / "store" / "leases").iterdir()
    old = time.time() - 3 * 86_400
    os.utime(left, (old, old))
    later = Run.begin(place)
    assert [path.name for path in (tmp_path / "store" / "leases").iterdir()] == [f"{later.id}.run"]


HOLDER = """
import sys
from sweeps.store.leases import Lease, Run
from sweeps.store.location import Place
place = Place(sys.argv[1])
with Lease(place, Run.begin(place), ["a"]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_dead_process_of_this_machine_holds_nothing(place):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, place.uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with Lease(place, Run.begin(place), ["a"]) as lease:
        assert lease.taken == {"a"}
    holder.kill()
    holder.communicate()
    with Lease(place, Run.begin(place), ["a"]) as lease:
        assert lease.taken == frozenset()


def test_a_lease_of_another_machine_is_held_until_it_is_not_renewed(place, tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    lost = Lease(place, Run.begin(place), ["a"])
    lost._write()
    monkeypatch.undo()
    run = Run.begin(place)
    with Lease(place, run, ["a"]) as lease:
        assert lease.taken == {"a"}
    old = time.time() - leases.HELD_SECONDS - 1
    os.utime(tmp_path / "store" / lost._path, (old, old))
    with Lease(place, run, ["a"]) as lease:
        assert lease.taken == frozenset()


def test_it_is_renewed_while_it_is_held(place, tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.01)
    with Lease(place, Run.begin(place), ["a"]) as lease:
        path = tmp_path / "store" / lease._path
        written = path.stat().st_mtime_ns
        deadline = time.monotonic() + 30
        while path.stat().st_mtime_ns == written and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime_ns > written
