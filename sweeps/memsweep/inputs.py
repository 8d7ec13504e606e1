"""Inputs of the API: sweeps, written in Python or loaded by name, and stores."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from memsweep.trust import trusted_by_name

from lightning_modules.errors import quoted
from sweeps.errors import SweepError
from sweeps.spec import sweep as parsed
from sweeps.spec import sweep_file
from sweeps.spec.excerpt import excerpt
from sweeps.spec.sweep_source import folder_of, preset_names
from sweeps.spec.yaml_dialect import control_character
from sweeps.store.store import Store

DEFAULT_STORE = "results"

StoreLike = Store | str | Path
SweepLike = parsed.Sweep | str | Path
"""A sweep, the name of a preset, or the path of a sweep file."""


class Sweep(parsed.Sweep):
    """A named grid of trainings, written in Python.

    The arguments are the keys of a sweep file, with the same meaning and the same checks. Tuples, ranges and NumPy
    arrays are accepted as lists. A custom model or data set may be given as a function that can be imported by name;
    the function is converted to its import path, "module:function".

    Args:
        name: the name of the sweep, which may contain letters, digits, ".", "_" and "-".
        fixed: a mapping from a field to its value in all trainings.
        grid: a mapping from a field to a list of values, or a list of such mappings for the union of their grids.
        question: the question that the sweep answers, in one sentence.
        exclude: the points to leave out, as a list of mappings from a field to a value or values.
        evaluate: the epochs at which a training is evaluated: "log" (1, 2, 3, 4, 6, 8, 11, 16, ...), "every", or a
            number n for every n epochs. The epochs in the grid are always evaluated.
        measure: the on-demand measures, as a list of names or of {name: epochs}.
        early_stopping: the scheduler and its settings, such as {"scheduler": "asha", "metric": "test_accuracy"}.
        stop_when: the rules that stop a training, such as {"interpolated": 0.99}.
        figures: the figures that `report` draws, as a list of mappings; by default the axes determine them.
        full: the keys that a larger variant of the sweep changes.

    Raises:
        SweepError: if a key, field or value is unknown; the message names the given and the valid values. Fields that
            contradict each other raise an error only in `plan` or `run`.

    Examples:
        >>> import memsweep as ms
        >>> sweep = ms.Sweep("widths", fixed={"data": "digits", "epochs": 5}, grid={"width": [4, 8], "seed": range(3)})
        >>> len(sweep.points())
        6
    """

    words: tuple[str, ...]
    """The command-line arguments that select this sweep: the preset or file, and the options --set and --trust-module.
    Empty if the sweep was not loaded by name."""

    def __init__(
        self,
        name: str,
        *,
        fixed: Mapping[str, Any] | None = None,
        grid: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        question: str | None = None,
        exclude: Sequence[Mapping[str, Any]] | None = None,
        evaluate: str | int | None = None,
        measure: Sequence[str | Mapping[str, Sequence[int]]] | None = None,
        early_stopping: Mapping[str, Any] | None = None,
        stop_when: Mapping[str, Any] | None = None,
        figures: Sequence[Mapping[str, Any]] | None = None,
        full: Mapping[str, Any] | None = None,
    ) -> None:
        source = f"Sweep({name})"
        given = {"name": name, "question": question, "fixed": fixed, "grid": grid, "exclude": exclude,
                 "evaluate": evaluate, "measure": measure, "early_stopping": early_stopping, "stop_when": stop_when,
                 "figures": figures, "full": full}  # fmt: skip
        content = {key: plain(value, source, key) for key, value in given.items() if value is not None}
        self._take(sweep_file.sweep_of(content, source), ())

    @classmethod
    def of(cls, sweep: parsed.Sweep, words: tuple[str, ...]) -> Sweep:
        """Convert a parsed sweep. `words` are the command-line arguments that select the sweep."""
        converted = cls.__new__(cls)
        converted._take(sweep, words)
        return converted

    def excerpt(self, row: str, cell: bool = False) -> Sweep:
        """Return the sweep of a single row of a table of this sweep, to train it again elsewhere or to change it.

        Args:
            row: the point_id of the row, or its trajectory_id for all points of its training, or the beginning of one.
            cell: whether to include the same point with all other seeds.

        Raises:
            SweepError: if the sweep is not valid, or if it has no such point.

        Examples:
            >>> row = ms.points("quickstart", "results").iloc[0]
            >>> print(ms.load_sweep("quickstart").excerpt(row["point_id"]))
        """
        from sweeps.planning.plan import Plan

        cells = Plan.of(self).cells
        ids = {each: True for c in cells for each in (c.point.id, c.trajectory_id) if row and each.startswith(row)}
        if len(ids) != 1:
            problem = f"is the beginning of {len(ids):,} ids" if ids else "is no point_id or trajectory_id of the sweep"
            raise SweepError(self.name, "", f"given {quoted(row)}, which {problem}; valid: an id of `memsweep export`")
        points = [c.point for c in cells if {c.point.id, c.trajectory_id} & ids.keys()]
        if cell:
            settings = [point.with_(seed=0).canonical() for point in points]
            points = [c.point for c in cells if c.point.with_(seed=0).canonical() in settings]
        return Sweep.of(excerpt(self, points, f"{self.name}-{row[:8]}"), ())

    def _take(self, sweep: parsed.Sweep, words: tuple[str, ...]) -> None:
        vars(self).update({field.name: getattr(sweep, field.name) for field in fields(sweep)}, words=words)

    def __repr__(self) -> str:
        return f"<Sweep {self.name}: {self.size():,} cells over {', '.join(self.axes) or 'no axis'}>"

    def __str__(self) -> str:
        return self.definition()


def load_sweep(name: str | Path, settings: Mapping[str, Any] | Sequence[str] = (), trust: Sequence[str] = ()) -> Sweep:
    """Load a preset or a sweep file. Its data and models are searched beside the file, then in the working folder.

    Args:
        name: the name of a preset (see `presets`) or the path of a YAML file. The suffix "-full" selects the larger
            variant, which the sweep defines under the key `full`.
        settings: the fields to replace, such as {"seed": [0, 1], "epochs": 5}. A list makes the field an axis, and any
            other value fixes the field. Strings such as "seed=[0, 1]" are parsed like the option --set.
        trust: modules that the sweep may name although they are neither beside the file nor in the working folder, such
            as an installed package. The environment variable MEMSWEEP_TRUSTED_MODULES can name them too.

    Raises:
        SweepError: if there is no such sweep, if the sweep or the settings are not valid, or if data or a model lie in
            a module that is not trusted.

    Examples:
        >>> ms.load_sweep("quickstart", settings={"seed": [0, 1]}).axes
        ('parameter_count', 'label_noise', 'epochs', 'seed')
    """
    if isinstance(settings, Mapping):
        values: dict[str, Any] = plain(settings, "settings", "")
        settings, texts = values, [f"{field}={json.dumps(value)}" for field, value in values.items()]
    else:
        texts = [*settings]
    folder = folder_of(str(name))
    if folder is not None:
        _search_first(folder)
    sweep = sweep_file.load_sweep(str(name), settings)
    trusted = trusted_by_name(sweep, folder, trust)
    options = [*(("--set", text) for text in texts), *(("--trust-module", module) for module in trusted)]
    return Sweep.of(sweep, (str(name), *itertools.chain(*options)))


def _search_first(folder: Path) -> None:
    """Put a folder before the working folder on the import path, and thus after all packages that are before that."""
    entry, here = str(folder.resolve()), os.getcwd()
    places = [place for place, other in enumerate(sys.path) if (other or here) == here] or [len(sys.path)]
    if entry not in (here, *sys.path[: places[0]]):
        sys.path.insert(places[0], entry)


def presets() -> list[Sweep]:
    """Load every sweep that comes with memsweep.

    Examples:
        >>> [preset.name for preset in ms.presets()][:2]
        ['architectures', 'arpit2017-capacity']
    """
    return [load_sweep(name) for name in preset_names()]


def as_sweep(sweep: SweepLike, settings: Mapping[str, Any] | Sequence[str] = ()) -> Sweep:
    """Return a sweep unchanged, or load the sweep with this name and apply the settings to it."""
    if isinstance(sweep, str | Path):
        return load_sweep(sweep, settings)
    return sweep if isinstance(sweep, Sweep) else Sweep.of(sweep, ())


def as_store(store: StoreLike) -> Store:
    """Return a store unchanged, or create a `Store` for this folder or URI, where a run may begin one."""
    return store if isinstance(store, Store) else Store(store)


def existing_store(store: StoreLike) -> Store:
    """Return a store to read results from. Reading raises StoreError if there is none."""
    return Store(as_store(store).uri, must_exist=True)


def run_command(sweep: Sweep, store: Store, retry_failed: bool = False) -> str:
    """Return the command that trains the rest of a sweep, or a Python call if the sweep was not loaded by name."""
    if not sweep.words:
        return f"ms.run(sweep, store{', retry_failed=True' if retry_failed else ''})"
    return command_line("run", sweep, store, *(["--retry-failed"] if retry_failed else []))


def command_line(command: str, sweep: Sweep, store: Store, *flags: str) -> str:
    """Return a command on this sweep and this store, as a line for a shell."""
    return shlex.join(["memsweep", command, *sweep.words, *store_option(store), *flags])


def store_option(store: Store) -> list[str]:
    """Return the --store option for this store, or an empty list for the default store."""
    return ["--store", str(store)] if str(store) != DEFAULT_STORE else []


def plain(value: Any, source: str, key: str) -> Any:
    """Convert a value to types that a YAML file can represent: lists, mappings, numbers and strings.

    Raises:
        SweepError: if a function cannot be imported by its name, or if a text has a control character.
    """
    if isinstance(value, Mapping):
        return {name: plain(inner, source, f"{key}.{name}".strip(".")) for name, inner in value.items()}
    if isinstance(value, list | tuple | range | np.ndarray):
        return [plain(inner, source, key) for inner in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str) and control_character(value):
        raise SweepError(source, key, f"given {quoted(value)} with a control character; valid: printable characters")
    return import_path(value, source, key) if callable(value) else value


def import_path(function: Callable[..., Any], source: str, key: str) -> str:
    """Return the import path `module:name` of a function or class, so that other processes can import it.

    Raises:
        SweepError: if the function is a lambda or nested, or if it is defined in the main program or a notebook.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    given = f"given {name or function!r}" if not module else f"given {module}.{name or type(function).__name__}"
    valid = (
        "valid: a function at the top level of a module that can be imported, or its import path such as "
        "'my_models:make'"
    )
    if not name:
        problem = "which is an object and not a function"
    elif "<lambda>" in name or "<locals>" in name:
        problem = "which other processes cannot import, since it has no name in its module"
    elif module == "__main__":
        problem = "which other processes cannot import, since it is defined in a notebook or in the main program"
    elif "." in name or getattr(sys.modules.get(module or ""), name, None) is not function:
        problem = "which other processes would not find under this name"
    else:
        return f"{module}:{name}"
    raise SweepError(source, key, f"{given}, {problem}; {valid}")


def command_name(study: Sweep) -> str:
    """Return the command-line arguments that select a sweep, or its name if it was not loaded by name."""
    return shlex.join(study.words) or study.name
