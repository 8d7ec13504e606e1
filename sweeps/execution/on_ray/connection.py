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
from ray._private import services

from lightning_modules.errors import one_line
from sweeps.errors import ExecutionError
from sweeps.execution.on_ray.lean import few_processes
from sweeps.execution.supervision import GO_ON, is_supervised, stage

KNOCK_SECONDS = 20.0
START_SECONDS = 180.0
"""The longest time that Ray may take to start or to answer, on a busy machine too."""

STOP_SECONDS = 30.0

ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the loggers write about five files per trial, which are never read
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the run at once, because cohorts in training have checkpoints
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # a snapshot serializes every trial, and is never restored
    "TUNE_WARN_THRESHOLD_S": "3600",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a native trial whose worker raises ends without measures
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a custom model may open files by paths relative to the user's folder
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",  # nothing reads them, and their port asks for no token
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PL_DISABLE_FORK": "1",  # Tune sets it for its actors; see `lean.actors_in_any_worker`
}

PRELOADED = {"RAY_preload_python_modules": "sweeps.execution.on_ray.preloaded"}
"""Makes workers import what a training needs. Ray starts a worker per CPU in advance; this is set only if all of them
will train."""

NOT_WAITING = {"RAY_prestart_worker_first_driver": "0"}
"""Makes `ray.init` return before the first workers have started. It waits for them without end even if they have died,
and no signal interrupts it, which only a supervisor notices. Later, Ray replaces a worker that has not registered."""

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
    connected_before = ray.is_initialized()
    level = logging.INFO if verbose else logging.CRITICAL  # failures are recorded with their reasons
    logging.getLogger("ray").setLevel(level)
    where = {"address": address} if address else {"address": "local", "num_cpus": workers}
    if address:
        advice = "valid: the address of a running cluster"
    else:
        advice = "run the same command again, with fewer --workers if memory is short, or with --inline"
    unreached = f"--address {address or 'local'}: Ray cannot be reached: {{}}; {advice}"
    gone = f"--address {address or 'local'}: Ray ended during the run: {{}}; {GO_ON}"
    try:
        with stage(unreached, START_SECONDS, starts_ray=address is None, mute=not verbose):
            _knock(address)
            with (
                environment({} if is_supervised() else NOT_WAITING),
                nullcontext() if address else few_processes(verbose),
            ):
                ray.init(**where, include_dashboard=False, log_to_driver=verbose, logging_level=level)
    except Exception as error:  # Ray raises errors of many types, and plain ones
        if not connected_before:
            _shut_down(verbose)
        raise ExecutionError(unreached.replace("{}", one_line(error))) from error
    joined, started = _joined.set(address), _started.set(address is None)
    try:
        with stage(gone, mute=not verbose):
            yield
    except Exception as error:
        if address is None and (dead := _dead_servers()):
            reason = f"its process {dead[0]} died"
            raise ExecutionError(gone.replace("{}", reason)) from error
        raise
    finally:
        _joined.reset(joined)
        _started.reset(started)
        _shut_down(verbose)


def _shut_down(verbose: bool) -> None:
    """Disconnect from Ray, and end it if `connected` has started it."""
    with stage(f"Ray did not end: {{}}; {GO_ON}", STOP_SECONDS, has_servers=False, mute=not verbose):
        ray.shutdown()


def _dead_servers() -> list[str]:
    """Return the names of the processes of Ray that this process has started and that have ended."""
    node = ray._private.worker._global_node
    return [name for name, _ in node.dead_processes()] if node else []


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
    """Raise OSError if nothing answers at the address. Ray itself would wait for minutes, or without end.

    With "auto", the address is that of the variable RAY_ADDRESS, or of the last cluster that was started on this node,
    which may have ended.
    """
    if address == "auto":
        address = services.canonicalize_bootstrap_address(address)
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()
