"""A user's own data set, named by import path: `package.module:function`.

The function takes no argument and returns a Dataset, or the four arrays train_inputs, train_labels, test_inputs and
test_labels, as a dict or as a tuple in that order. Every call must return the same data, because the data's content is
part of the ids of the points trained on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from lightning_modules.data.border import LISTED, short
from lightning_modules.data.dataset import Dataset
from lightning_modules.errors import DataError, MissingDataError, did_you_mean, one_line
from lightning_modules.user_call import contained
from lightning_modules.user_code import CodeError, code_of, load

ARRAYS = ("train_inputs", "train_labels", "test_inputs", "test_labels")


def imported(path: str) -> Dataset:
    """Call the function and check its result.

    Raises DataError("data") if the function cannot be imported, fails, or returns anything else.
    """
    result = _call(path)
    if isinstance(result, Dataset):
        given: dict[str, Any] = {**vars(result)}
    elif isinstance(result, Mapping):
        if set(result) != set(ARRAYS):
            keys = ", ".join(short(key) for key in [*result][:LISTED])
            raise DataError("data", f"{path} returned a dict of {keys or 'nothing'}; it must have {', '.join(ARRAYS)}")
        given = {name: result[name] for name in ARRAYS}
    elif isinstance(result, tuple) and len(result) == len(ARRAYS):
        given = dict(zip(ARRAYS, result, strict=True))
    else:
        size = f" of {len(result)}" if isinstance(result, tuple) else ""
        raise DataError(
            "data",
            f"{path} returned a {type(result).__name__}{size}; valid is a Dataset, or a dict or tuple of "
            f"{', '.join(ARRAYS)}",
        )
    return Dataset.of(**given, name=path)


def imported_digest(path: str) -> str:
    """Hash the content of the data that the function returns. It is called when this process asks for the first time.

    Raises DataError like `imported`, if two calls return different data, because every plan would have new points, and
    if a file that the function needs was edited after this process imported it.
    """
    digest = _digest(path)
    try:
        code_of(_function(path), path.partition(":")[0])
    except CodeError as error:
        raise DataError("data", f"{path}: {error}") from None
    return digest


@cache
def _digest(path: str) -> str:
    first, second = imported(path).digest(), imported(path).digest()
    if first != second:
        raise DataError("data", f"{path} returned different data when it was called again; seed its generators")
    return first


def _call(path: str) -> Any:
    function = _function(path)
    try:
        with contained(path):
            return function()
    except DataError:
        raise
    except Exception as error:
        raise DataError("data", f"{path} failed: {_text(error)}") from error


def _function(path: str) -> Any:
    module_name, _, attribute = path.partition(":")
    try:
        with contained(module_name):
            module = load(module_name)
    except Exception as error:
        # A user's module may raise anything on import.
        refusal = MissingDataError if isinstance(error, ModuleNotFoundError) else DataError
        raise refusal("data", f"{path}: cannot import {module_name}: {_text(error)}") from error
    function = getattr(module, attribute, None)
    if function is not None and not callable(function):
        raise DataError("data", f"{path}: {attribute} is not a function but {type(function).__name__}")
    if function is None:
        hint = did_you_mean(attribute, [name for name in vars(module) if not name.startswith("_")])
        raise DataError("data", f"{path}: {module_name} has no function {attribute}{hint}")
    return function


def _text(error: Exception) -> str:
    return one_line(error) if isinstance(error, CodeError) else f"{type(error).__name__}: {one_line(error)}"
