"""Plug-ins: modules that add fields, data sources, families, measures, figures, schedulers or claims when imported.

A plug-in is found in three ways: as an entry point of an installed distribution, in the group `memsweep.plugins`; by
its module's name in the environment variable MEMSWEEP_PLUGINS, where commas separate names; or by a call of
`load_plugins`. The processes in which Ray trains load those of the process that started the run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points

from sweeps.errors import PluginError

GROUP = "memsweep.plugins"
VARIABLE = "MEMSWEEP_PLUGINS"
_loaded: dict[str, None] = {}


def load_plugins(modules: Iterable[str] = ()) -> tuple[str, ...]:
    """Import every plug-in that is installed or named, once per process.

    Args:
        modules: Names of modules to import besides.

    Returns:
        The names of all plug-ins that this process has loaded, in order.

    Raises:
        PluginError: A plug-in cannot be imported.
    """
    installed = [entry.value for entry in entry_points(group=GROUP)]
    named = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    for origins, names in ((GROUP, installed), (VARIABLE, named), ("load_plugins", modules)):
        for name in names:
            if name in _loaded:
                continue
            _loaded[name] = None  # before the import: a plug-in that imports memsweep arrives here again
            try:
                import_module(name)
            except Exception as error:
                del _loaded[name]
                raise PluginError(
                    f"{origins}: plug-in {name!r} cannot be imported: {type(error).__name__}: {error}"
                ) from error
    return tuple(_loaded)
