"""Which holders of leases are known to be dead: processes of this machine and this container, and no others."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.store import holders
from sweeps.store.holders import has_died, own_name

CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc"]


@pytest.fixture
def ended() -> str:
    """Return the name of a process of this machine that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = f"{own_name().rpartition(' ')[0]} {process.pid}@{psutil.Process(process.pid).create_time():.2f}"
    assert not has_died(name)
    process.communicate(b"\n")
    return name


def test_a_process_of_this_machine_is_known_to_be_dead(ended: str):
    assert has_died(ended)
    assert not has_died(own_name())


def test_a_process_with_the_number_of_a_dead_one_is_another_one():
    place, _, process = own_name().rpartition(" ")
    number, _, started = process.partition("@")
    assert has_died(f"{place} {number}@{float(started) - 1:.2f}")


def test_a_process_that_waits_for_its_parent_to_hear_of_its_end_is_dead():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        name = f"{own_name().rpartition(' ')[0]} {process.pid}@{psutil.Process(process.pid).create_time():.2f}"
        assert process.stdin
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert has_died(name)


@pytest.mark.parametrize("other", ["another start of the machine", "another container", "another name of the host"])
def test_two_machines_or_containers_with_one_name_know_nothing_of_each_other(ended, monkeypatch, other):
    host, started, table = ended.split(" ")[0].split("/")
    place = {
        "another start of the machine": f"{host}/{started[::-1]}/{table}",
        "another container": f"{host}/{started}/{int(table) + 1}",
        "another name of the host": f"{host}-2/{started}/{table}",
    }[other]
    assert not has_died(f"{place} {ended.rpartition(' ')[2]}")


@pytest.mark.parametrize("error", [PermissionError(1, "not yours"), None])
def test_a_process_that_another_user_hides_is_not_known_to_be_dead(ended, monkeypatch, error):
    """With hidepid, /proc does not show processes of other users, but they can be asked for by their number."""

    def kill(number: int, signal: int) -> None:
        if error:
            raise error

    monkeypatch.setattr(os, "kill", kill)
    assert not has_died(ended)


@given(st.text())
def test_no_text_in_a_lease_is_the_name_of_a_dead_process_by_accident(text: str):
    assert not has_died(text)
    place = own_name().rpartition(" ")[0]
    number = text.partition("@")[0]
    assert not has_died(f"{place} x{text}")
    assert not number.isdecimal() or isinstance(has_died(f"{place} {text}"), bool)


def test_without_linux_a_start_of_the_machine_has_a_name_too(monkeypatch):
    monkeypatch.setattr(holders, "Path", lambda name: open("/nowhere"))  # noqa: SIM115
    assert re.fullmatch(rf"{re.escape(socket.gethostname())}/\d+", holders._place.__wrapped__())


@pytest.mark.skipif(
    subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode != 0,
    reason="a table of processes of its own takes rights that this user has not",
)
def test_a_container_of_this_machine_has_a_place_of_its_own():
    program = "from sweeps.store.holders import own_name; print(own_name())"
    done = subprocess.run([*CONTAINER, sys.executable, "-c", program], capture_output=True, text=True, check=True)
    name = done.stdout.rstrip("\n")
    assert name.split("/")[:2] == own_name().split("/")[:2]
    assert name.split("/")[2].split(" ")[0] != own_name().split("/")[2].split(" ")[0]
    assert not has_died(name)
