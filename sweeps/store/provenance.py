"""Provenance of a training: software versions, machine and git commit."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path


@cache
def software() -> dict[str, str]:
    """Return the software versions, the commit and the machine, which are equal for all trainings of a process."""
    return {
        "host": f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores",
        "memsweep_version": metadata.version("memsweep"),
        "commit": _commit(),
        "torch_version": metadata.version("torch"),
        "ray_version": metadata.version("ray"),
    }


def _commit() -> str:
    """Return the git commit of this code, or "" if the code is not in its own git checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        head, changes = (
            subprocess.run(["git", "-C", str(root), *args], capture_output=True, text=True, check=True, timeout=10)
            for args in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "")
