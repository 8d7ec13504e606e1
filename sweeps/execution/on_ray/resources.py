"""Discovery of the resources of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lightning_modules.machine_limits import available_bytes, usable_cores
from sweeps.errors import ExecutionError
from sweeps.execution.defaults import Device
from sweeps.execution.resources import EIGHTHS, GPU_HEADROOM, HEADROOM, Kind, Resources
from sweeps.planning.cost import core_rate

Look = Callable[[Mapping[str, float], str], dict[str, Any]]

WAIT_SECONDS = 900.0
"""The number of seconds to wait for a cluster to start its first node."""


def cluster_resources(
    device: Device, on_gpu: str, scales: bool, say: Callable[[str], None],
    nodes: Callable[[], list[dict[str, Any]]] = ray.nodes, look: Look | None = None,
) -> Resources:  # fmt: skip
    """Return the resources for training on `device` in the Ray cluster to which this process is connected.

    Args:
        on_gpu: torch's name for the device that Ray calls a GPU, normally "cuda".
        scales: whether the cluster starts nodes on demand. If it has none, `say` receives a message about the wait.
        nodes: a function that returns the nodes of the cluster, as `ray.nodes` does.
        look: a function that measures the memory and speed of a worker with given resources, as `_look` does.

    Raises:
        ExecutionError: if no node has such a device.
    """

    def standing() -> list[dict[str, float]]:
        return [node["Resources"] for node in nodes() if node["Alive"]]

    look = look or _look
    there = any(node.get("GPU") for node in standing())
    gpus = None
    if device == "cuda" or (device == "auto" and there):
        if not there and not scales:
            raise ExecutionError("--device cuda: Ray has no GPU here; valid: cpu, or --address of a cluster with GPUs")
        if not there:
            say(f"waiting for a node with a GPU, for up to {WAIT_SECONDS / 60:.0f} minutes")
        seen = look({"CPU": 1, "GPU": 1 / EIGHTHS}, on_gpu)
        count = round(sum(node.get("GPU", 0) for node in standing()))
        gpus = Kind(max(1, count), seen["bytes"], seen["flops"], seen.get("name", ""), seen.get("multiprocessors", 0))
        if device == "cuda" or not any(_has_cores(node, gpus) for node in standing()):
            return Resources(None, gpus)
    if not any(_has_cores(node, gpus) for node in standing()):
        say(f"waiting for a node with a CPU, for up to {WAIT_SECONDS / 60:.0f} minutes")
    seen = look({"CPU": 1}, "cpu")
    with_cores = [node for node in standing() if _has_cores(node, gpus)]
    count = round(sum(node["CPU"] for node in with_cores))
    shares = [node["memory"] / node["CPU"] for node in with_cores if node.get("memory")]
    memory = min([seen["bytes"], *(int(HEADROOM * share) for share in shares)])
    return Resources(Kind(max(1, count), memory, seen["flops"]), gpus)


def _has_cores(node: Mapping[str, float], gpus: Kind | None) -> bool:
    """Return whether a node has cores to train on that are not reserved for its GPUs."""
    return bool(node.get("CPU")) and not (gpus and node.get("GPU"))


def _look(resources: Mapping[str, float], device: str, wait_seconds: float = WAIT_SECONDS) -> dict[str, Any]:
    """Measure the memory and speed of a worker with these resources, in a task on that worker."""
    options: dict[str, Any] = {"num_cpus": resources["CPU"], "num_gpus": resources.get("GPU", 0)}
    there = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if there and "GPU" not in resources:  # another run may use all cores for hours, so the task requests no core
        strategy = NodeAffinitySchedulingStrategy(there[0], soft=True)
        options = {"num_cpus": 0, "scheduling_strategy": strategy}
    answer = ray.remote(max_retries=2)(_seen).options(**options).remote(device)
    ready, _ = ray.wait([answer], timeout=wait_seconds)
    if not ready:
        ray.cancel(answer, force=True)
        wanted = ", ".join(f"{count:g} {name}" for name, count in resources.items())
        raise ExecutionError(f"ray: no node with {wanted} free joined within {wait_seconds / 60:.0f} minutes")
    try:
        seen: dict[str, Any] = ray.get(answer)
    except RayError as error:
        raise ExecutionError(f"ray: {error}") from error
    if "error" in seen:
        raise ExecutionError(seen["error"])
    return seen


def _seen(device: str) -> dict[str, Any]:
    """Measure the memory and speed of the worker on which this function runs."""
    if device == "cpu":
        cores = usable_cores()
        return {"bytes": int(HEADROOM * available_bytes() / cores), "flops": core_rate()}
    import torch

    if not torch.cuda.is_available():
        return {"error": "--device cuda: Ray has given out a GPU that torch does not find; "
                f"torch {torch.__version__} there may be built for CPUs alone"}  # fmt: skip
    a, b = (torch.ones(16, *shape, device=device) for shape in ((128, 64), (64, 64)))
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.bmm(a, b)
    begin.record()
    for _ in range(100):
        torch.bmm(a, b)
    end.record()
    end.synchronize()
    flops = 100 * 2.0 * 16 * 128 * 64 * 64 / (begin.elapsed_time(end) / 1000)
    about = torch.cuda.get_device_properties(0)
    return {
        "bytes": int(GPU_HEADROOM * about.total_memory),
        "flops": flops,
        "name": about.name,
        "multiprocessors": about.multi_processor_count,
    }
