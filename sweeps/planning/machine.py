"""The machine that plans: its processor, its caches, and what it remembers of the speed of its devices."""

from __future__ import annotations

import platform
import re
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from lightning_modules.machine_limits import usable_cores
from sweeps.planning.cost import call_seconds, core_rate
from sweeps.planning.speed import BULK, CACHE_BYTES, GPU, GPU_MULTIPROCESSORS, Speed
from sweeps.planning.throughput import remembered

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@cache
def processor() -> str:
    """Return the model of this machine's processor."""
    with suppress(OSError):
        if model := re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return model[1]
    return platform.processor() or platform.machine()


@cache
def cache_share() -> int:
    """Return the bytes of the last cache divided by the cores that share it, or a typical size if it is not known."""
    try:
        *_, last = sorted(_CACHES.glob("index*"))
        size = (last / "size").read_text().strip()
        unit = {"K": 2**10, "M": 2**20}.get(size[-1:], 1)
        ranges = [part.split("-") for part in (last / "shared_cpu_list").read_text().split(",")]
        cores = sum(int(part[-1]) - int(part[0]) + 1 for part in ranges)
        return int(size.rstrip("KM")) * unit // min(cores, usable_cores())
    except (OSError, ValueError):
        return CACHE_BYTES


def local_speed() -> Speed:
    """Return the speed of a core of this machine. Two rates are measured once, in 0.1 s, and remembered."""
    table = remembered(processor())
    if table.core_rate is None or table.call_seconds is None:
        table = replace(table, core_rate=core_rate(), call_seconds=call_seconds())
        table.save()
    return Speed(table, cache_share())


def gpu_speed(name: str, multiprocessors: int = 0) -> Speed:
    """Return the speed of a GPU of this name, such as "NVIDIA H100", with this many multiprocessors, if it is known."""
    slower = GPU_MULTIPROCESSORS / multiprocessors if multiprocessors else 1.0
    scaled = {quantity: seconds * (slower if quantity in BULK else 1.0) for quantity, seconds in GPU.items()}
    return Speed(remembered(name), cache_bytes=0, coefficients=scaled)
