"""A data set of the user's own, named by import path: `package.module:function`.

The function takes no argument and returns a Dataset, or the four arrays train_inputs, train_labels, test_inputs and
test_labels as a tuple in that order or a dict. It must return the same every time it is called: its content names the
points that were trained on it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from lightning_modules.data.dataset import Dataset
from lightning_modules.errors import DataError, did_you_mean

ARRAYS = ("train_inputs", "train_labels", "test_inputs", "test_labels")


def imported(path: str) -> Dataset:
    """What the function returns, checked. Raises DataError("data") if it cannot be imported, fails or returns else."""
    made = _call(path)
    if isinstance(made, Dataset):
        given: dict[str, Any] = {**vars(made)}
    elif isinstance(made, Mapping):
        if set(made) != set(ARRAYS):
            keys = ", ".join(str(key) for key in made)
            raise DataError("data", f"{path} returned a dict of {keys or 'nothing'}; it must have {', '.join(ARRAYS)}")
        given = {name: made[name] for name in ARRAYS}
    elif isinstance(made, tuple) and len(made) == len(ARRAYS):
        given = dict(zip(ARRAYS, made, strict=True))
    else:
        size = f" of {len(made)}" if isinstance(made, tuple) else ""
        raise DataError(
            "data",
            f"{path} returned a {type(made).__name__}{size}; valid is a Dataset, or a dict or tuple of "
            f"{', '.join(ARRAYS)}",
        )
    return Dataset.of(**given, name=path)


@cache
def imported_digest(path: str) -> str:
    """The hash of the content. Calls the function twice: data that differ from call to call would be new every time.

    Raises DataError as `imported` does, and for such data.
    """
    first, second = imported(path).digest(), imported(path).digest()
    if first != second:
        raise DataError("data", f"{path} returned other data when it was called again; seed its generators")
    return first


def _call(path: str) -> Any:
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        # A module of the user's may raise anything while it is imported.
        raise DataError("data", f"{path}: cannot import {module_name}: {type(error).__name__}: {error}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        problem = "has no function" if function is None else "has no function, but a value,"
        hint = did_you_mean(attribute, [name for name in vars(module) if not name.startswith("_")])
        raise DataError("data", f"{path}: {module_name} {problem} {attribute}{hint}")
    try:
        return function()
    except DataError:
        raise
    except (Exception, SystemExit) as error:
        raise DataError("data", f"{path} failed: {type(error).__name__}: {error}") from error
