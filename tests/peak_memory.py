"""The peak of a process's memory."""

from __future__ import annotations

import re
from pathlib import Path


def peak_bytes() -> int:
    """Return the largest resident memory of this process. (`ru_maxrss` includes that of the process it forked from.)"""
    match = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    assert match
    return int(match[1]) * 1024
