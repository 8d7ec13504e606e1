"""The identity of a user's code: which source files a function of the user depends on, and a hash of each.

The files are found in the source, without running it: the module that a sweep names, the modules in which the function
is defined, and every module of the user's own that one of these imports, at its top or inside a function. The standard
library, installed packages and memsweep itself are not the user's own. A file is hashed as its syntax tree, so that
comments and layout do not count; docstrings do, since a program can read them.

    import a.b, from a import b, from . import b, from a import *         followed; packages' __init__ count
    importlib.import_module("a.b"), __import__("a")                       followed if the name is written out
    names that a program computes, exec, compiled extensions, data files  not seen
    if TYPE_CHECKING:                                                     skipped, since it never runs
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from lightning_modules.hashing import hash_of_text, hash_of_tree

OURS = frozenset({"analysis", "lightning_modules", "memsweep", "sweeps"})
INSTALLED = frozenset({"dist-packages", "site-packages"})
"""Names of folders of which no file is a user's own."""


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
                source = _source(_spec_of(module))
                _at_import[loaded] = source.hash if source else ""
                _refuse_edited(loaded, file, self.files[file])


_at_import: WeakKeyDictionary[ModuleType, str] = WeakKeyDictionary()
"""Maps the user's modules that this process has imported to the hash of their file at that time."""


def load(name: str) -> ModuleType:
    """Import a module of the user, and note what its files contain. Raises whatever the module raises."""
    if name in sys.modules:
        return sys.modules[name]
    before = {module: source.hash for module, source in _closure([name]).items()}
    module = importlib.import_module(name)
    for imported, digest in before.items():
        if imported in sys.modules:
            _at_import.setdefault(sys.modules[imported], digest)
    return module


@contextmanager
def float32_by_default(name: str) -> Iterator[None]:
    """Check that code of the user leaves torch's default type as it was, because it is the type of every new tensor.

    Raises:
        CodeError: The code has changed it. It is set back.
    """
    before = after = _default_type()
    try:
        yield
    finally:
        after = _default_type()
        if after != before:
            sys.modules["torch"].set_default_dtype(before or sys.modules["torch"].float32)
    if after != before:
        raise CodeError(
            f"{name} changes torch's default type to {after or 'torch.float32'}, with which the numbers of every "
            "network would change; valid: leave it, and set `precision: float64` in the sweep"
        )


def _default_type() -> Any:
    """Return torch's default type, or None if torch is not imported, whose default is then float32."""
    torch = sys.modules.get("torch")
    return None if torch is None or torch.get_default_dtype() == torch.float32 else torch.get_default_dtype()


def code_of(function: Callable[..., Any], named: str = "") -> Code:
    """Hash the files that a function depends on.

    Args:
        function: A function or class, also one that is decorated or partly applied, or an object that can be called.
        named: The name of the module in which the function was found, if it is known.

    Raises:
        CodeError: A file was edited after this process imported it, or another file of the same name was imported.
    """
    parts = _parts_of(function)
    sources = _closure([*parts.modules, *([named] if named else [])])
    if (
        parts.main not in sources
        and _top(parts.main) not in sys.stdlib_module_names
        and (main := _source(_spec_of(parts.main)))
    ):
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


@dataclass(frozen=True)
class _Source:
    """A Python file: its path, its path relative to where Python found it, and what `_parsed` says of its content."""

    path: str
    file: str
    package: str
    hash: str
    imports: tuple[tuple[str, int, tuple[str, ...]], ...]
    exported: tuple[str, ...]
    empty: bool


def _closure(names: Iterable[str]) -> dict[str, _Source]:
    """Return the sources of the user's own modules among these and those that they import. Empty files do not count."""
    found: dict[str, _Source] = {}
    seen: set[str] = set()
    waiting = [prefix for name in names for prefix in _prefixes(name)]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        spec = _spec_of(name)
        if not _is_own(name, spec):
            continue
        source = _source(spec)
        if source is None:
            continue
        if not source.empty:
            found[name] = source
        waiting += [prefix for imported in _imported_by(source) for prefix in _prefixes(imported)]
    return found


