"""Imports what a training needs. The workers of a local Ray import this module before they accept work."""

from contextlib import suppress
from importlib import import_module

for _name in ("sweeps.execution.on_ray.trials", "lightning_modules.training.train"):
    with suppress(Exception):  # it is raised again by the first trial
        import_module(_name)
