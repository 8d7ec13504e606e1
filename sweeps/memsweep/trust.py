"""Which modules the text of a sweep may name as data or a model, that is, which code a sweep file may run.

These are the modules in the folder of the sweep file and in the working folder, memsweep's own, those of plug-ins, and
those that the user trusts by name. docs/security.md says why.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lightning_modules.data.sources import BUILT_IN, IMPORT_PATH, OUTSIDE
from lightning_modules.errors import quoted
from lightning_modules.models import FAMILIES
from lightning_modules.user_files import INSTALLED, OURS, is_standard, places_of
from sweeps.errors import SweepError
from sweeps.plugins import load_plugins
from sweeps.spec.sweep import Sweep

VARIABLE = "MEMSWEEP_TRUSTED_MODULES"
PROVIDED = ("lightning_modules.data", "lightning_modules.models", "memsweep.testing")
"""The packages of memsweep with data and models. Other functions of memsweep would do what no sweep file should."""


def trusted_by_name(sweep: Sweep, folder: Path | None, given: Sequence[str] = ()) -> list[str]:
    """Check the modules that a sweep names, none of which is imported.

    Args:
        sweep: A sweep that was read from text.
        folder: The folder of its file, if it has one.
        given: The modules that the user trusts, with all modules in them, besides those in the environment variable.

    Returns:
        Those of the modules that the user trusts which the sweep needs.

    Raises:
        SweepError: The sweep names a module that is neither the user's own nor trusted.
    """
    paths = [*_import_paths(sweep)]
    if not paths:
        return []  # to look for plug-ins takes 20 ms
    trusted = [*given, *(name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip())]
    folders = [Path.cwd(), *([folder.resolve()] if folder else [])]
    always = [*PROVIDED, *(_package(name) for name in load_plugins())]
    needed: dict[str, None] = {}
    for key, path in paths:
        module = path.partition(":")[0]
        if _within(module, always) or _is_own(_package(module), folders):
            continue
        name = next((name for name in trusted if _within(module, [name])), None)
        if name is None:
            problem = f"given {quoted(path)}, whose module {_where(_package(module))}"
            valid = "valid: a module in the folder of the sweep file or in the working folder"
            allow = f"--trust-module {_package(module)} allows the sweep to run this code too"
            raise SweepError(sweep.source, key, f"{problem}; {valid}; {allow}")
        needed[name] = None
    return [*needed]


def _import_paths(sweep: Sweep) -> Iterator[tuple[str, str]]:
    """Yield the key and the value of all data and models that are import paths."""
    places = [("fixed", sweep.fixed.items())] + [
        (f"grid[{index}]" if len(sweep.grids) > 1 else "grid", grid.items()) for index, grid in enumerate(sweep.grids)
    ]
    for block, items in places:
        for field, values in items:
            for value in values if isinstance(values, tuple) else [values]:
                if field == "model" and ":" in value and value not in FAMILIES:
                    yield f"{block}.{field}", value
                if field == "data" and IMPORT_PATH.fullmatch(value) and not _is_source(value):
                    yield f"{block}.{field}", value


def _is_source(data: str) -> bool:
    return data in BUILT_IN or data.partition(":")[0] in OUTSIDE


def _package(module: str) -> str:
    return module.partition(".")[0]


def _within(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _is_own(package: str, folders: Sequence[Path]) -> bool:
    """Return whether a package lies in one of the folders, or is not found, which is said when it is imported."""
    if is_standard(package) or package in OURS:
        return False
    return all(_lies_in(Path(place), folders) for place in places_of(package))


def _lies_in(place: Path, folders: Sequence[Path]) -> bool:
    path = place.resolve()
    inside = [path.relative_to(folder) for folder in folders if path.is_relative_to(folder)]
    return place.is_absolute() and any(not INSTALLED & {*relative.parts} for relative in inside)


def _where(package: str) -> str:
    if is_standard(package):
        return "belongs to Python"
    if package in OURS:
        return "is memsweep's and has neither data nor models"
    return f"is {' and '.join(places_of(package))}"