def _prefixes(name: str) -> list[str]:
    """Return the packages that Python imports before a module, and the module."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _top(name: str) -> str:
    return name.partition(".")[0]


def _is_own(name: str, spec: ModuleSpec | None) -> bool:
    if spec is None or spec.origin is None or _top(name) in OURS or _top(name) in sys.stdlib_module_names:
        return False
    return not INSTALLED & {*Path(spec.origin).parts}


def _spec_of(name: str) -> ModuleSpec | None:
    """Find a module as Python would, but import neither the module nor the packages that it lies in."""
    if name == "__main__":
        path = getattr(sys.modules[name], "__file__", None)
        return importlib.util.spec_from_file_location(name, path) if path else None
    spec, path = None, None
    for prefix in _prefixes(name):
        if (spec is not None and path is None) or not prefix.rpartition(".")[2]:
            return None
        spec = _found(prefix, path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def _found(name: str, path: Any) -> ModuleSpec | None:
    if path is None and (_top(name) in OURS or _top(name) in sys.stdlib_module_names):
        loaded = sys.modules.get(name)
        return loaded.__spec__ if loaded else None
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path)
        if spec is not None:
            return spec
    return None


def _source(spec: ModuleSpec | None) -> _Source | None:
    if spec is None or not spec.has_location or not str(spec.origin).endswith(".py"):
        return None
    path = str(spec.origin)
    try:
        content = Path(path).read_bytes()
    except OSError:
        return None
    file = spec.name.replace(".", "/") + ("/__init__.py" if spec.submodule_search_locations is not None else ".py")
    package = spec.name if spec.submodule_search_locations is not None else spec.name.rpartition(".")[0]
    return _Source(path, os.path.basename(path) if spec.name == "__main__" else file, package, *_parsed(content))


@functools.lru_cache(maxsize=1024)
def _parsed(
    content: bytes,
) -> tuple[str, tuple[tuple[str, int, tuple[str, ...]], ...], tuple[str, ...], bool]:
    """Return the hash of a source, its imports as (module, level, names), the names in `__all__`, and if it is empty.

    A source that Python cannot parse is hashed as it is.
    """
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return hash_of_text(content.decode(errors="replace")), (), (), False
    empty = not tree.body or (len(tree.body) == 1 and ast.get_docstring(tree) is not None)
    return hash_of_tree(tree), tuple(_imports(tree)), tuple(_exported(tree)), empty


def _imports(tree: ast.AST) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    if isinstance(tree, ast.If) and ast.unparse(tree.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for node in tree.orelse:
            yield from _imports(node)
        return
    if isinstance(tree, ast.Import):
        yield from ((alias.name, 0, ()) for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        yield tree.module or "", tree.level, tuple(alias.name for alias in tree.names)
    elif isinstance(tree, ast.Call) and tree.args and isinstance(tree.args[0], ast.Constant):
        called = tree.func.attr if isinstance(tree.func, ast.Attribute) else getattr(tree.func, "id", "")
        name = tree.args[0].value
        if called in ("import_module", "__import__") and isinstance(name, str):
            yield name.lstrip("."), len(name) - len(name.lstrip(".")), ()
    for child in ast.iter_child_nodes(tree):
        yield from _imports(child)


def _exported(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if value is not None and any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            yield from (
                each.value for each in ast.walk(value) if isinstance(each, ast.Constant) and isinstance(each.value, str)
            )


def _imported_by(source: _Source) -> Iterator[str]:
    """Return the modules that a source may import: of `from a import b`, both `a` and `a.b`."""
    for module, level, names in source.imports:
        if level:
            outer = source.package.split(".")
            if level > len(outer) or not source.package:
                continue
            base = ".".join([*outer[: len(outer) - level + 1], *([module] if module else [])])
        else:
            base = module
        yield base
        for name in names:
            if name != "*":
                yield f"{base}.{name}"
            elif package := _source(_spec_of(base)):
                yield from (f"{base}.{exported}" for exported in package.exported)
