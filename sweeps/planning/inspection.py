"""Inspect the networks of users before they are trained."""

from __future__ import annotations

from functools import lru_cache

from lightning_modules.data import sources
from lightning_modules.data.dataset import Dataset
from lightning_modules.errors import InputError
from lightning_modules.training.inspection.inspect import inspect
from sweeps.errors import SweepError
from sweeps.planning.plan import Plan


def inspect_networks(plan: Plan, source: str) -> None:
    """Check each user's model and size that a plan trains, unless it has passed on this machine.

    A network of memsweep's own families, or of a registered one, is not run, and does not import torch.

    Args:
        source: the file, preset or option of the sweep.

    Raises:
        SweepError: names the first network that cannot be trained, and says why.
    """

    @lru_cache(maxsize=1)
    def load(*reference: object) -> Dataset:
        return sources.load(*reference)  # type: ignore[arg-type]

    for stack in plan.stacks:
        settings = stack[0].settings
        if ":" not in settings.model:
            continue
        try:
            inspect(settings, lambda settings=settings: load(*sources.reference(settings)))  # type: ignore[misc]
        except InputError as error:
            raise SweepError(source, error.field, str(error)) from None
