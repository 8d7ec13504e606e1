"""Where the text of a sweep is found: presets by name, and files by path."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from sweeps.errors import SweepError
from sweeps.spec.yaml_dialect import MAX_CHARACTERS

PRESETS = Path(__file__).parent / "presets"
FULL = "-full"


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def split_full(name: str) -> tuple[str, bool]:
    """Split `NAME-full` into the name and whether the full variant is meant. A file of that very name is itself."""
    full = name.endswith(FULL) and not os.path.isfile(name)
    return (name.removesuffix(FULL) if full else name), full


def folder_of(name: str) -> Path | None:
    """Return the folder of the sweep file that `load_sweep` loads under this name, or None for a preset."""
    name, _ = split_full(name)
    return None if name in preset_names() else Path(name).parent


def read_text(given: str) -> str:
    """Read the text of a preset or a sweep file, up to one character more than a sweep file may have.

    Raises:
        SweepError: If there is no such preset or file, if there are both, or if the file cannot be read. A stream is
            not read, because a sweep is read again by other commands and by the jobs of a cluster.
    """
    name, _ = split_full(given)
    is_file = os.path.isfile(name)
    if name in preset_names():
        if is_file:
            where = f"write ./{name} for the file, or rename it to use the preset"
            raise SweepError(given, "", f"is both a preset and a file of this folder; {where}")
        path = PRESETS / f"{name}.yaml"
    else:
        path = Path(name)
        _check_kind(given, name, is_file)
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MAX_CHARACTERS + 1)
    except UnicodeDecodeError as error:
        raise SweepError(given, "", f"is not UTF-8 text at byte {error.start}; save it as UTF-8") from None
    except (OSError, ValueError) as error:  # a ValueError: a path that no file can have
        raise SweepError(given, "", f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _check_kind(given: str, name: str, is_file: bool) -> None:
    exists = os.path.exists(name)
    is_stream = exists and not is_file and not os.path.isdir(name)
    if name == "-" or "://" in name or name.startswith(("/dev/", "/proc/")) or is_stream:
        problem = "standard input, pipes, devices and URLs are not read, because later commands read the sweep again"
        raise SweepError(given, "", f"{problem}; valid: a preset, or a file such as my-sweep.yaml")
    if not is_file and not Path(name).suffix:
        near = difflib.get_close_matches(name[:100], preset_names(), n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise SweepError(given, "", f"is neither a preset nor a file; {hint}`memsweep list` shows the presets")
