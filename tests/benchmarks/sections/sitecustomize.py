"""Times where a Python process spends its processor time. `split.py` puts this folder on PYTHONPATH.

Python imports this module at the start of every process, so the driver of a run, Ray's workers and Ray's own processes
are all timed without a change to memsweep. A section is the time, CPU and wall, inside one of the functions of TARGETS,
or inside the import of a package, minus the sections within it. Each process keeps its sections up to date in a file of
its own, because Ray kills its workers.
"""

from __future__ import annotations

import functools
import importlib._bootstrap_external as importing
import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any

TARGETS: dict[str, dict[str, str]] = {
    "lightning_modules.data.sources": {"load": "data"},
    "lightning_modules.data.datamodule": {"CohortData.__init__": "data"},
    "lightning_modules.training.stack": {
        "Stack.change": "building stacks", "Stack.advance": "training", "Stack.entries": "checkpoints",
    },
    "lightning_modules.training.cohort": {"CohortModule.measure": "evaluation"},
    "sweeps.planning.plan": dict.fromkeys(("Plan.of", "Plan.without", "Plan.trainings", "Plan.cohorts"), "planning"),
    "sweeps.store.store": {f"Store.{name}": "store" for name in ("prepare", "done", "append", "read")},
    "sweeps.store.leases": {f"Lease.{name}": "store" for name in ("__enter__", "__exit__", "take")},
    "sweeps.store.checkpoints": {f"Checkpoints.{name}": "checkpoints" for name in ("ids", "read", "write", "delete")},
    "sweeps.execution.resuming": {"keep": "checkpoints"},
    "sweeps.execution.on_ray.dispatcher_actor": {"RemoteDispatcher._ask": "asking the dispatcher"},
    "ray._private.worker": {"init": "starting and stopping Ray", "shutdown": "starting and stopping Ray"},
    "ray.tune.tuner": {"Tuner.fit": "Tune"},
}  # fmt: skip
"""Module -> its functions, and the section of each. "imports" is the section of importing any module."""

WRITE_SECONDS = 0.02


class Sections:
    """The sections of this process, kept in `folder`/PID.json."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, f"{os.getpid()}.json")
        self._started = time.time()
        self._cpu: dict[str, float] = {}
        self._wall: dict[str, float] = {}
        self._imports: dict[str, float] = {}
        self._first: dict[str, float] = {}
        self._written = 0.0
        self._threads = threading.local()
        self._lock = threading.RLock()  # writing may import a codec, which is counted too
        self._writing = False

    def timed(self, function: Callable[..., Any], section: str, name_of: Callable[[Any], str] | None = None) -> Any:
        """Return the function with its time counted in a section.

        Args:
            name_of: returns, for the last argument of a call, the package that is imported.
        """

        @functools.wraps(function)
        def counted(*given: Any, **named: Any) -> Any:
            inner = self._threads.__dict__.setdefault("inner", [])
            self._first.setdefault(section, time.time())
            start, wall = time.thread_time(), time.perf_counter()
            inner.append((0.0, 0.0))
            try:
                return function(*given, **named)
            finally:
                whole, passed = time.thread_time() - start, time.perf_counter() - wall
                within, passed_within = inner.pop()
                own = whole - within
                with self._lock:
                    self._cpu[section] = self._cpu.get(section, 0.0) + own
                    self._wall[section] = self._wall.get(section, 0.0) + passed - passed_within
                    if name_of:
                        package = name_of(given[-1])
                        self._imports[package] = self._imports.get(package, 0.0) + own
                if inner:
                    inner[-1] = inner[-1][0] + whole, inner[-1][1] + passed
                else:
                    self._write()

        return counted

    def _write(self) -> None:
        with self._lock:
            if self._writing or time.time() - self._written < WRITE_SECONDS:
                return
            self._writing = True
            content = {
                "started": self._started,
                "cpu": self._cpu,
                "wall": self._wall,
                "imports": self._imports,
                "first": self._first,
            }
            with open(f"{self._path}.new", "w") as file:
                json.dump(content, file)
            os.replace(f"{self._path}.new", self._path)
            self._written, self._writing = time.time(), False


def install(sections: Sections) -> None:
    """Time all imports, and the functions of TARGETS as soon as their modules are imported."""

    def package_of(module: Any) -> str:
        return getattr(module, "__name__", getattr(module, "name", "")).partition(".")[0]

    for loader, methods in (
        (importing.SourceFileLoader, ("exec_module",)),
        (importing.ExtensionFileLoader, ("create_module", "exec_module")),
    ):
        for method in methods:
            setattr(loader, method, sections.timed(getattr(loader, method), "imports", package_of))
    timed_exec = importing.SourceFileLoader.exec_module

    def exec_module(self: Any, module: Any) -> None:
        timed_exec(self, module)
        for path, section in TARGETS.get(module.__name__, {}).items():
            owner, _, name = path.rpartition(".")
            _time(getattr(module, owner) if owner else module, name, section, sections)

    importing.SourceFileLoader.exec_module = exec_module  # type: ignore[method-assign]


def _time(owner: Any, name: str, section: str, sections: Sections) -> None:
    current = vars(owner)[name]
    if isinstance(current, functools.cached_property):
        current.func = sections.timed(current.func, section)
    elif isinstance(current, classmethod):
        setattr(owner, name, classmethod(sections.timed(current.__func__, section)))
    else:
        setattr(owner, name, sections.timed(current, section))


if "MEMSWEEP_SECTIONS" in os.environ:
    install(Sections(os.environ["MEMSWEEP_SECTIONS"]))
