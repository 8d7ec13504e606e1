"""Import pytorch_lightning as `pl`, without the libraries that it loads and that training does not use.

Importing pytorch_lightning takes 5 s of CPU time where torch takes 2 s (measured with version 2.6.6 on a loaded core).
Most of it is for `torch._dynamo`, of which Lightning needs one class for `isinstance`, and for the metrics of
torchmetrics, with scipy and matplotlib, of which it needs two classes. `lean_imports` defers these imports until one of
their names is used; what is left takes 0.5 s.

Nothing is replaced in `sys.modules` and nothing looks absent: a deferred name stands for the real object, and later
imports of the same libraries are ordinary ones. With another version of Lightning, which may import more, the import
takes longer and works as usual. Nothing is deferred if pytorch_lightning is imported already.
"""

from __future__ import annotations

import builtins
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import Any, Union

import torch

__all__ = ["lean_imports", "pl"]

DYNAMO = "torch._dynamo"
DEFERRED: Mapping[str, str] = {
    "lightning_fabric.wrappers": DYNAMO,
    "pytorch_lightning.utilities.compile": DYNAMO,
    "torchmetrics.metric": "torchmetrics.utilities.plot",
    "torchmetrics.collections": "torchmetrics.utilities.plot",
}
"""Module -> the module whose names it imports with `from ... import`, but uses only in annotations, in `isinstance` or
in methods for plots."""

METRICS = "torchmetrics"
PARTS: Mapping[str, str] = {
    "Metric": "torchmetrics.metric",
    "MetricCollection": "torchmetrics.collections",
    "__version__": "torchmetrics.__about__",
}
"""The names of torchmetrics that Lightning needs, and where they are defined."""


class Deferred:
    """A stand-in for a name of a module. It imports the module when the name is called or an attribute is read."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _resolved(self) -> Any:
        return getattr(import_module(self._module), self._name)

    def __call__(self, *args: Any, **named: Any) -> Any:
        return self._resolved()(*args, **named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # `typing` asks for these while annotations are evaluated
        return getattr(self._resolved(), name)

    def __instancecheck__(self, instance: object) -> bool:
        # Nothing is an instance of a class whose module has not been imported.
        return self._module in sys.modules and isinstance(instance, self._resolved())

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self._resolved(),)

    def __or__(self, other: Any) -> Any:
        return Union[self, other]  # noqa: UP007 (the operator is what this method defines)

    def __ror__(self, other: Any) -> Any:
        return Union[other, self]  # noqa: UP007


class _Names:
    """The names of a module, each deferred."""

    def __init__(self, module: str) -> None:
        self._of = module

    def __getattr__(self, name: str) -> Deferred:
        if name.startswith("__"):
            raise AttributeError(name)
        return Deferred(self._of, name)


class _OnDemand(Loader):
    """A loader of torchmetrics that runs the package's `__init__` when a name is read that PARTS does not have.

    Modules inside the package can be imported before that.
    """

    def __init__(self, real: Loader) -> None:
        self._real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        lock, running = RLock(), False
        assert module.__spec__
        module.__spec__.loader = module.__loader__ = self._real

        def load() -> None:
            nonlocal running
            with lock:
                if running or vars(module).get("__getattr__") is not get:
                    return
                running = True
                try:
                    self._real.exec_module(module)
                finally:
                    running = False
                for name, own in (("__getattr__", get), ("__dir__", names)):
                    if vars(module).get(name) is own:
                        delattr(module, name)

        def get(name: str) -> Any:
            if name in PARTS and not running:
                import_module(f"{METRICS}.utilities")  # it and torchmetrics.metric import each other, in this order
                return getattr(import_module(PARTS[name]), name)
            if name == "_logger" and not running:
                return logging.getLogger(METRICS)
            if not name.startswith("__") or name == "__all__":
                load()
            if name in vars(module):
                return vars(module)[name]
            raise AttributeError(f"module {METRICS!r} has no attribute {name!r}")

        def names() -> list[str]:
            load()
            return sorted(vars(module))

        vars(module).update(__getattr__=get, __dir__=names)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name == METRICS else None
        if spec and spec.loader:
            spec.loader = _OnDemand(spec.loader)
        return spec


@contextmanager
def lean_imports() -> Iterator[None]:
    """Defer the imports of DEFERRED and of torchmetrics' metrics, for modules that are imported in this context."""
    real_import, real_disable, finder = builtins.__import__, torch.compiler.disable, _Finder()

    def import_(
        name: str, globals: Mapping[str, Any] | None = None, locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (), level: int = 0,
    ) -> Any:  # fmt: skip
        importer = (globals or {}).get("__name__", "")
        if fromlist and not level and DEFERRED.get(importer) == name and name not in sys.modules:
            return _Names(name)
        return real_import(name, globals, locals, fromlist or (), level)

    def disable(fn: Callable[..., Any] | None = None, recursive: bool = True, **more: Any) -> Any:
        # torch's own form for methods of torch, which imports torch._dynamo when the method is first called.
        return torch._disable_dynamo(fn, recursive)  # type: ignore[attr-defined]

    builtins.__import__ = import_
    sys.meta_path.insert(0, finder)
    if DYNAMO not in sys.modules:
        torch.compiler.disable = disable
    try:
        yield
    finally:
        builtins.__import__, torch.compiler.disable = real_import, real_disable
        sys.meta_path.remove(finder)


with lean_imports():
    import pytorch_lightning as pl
