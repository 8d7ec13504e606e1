"""The folder of this machine in which files are kept that save time and can always be made again."""

from __future__ import annotations

import os
from pathlib import Path

from lightning_modules.whole_files import written_whole


def cache_folder() -> Path:
    """Return MEMSWEEP_CACHE, else XDG_CACHE_HOME/memsweep, else ~/.cache/memsweep. The folder need not exist."""
    if own := os.environ.get("MEMSWEEP_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "memsweep"


def write_to_cache(path: Path, *content: bytes | memoryview) -> bool:
    """Write the parts of a file of the cache whole or not at all, and return whether the file was written.

    A cache that cannot be written (a full disk, a folder without permission) costs time and is no error.
    """
    try:
        with written_whole(path, durable=False) as aside, aside.open("wb") as file:
            file.writelines(content)
    except OSError:
        return False
    return True
