"""A folder as the store of a cluster, which every node must see as the same folder: on NFS, Lustre or BeeGFS, say.

Names of hosts and paths do not show this. The driver has just begun its run in the folder, and the file that marks the
run is looked for from every node: by the driver before it trains, and by every worker, since nodes may join later.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sweeps.errors import ExecutionError, StoreError
from sweeps.store.leases import Run
from sweeps.store.store import Store

ANSWER_SECONDS = 60.0
"""The time that a node has to answer. If it does not, its workers look for the folder by themselves."""


def check_nodes(store: Store, run: Run) -> None:
    """Raise ExecutionError if a node does not see the folder in which this process has begun the run."""
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    if not store.is_local or not others:
        return
    look = ray.remote(num_cpus=0, max_retries=0)(_is_seen)
    answers = {
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(store, run):
        node["NodeManagerHostname"] for node in others
    }  # fmt: skip
    ready, late = ray.wait([*answers], num_returns=len(answers), timeout=ANSWER_SECONDS)
    for answer in late:
        ray.cancel(answer, force=True)
    if blind := sorted({answers[answer] for answer in ready if _said(answer) is False}):
        raise ExecutionError(not_shared(store, blind))


def check_here(store: Store, run: Run) -> None:
    """Raise StoreError if this process does not see the folder in which the driver has begun the run."""
    if not _is_seen(store, run):
        raise StoreError(not_shared(store, [socket.gethostname()]))


def _is_seen(store: Store, run: Run) -> bool:
    return not store.is_local or run.is_seen_at(store.location)


def _said(answer: ray.ObjectRef[bool]) -> bool | None:
    """Return the answer of a node, and None if it has none, such as a node that has died meanwhile."""
    try:
        return bool(ray.get(answer))
    except RayError:
        return None


def not_shared(store: Store, hosts: Sequence[str]) -> str:
    return (
        f"--store {store}: workers on {', '.join(hosts)} do not see the folder that the driver on "
        "this machine sees; valid with nodes elsewhere: a folder that all nodes share under this path, or s3://BUCKET/PATH"
    )
