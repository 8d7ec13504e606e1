"""The cores and the memory of this machine that this process may use.

A container, a batch scheduler or systemd limits a process by control groups. Neither the number of cores that the
operating system reports nor the memory that is free on the machine say so.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path("/")
"""The folder in which `proc` and `sys` are looked up. Tests replace it."""


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1.

    It is the number of cores to which the process is bound, or the quota of processor time of its control groups,
    rounded up, whichever is smaller. Where processes cannot be bound, as on macOS, all cores count.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([bound, *(math.ceil(quota) for quota in _core_quotas())]))


def available_bytes() -> int:
    """Return the bytes of memory that this process may still use, at least 0. Page cache that can be freed counts.

    It is the memory that is free on the machine, or what its control groups leave of their limits, if that is less.
    """
    return max(0, min([int(psutil.virtual_memory().available), *_bytes_left()]))


def _core_quotas() -> Iterator[float]:
    """Yield the cores that each limited control group of this process may use on average."""
    for folder in _groups("cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if not quota:  # version 1; a quota of -1 means none
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def _bytes_left() -> Iterator[int]:
    """Yield the bytes that each limited control group of this process leaves it."""
    for folder in _groups("memory"):
        for limit, usage, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            most, used = _text(folder / limit), _text(folder / usage)
            if most.isdecimal() and used.isdecimal():
                counts = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
                freeable = counts.get(cache, "0")
                yield int(most) - int(used) + (int(freeable) if freeable.isdecimal() else 0)


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups of this process and of the groups around them.

    In a container, the folder of the innermost group may be mounted at the root, so that its path leads nowhere.
    """
    mounts = ROOT / "sys/fs/cgroup"
    for line in _text(ROOT / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:  # version 2, beside which version 1 may be mounted
            mount = mounts / "unified" if (mounts / "unified").is_dir() else mounts
        elif controller in controllers.split(","):
            mount = next((mounts / name for name in (controllers, controller) if (mounts / name).is_dir()), mounts)
        else:
            continue
        inner = mount / path.strip("/")
        yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(mount))


def _text(path: Path) -> str:
    """Return what a file of the kernel says, or "" where there is none."""
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return ""
