"""The source files of a user: those that a module imports, found without running them.

A module counts if another one of them imports it, at its top or inside a function. The standard library, installed
packages and memsweep itself are not the user's own. A file is hashed as its syntax tree, so that comments and layout do
not count; docstrings do, since a program can read them.

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
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from lightning_modules.hashing import hash_of_text, hash_of_tree

OURS = frozenset({"analysis", "lightning_modules", "memsweep", "sweeps"})
INSTALLED = frozenset({"dist-packages", "site-packages"})
"""Names of folders of which no file is a user's own."""


@dataclass(frozen=True)
class Source:
    """A Python file: its path, its path relative to where Python found it, and what `_parsed` says of its content."""

    path: str
    file: str
    package: str
    hash: str
    imports: tuple[tuple[str, int, tuple[str, ...]], ...]
    exported: tuple[str, ...]
    empty: bool


def closure(names: Iterable[str]) -> dict[str, Source]:
    """Return the sources of the user's own modules among these and those that they import. Empty files do not count."""
    found: dict[str, Source] = {}
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


def is_standard(name: str) -> bool:
    """Return whether a module belongs to Python's standard library."""
    return name.partition(".")[0] in sys.stdlib_module_names


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in OURS


def source_of(name: str) -> Source | None:
    """Return the source of a module, which is not imported, or None if it has none that can be read."""
    return _source(_spec_of(name))


def places_of(package: str) -> list[str]:
    """Return where Python finds a package or module that lies in no other: its file, or the folders of a namespace.

    It is not imported. The list is empty if Python finds nothing.
    """
    spec = _spec_of(package)
    if spec is None:
        loaded = sys.modules.get(package)
        return [getattr(loaded, "__file__", None) or package] if loaded else []
    return [spec.origin] if spec.origin else [*(spec.submodule_search_locations or [])]


def _is_own(name: str, spec: ModuleSpec | None) -> bool:
    if spec is None or spec.origin is None or _is_ours(name) or is_standard(name):
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
    if path is None and (_is_ours(name) or is_standard(name)):
        loaded = sys.modules.get(name)
        return loaded.__spec__ if loaded else None
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path)
        if spec is not None:
            return spec
    return None


def _source(spec: ModuleSpec | None) -> Source | None:
    if spec is None or not spec.has_location or not str(spec.origin).endswith(".py"):
        return None
    path = str(spec.origin)
    try:
        content = Path(path).read_bytes()
    except OSError:
        return None
    file = spec.name.replace(".", "/") + ("/__init__.py" if spec.submodule_search_locations is not None else ".py")
    package = spec.name if spec.submodule_search_locations is not None else spec.name.rpartition(".")[0]
    return Source(path, os.path.basename(path) if spec.name == "__main__" else file, package, *_parsed(content))


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


def _imported_by(source: Source) -> Iterator[str]:
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
            elif package := source_of(base):
                yield from (f"{base}.{exported}" for exported in package.exported)
