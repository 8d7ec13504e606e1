"""A lean local Ray: without the processes that no run on one machine uses, with workers that start early, and with
ports that only this machine reaches.

Ray has no options for this, so attributes of its modules are replaced for a moment. With a version of Ray that lacks
one of them, Ray starts as usual, which takes longer.

Measured on two cores with Ray 2.60: the processes take 2.3 s of processor time, and `ray.init` and `ray.shutdown` each
wait a second or more for one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def few_processes(verbose: bool) -> Iterator[None]:
    """Start Ray for this machine alone in this context, without dashboard and autoscaler.

    Unless `verbose`, the reader of logs is left out too.
    """

    def no_dashboard(node: Any, **options: Any) -> None:
        node._webui_url = ""

    def nothing(node: Any) -> None:
        pass

    def absent() -> Exception:
        return ImportError("the dashboard's libraries are not used")

    starts = {"start_api_server": no_dashboard, "start_monitor": nothing}
    if not verbose:
        starts["start_log_monitor"] = nothing
    with (
        _replaced("ray._private.ray_constants", "", {"ENABLE_RAY_CLUSTER": False}),  # it listens on 127.0.0.1 alone
        _replaced("ray._private.node", "Node", starts),
        _replaced("ray._private.utils", "", {"get_dashboard_dependency_error": absent}),
    ):
        yield


@contextmanager
def actors_in_any_worker() -> Iterator[None]:
    """Let Tune's actors run in the workers that Ray starts in advance, which import what a training needs.

    Tune sets environment variables for its actors. For such an actor Ray starts a process when the actor is requested,
    and imports itself twice in it. If this process has started Ray, all workers inherit the variables anyway.
    """
    with _replaced("ray.tune.execution.class_cache", "", {"DEFAULT_ENV_VARS": {}, "ENV_VARS_TO_PROPAGATE": ()}):
        yield


@contextmanager
def _replaced(module: str, owner: str, values: Mapping[str, Any]) -> Iterator[None]:
    """Replace attributes of a module or of its class `owner` in this context, if all of them exist."""
    try:
        target: Any = import_module(module)
        target = getattr(target, owner) if owner else target
        before = {name: getattr(target, name) for name in values}
    except (ImportError, AttributeError):
        yield
        return
    for name, value in values.items():
        setattr(target, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(target, name, value)
