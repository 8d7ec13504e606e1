"""The connection of this process to Ray. The module does not import Tune, which takes longer than the rest of Ray."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from importlib import import_module
from threading import Thread

import ray

from sweeps.errors import ExecutionError
from sweeps.execution.on_ray.lean import few_processes

KNOCK_SECONDS = 20.0

ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the loggers write about five files per trial, which are never read
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the run at once, because cohorts in training have checkpoints
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # a snapshot serializes every trial, and is never restored
    "TUNE_WARN_THRESHOLD_S": "3600",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a native trial whose worker raises ends without measures
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a custom model may open files by paths relative to the user's folder
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PL_DISABLE_FORK": "1",  # Tune sets it for its actors; see `lean.actors_in_any_worker`
}

PRELOADED = {"RAY_preload_python_modules": "sweeps.execution.on_ray.preloaded"}
"""Makes workers import what a training needs. Ray starts a worker per CPU in advance; this is set only if all of them
will train."""

EXECUTOR = "sweeps.execution.on_ray.executor"
IMPORTED_BY_INIT = ("ray._common.usage.usage_lib",)
"""Modules that `ray.init` imports. They are imported first, so that two threads do not import the same ones."""

_joined: ContextVar[str | None] = ContextVar("joined", default=None)
"""The address of the cluster to which `connected` has connected this process."""

_started: ContextVar[bool] = ContextVar("started", default=False)
"""Whether `connected` has started Ray on this machine, whose workers then inherit the variables of this process."""


@contextmanager
def connected(address: str | None, workers: int | None, verbose: bool) -> Iterator[None]:
    """Connect to a cluster, or start Ray on this machine if the address is None, unless this process is connected.

    Raises:
        ExecutionError: if Ray cannot be reached.
    """
    if ray.is_initialized() and address == _joined.get():  # an outer context, a notebook or a test connected it
        yield
        return
    level = logging.INFO if verbose else logging.CRITICAL  # failures are recorded with their reasons
    logging.getLogger("ray").setLevel(level)
    where = {"address": address} if address else {"address": "local", "num_cpus": workers}
    try:
        _knock(address)
        with nullcontext() if address else few_processes(verbose):
            ray.init(**where, include_dashboard=False, log_to_driver=verbose, logging_level=level)
    except (ConnectionError, OSError, RuntimeError, ValueError, TimeoutError) as error:
        raise ExecutionError(f"--address {address or 'local'}: Ray cannot be reached: {error}") from error
    joined, started = _joined.set(address), _started.set(address is None)
    try:
        yield
    finally:
        _joined.reset(joined)
        _started.reset(started)
        ray.shutdown()


def started_here() -> bool:
    """Return whether `connected` has started Ray in this process."""
    return _started.get()


@contextmanager
def started_while_importing(workers: int, verbose: bool) -> Iterator[None]:
    """Start Ray on this machine, and import Tune and the executor meanwhile, since starting Ray is mostly waiting.

    Its workers, of which all will train, import what a training needs as soon as they start.

    Ray starts in this thread and the imports are made in another one. The other way round would not work: only the main
    thread can handle signals, and the kernel ends Ray's processes together with the thread that started them.
    """
    for name in IMPORTED_BY_INIT:
        with suppress(ImportError):  # another version of Ray may have other modules
            import_module(name)
    imports = Thread(target=_import_executor, daemon=True)
    with environment({**ENVIRONMENT, **PRELOADED}):
        imports.start()
        with connected(None, workers, verbose):
            imports.join()
            yield


def _import_executor() -> None:
    with suppress(Exception):  # it is raised again where the executor is used
        import_module(EXECUTOR)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables inside the context, except those that the user has set."""
    added = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _knock(address: str | None) -> None:
    """Raise OSError if nothing answers at HOST:PORT. Ray's own attempt may wait forever, as observed once in a test."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()
