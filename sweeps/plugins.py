"""Plug-ins: modules that add fields, data sources, families, measures, figures, schedulers or claims when imported.

A plug-in can be declared in three ways: as an entry point of an installed distribution in the group `memsweep.plugins`,
by its module name in the environment variable MEMSWEEP_PLUGINS (names are separated by commas), or as an argument of
`load_plugins`. Ray's worker processes load the same plug-ins as the process that started the run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import entry_points

from lightning_modules.errors import one_line
from sweeps.errors import PluginError

GROUP = "memsweep.plugins"
VARIABLE = "MEMSWEEP_PLUGINS"
_loaded: dict[str, None] = {}


def load_plugins(modules: Iterable[str] = ()) -> tuple[str, ...]:
    """Import all installed and named plug-ins, each once per process.

    Args:
        modules: Names of additional modules to import.

    Returns:
        The names of all plug-ins that this process has loaded, in order.

    Raises:
        PluginError: If a plug-in cannot be imported.
    """
    installed = [entry.value for entry in entry_points(group=GROUP)]
    named = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    for origins, names in ((GROUP, installed), (VARIABLE, named), ("load_plugins", modules)):
        for name in names:
            if name in _loaded:
                continue
            _loaded[name] = None  # before the import, since a plug-in may import memsweep and so call this again
            try:
                import_module(name)
            except (Exception, SystemExit) as error:
                del _loaded[name]
                raise PluginError(
                    f"{origins}: plug-in {name!r} cannot be imported: {type(error).__name__}: {one_line(error)}"
                ) from error
    return tuple(_loaded)
