"""The names of processes that hold leases, and whether such a process has died."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil


def own_name() -> str:
    """Return a name of this process that no other process of any machine has, without spaces at its ends or lines."""
    return f"{_place()} {_of(psutil.Process())}"


def has_died(name: str) -> bool:
    """Return whether a process that `own_name` has named is known to be dead.

    Only a process of this machine, and of this container if there are several, can be known to be dead.
    """
    place, _, process = name.rpartition(" ")
    number = process.partition("@")[0]
    if place != _place() or not number.isdecimal():
        return False
    try:
        found = psutil.Process(int(number))
        return bool(found.status() == psutil.STATUS_ZOMBIE or _of(found) != process)
    except psutil.NoSuchProcess:  # also where the processes of other users are hidden
        return not _exists(int(number))
    except (psutil.Error, OverflowError):
        return False


@cache
def _place() -> str:
    """Return the name of this machine since it was started, and of the table of processes that this process sees.

    Two machines may have one host name, and containers of one machine have process tables of their own.
    """
    with suppress(OSError):
        started = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}/{started}/{os.stat('/proc/self/ns/pid').st_ino}"
    return f"{socket.gethostname()}/{psutil.boot_time():.0f}"


def _of(process: psutil.Process) -> str:
    """Return a name that differs from the names of later processes with the same id."""
    return f"{process.pid}@{process.create_time():.2f}"


def _exists(number: int) -> bool:
    try:
        os.kill(number, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
