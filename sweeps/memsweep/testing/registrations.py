"""A context that restores registries, for tests that register something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from analysis.claims import CLAIMS
from analysis.figures.kinds import KINDS
from lightning_modules import settings
from lightning_modules.data import sources
from lightning_modules.measures.catalogue import COLUMNS_ON_DEMAND, MEASURES, MEASURES_ON_DEMAND
from lightning_modules.models.families import FAMILIES
from sweeps import plugins
from sweeps.spec import point
from sweeps.spec.stopping import SCHEDULERS


@contextmanager
def registrations() -> Iterator[None]:
    """Undo all registrations made inside the context when it exits, including those of plug-ins.

    Example:
        >>> with registrations():
        ...     ms.load_plugins(["my_plugin"])
    """
    registries: list[dict[str, Any]] = [
        sources.BUILT_IN, sources.OUTSIDE, FAMILIES, MEASURES, MEASURES_ON_DEMAND, COLUMNS_ON_DEMAND, KINDS, SCHEDULERS,
        plugins._loaded,
    ]  # fmt: skip
    before, claims, fields = [{**registry} for registry in registries], [*CLAIMS], {**settings.Settings.model_fields}
    try:
        yield
    finally:
        for registry, content in zip(registries, before, strict=True):
            registry.clear()
            registry.update(content)
        CLAIMS[:] = claims
        if settings.Settings.model_fields != fields:
            settings._rebuild(fields)
        for cached in (point._adapter, point.valid_values, sources.loaded_facts):
            cached.cache_clear()
