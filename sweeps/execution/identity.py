"""Checks that what is trained is what was planned: the same data, and the same code of models.

A point's id contains hashes of the data and of the model's code, which the plan computes. Files may be edited between
the plan and the training, and a worker on another machine may have another version of them. Nothing must then be stored
under the id of the plan, so the run ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from lightning_modules.data import sources
from lightning_modules.data.sources import Dataset
from lightning_modules.errors import InputError
from lightning_modules.models import families
from lightning_modules.settings import Settings
from sweeps.errors import ExecutionError
from sweeps.planning.plan import Plan

Files = Mapping[str, Mapping[str, str]]
"""Model -> the hash of each file of its code."""


def planned_files(plan: Plan) -> Files:
    """Return the files of every model of a plan from outside the package, as they were when the plan was made."""
    models = {cohort.members[0].settings.model for cohort in plan.cohorts}
    return {model: files for model in sorted(models) if (files := families.files(model))}


def check_code(trained: Iterable[Settings], planned: Files = MappingProxyType({})) -> None:
    """Raise ExecutionError if this process trains other code than that of the points' ids."""
    codes = {(settings.model, settings.model_digest) for settings in trained}
    for model, digest in codes:
        try:
            families.verify(model, digest, planned.get(model, {}))
        except InputError as error:
            raise ExecutionError(f"{error}; nothing was stored of what this worker trained") from None


def stored_code(settings: Settings) -> str | None:
    """Return the value of the column `code` in the rows of a training."""
    files = families.files(settings.model)
    return json.dumps(files, sort_keys=True) if files else None


def load_data(settings: Settings) -> Dataset:
    """Load the data of a training. Raises ExecutionError if it changed after the plan."""
    try:
        return sources.load_planned(settings)
    except InputError as error:
        raise ExecutionError(str(error)) from None
