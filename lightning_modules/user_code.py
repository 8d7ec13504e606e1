"""The identity of a user's code: which source files a function of the user depends on, and a hash of each.

These are the module that a sweep names, the modules in which the function and what wraps it are defined, and every
module of the user's own that one of these imports (`user_files`).
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from lightning_modules.hashing import hash_of_text
from lightning_modules.user_files import closure, is_standard, source_of


class CodeError(Exception):
    """Raised if files are not those that this process has imported, or those of a plan. The message is a sentence."""


@dataclass(frozen=True)
class Code:
    """The code of a function.

    Attributes:
        digest: The hash of all files, which is the hash of the file if there is one; "" if there is no Python source.
        files: Maps each file, as a path relative to where Python found it, to the hash of its content.
        modules: Maps the name of each module to its file, as in `files`.
    """

    digest: str
    files: Mapping[str, str] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)

    def differing(self, others: Mapping[str, str]) -> list[str]:
        """Return the files that are not the same in other `files`: edited, added or removed."""
        return sorted(name for name in {*self.files, *others} if self.files.get(name) != others.get(name))

    def verify_loaded(self) -> None:
        """Check the files of modules that were imported after this code was hashed. Raises CodeError."""
        for module, file in self.modules.items():
            loaded = sys.modules.get(module)
            if loaded is not None and loaded not in _at_import:
                source = source_of(module)
                _at_import[loaded] = source.hash if source else ""
                _refuse_edited(loaded, file, self.files[file])


_at_import: WeakKeyDictionary[ModuleType, str] = WeakKeyDictionary()
"""Maps the user's modules that this process has imported to the hash of their file at that time."""


def load(name: str) -> ModuleType:
    """Import a module of the user, and note what its files contain. Raises whatever the module raises."""
    if name in sys.modules:
        return sys.modules[name]
    before = {module: source.hash for module, source in closure([name]).items()}
    module = importlib.import_module(name)
    for imported, digest in before.items():
        if imported in sys.modules:
            _at_import.setdefault(sys.modules[imported], digest)
    return module


def code_of(function: Callable[..., Any], named: str = "") -> Code:
    """Hash the files that a function depends on.

    Args:
        function: A function or class, also one that is decorated or partly applied, or an object that can be called.
        named: The name of the module in which the function was found, if it is known.

    Raises:
        CodeError: A file was edited after this process imported it, or another file of the same name was imported.
    """
    parts = _parts_of(function)
    sources = closure([*parts.modules, *([named] if named else [])])
    if parts.main not in sources and not is_standard(parts.main) and (main := source_of(parts.main)):
        sources = {parts.main: main, **sources}  # a function of an installed package: its file alone
    for module, source in sources.items():
        loaded = sys.modules.get(module)
        if loaded is not None:
            _refuse_other(loaded, source.path)
            _at_import.setdefault(loaded, source.hash)
            _refuse_edited(loaded, source.file, source.hash)
    first = parts.main if parts.main in sources else named
    rest = [f"{module} {source.hash}" for module, source in sorted(sources.items()) if module != first]
    start = [sources[first].hash] if first in sources else []
    described = [*start, *rest, *parts.arguments] if sources else []
    digest = described[0] if described == start and start else hash_of_text("\n".join(described)) if described else ""
    return Code(
        digest,
        {source.file: source.hash for source in sources.values()},
        {module: source.file for module, source in sources.items()},
    )


def _refuse_other(loaded: ModuleType, path: str) -> None:
    at = getattr(loaded, "__file__", None)
    if at and os.path.realpath(at) != os.path.realpath(path):
        raise CodeError(
            f"module {loaded.__name__!r} is at {path}, but this process has imported {at} under this name; "
            "use one process per folder"
        )


def _refuse_edited(loaded: ModuleType, file: str, digest: str) -> None:
    if _at_import[loaded] != digest:
        raise CodeError(
            f"{file} was edited after this process imported it; start a new process (in a notebook, a new kernel), so "
            "that the new code is used"
        )


@dataclass(frozen=True)
class _Parts:
    """The modules in which a callable and what it wraps are defined, and the arguments that it holds.

    `main` is the module of the innermost function or class.
    """

    main: str
    modules: tuple[str, ...]
    arguments: tuple[str, ...]


def _parts_of(function: Any) -> _Parts:
    modules: list[str] = []
    arguments: list[str] = []
    while True:
        if isinstance(function, functools.partial):
            arguments.append(_described(function.args, modules) + _described(function.keywords, modules))
            function = function.func
            continue
        scope = getattr(function, "__globals__", {})
        modules.append(scope.get("__name__") or getattr(function, "__module__", None) or "")
        wrapped = inspect.getattr_static(function, "__wrapped__", None)
        if wrapped is not None:
            function = wrapped
        elif inspect.ismethod(function):
            owner = function.__self__
            modules.append((owner if isinstance(owner, type) else type(owner)).__module__)
            function = function.__func__
        elif isinstance(function, type) or inspect.isroutine(function):
            main = getattr(function, "__module__", None) or ""
            return _Parts(main, (*dict.fromkeys(name for name in (*modules, main) if name),), tuple(arguments))
        else:
            function = type(function)


def _described(value: Any, modules: list[str]) -> str:
    """Describe an argument in the same words in every process, and add the modules of functions in it."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{_described(each, modules)}" for key, each in sorted(value.items())) + "}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}(" + ",".join(_described(each, modules) for each in value) + ")"
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value)
    if isinstance(value, functools.partial) or callable(value):
        parts = _parts_of(value)
        modules += parts.modules
        return f"{parts.main}.{getattr(value, '__qualname__', type(value).__qualname__)}{''.join(parts.arguments)}"
    return f"{type(value).__module__}.{type(value).__qualname__}"
