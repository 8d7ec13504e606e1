"""Resources of a Ray cluster, and the share of them that each cohort requests.

A cohort requests one CPU. To train on a GPU, it also requests the eighths of the GPU that it fills, by its memory or by
its members, so that only small cohorts share a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_modules.machine_limits import available_bytes, usable_cores
from sweeps.errors import ExecutionError
from sweeps.execution.gpus import Gpu
from sweeps.planning.machine import gpu_speed, local_speed
from sweeps.planning.packing import STACK_BYTES, Packing
from sweeps.planning.plan import Cohort, Plan

EIGHTHS = 8
GPU_OVERHEAD = 3 * 2**28
"""Bytes of GPU memory that a process uses before any tensor: about half a GiB for CUDA and kernels, and a margin."""

GPU_HEADROOM = 0.9
"""The fraction of a GPU's memory that cohorts may use."""

OVERHEADS = {"ray": (9.0, 0.05), "inline": (2.0, 0.0)}
"""The seconds until the first training of a run, if no run was measured, and between two cohorts; by executor."""

HEADROOM = 0.6
"""The fraction of a machine's available memory that cohorts may use."""


@dataclass(frozen=True)
class Kind:
    """A kind of device on which cohorts train: cores or GPUs."""

    count: int
    bytes: int
    """The memory in bytes that the cohorts on one device may use together."""
    flops: float
    """Measured operations per second of a batched matrix product. Only the ratio between two kinds is used."""
    name: str = ""
    """The model of the GPU."""
    multiprocessors: int = 0
    """The multiprocessors of the GPU; 0 if they are not known."""


@dataclass(frozen=True)
class Grant:
    """The resources that a cohort requests from Ray, and the bytes of memory that come with them."""

    resources: Mapping[str, float]
    bytes: int


@dataclass(frozen=True)
class Resources:
    """All devices to train on. If there are GPUs, `cores` counts only the cores of nodes without GPUs."""

    cores: Kind | None
    gpus: Kind | None
    executor: str = "ray"
    """The name under which the startup of runs is remembered."""

    @property
    def workers(self) -> int:
        return sum(kind.count for kind in (self.cores, self.gpus) if kind)

    @property
    def bytes_per_worker(self) -> int:
        """The memory that is available to a cohort on every kind of device. It limits the stacks of a plan."""
        return min(kind.bytes for kind in (self.cores, self.gpus) if kind)

    def packing(self, workers: int | None, max_cohort: int | None) -> Packing:
        """Return the packing for this many workers, by default one per device, and for one in this process.

        On a GPU, only its memory limits a stack. Estimates are those of a GPU if there is one.
        """
        count = self.workers if self.executor == "inline" else workers or self.workers
        speed = gpu_speed(self.gpus.name, self.gpus.multiprocessors) if self.gpus else local_speed()
        startup, per_cohort = OVERHEADS[self.executor]
        return Packing(
            count,
            max_cohort,
            self.bytes_per_worker,
            stack_bytes=STACK_BYTES if self.cores else None,
            speed=speed,
            startup_seconds=speed.table.startups.get(self.executor, startup),
            cohort_seconds=per_cohort,
        )

    def grants(self, cohorts: Sequence[Cohort]) -> list[Grant]:
        """Return one grant per cohort.

        If there are both cores and GPUs, cohorts are assigned in order of decreasing length, each to the device on
        which it would end first at the measured rates.
        """
        core = Grant({"CPU": 1.0}, self.cores.bytes) if self.cores else None
        if not self.gpus:
            assert core
            return [core] * len(cohorts)
        shares = [gpu_share(cohort, self.gpus.bytes, self.gpus.multiprocessors) for cohort in cohorts]
        chosen = [Grant({"CPU": 1.0, "GPU": share}, int(share * self.gpus.bytes) - GPU_OVERHEAD) for share in shares]
        if not (self.cores and core):
            return chosen
        places = [kind for kind in (self.gpus, self.cores) for _ in range(kind.count)]
        busy_until = [0.0] * len(places)
        for index in sorted(range(len(cohorts)), key=lambda i: -cohorts[i].cost.flops):
            flops = cohorts[index].cost.flops
            ends = [until + flops / place.flops for until, place in zip(busy_until, places, strict=True)]
            first = ends.index(min(ends))
            busy_until[first] = ends[first]
            if places[first] is self.cores:
                chosen[index] = core
        return chosen


def check_precision(plan: Plan, cores: bool) -> None:
    """Raise ExecutionError if trainings that need a GPU could be given to a core. `cores`: whether cores are used."""
    if cores and any(cell.point.precision == "tf32" for cell in plan.missing):
        raise ExecutionError("precision: tf32 needs --device cuda; valid on a CPU: float32, bfloat16, float64")


def gpu_share(cohort: Cohort, gpu_bytes: int, multiprocessors: int = 0) -> float:
    """Return the share of a GPU that a cohort fills, rounded up to eighths and at most 1.

    It is the share of the memory that the cohort needs, or of the multiprocessors that its members occupy, whichever is
    larger. Every product of a member is at least one block, and a block occupies a multiprocessor. Processes take turns
    on a GPU, so a second cohort would only slow down one that fills it.
    """
    needed = (cohort.cost.bytes + GPU_OVERHEAD) / gpu_bytes
    if multiprocessors:
        needed = max(needed, len(cohort.members) / multiprocessors)
    return min(EIGHTHS, max(1, math.ceil(needed * EIGHTHS))) / EIGHTHS


def gpu_resources(gpu: Gpu) -> Resources:
    """Return the resources of one GPU of this machine, for cohorts that train in this process."""
    return Resources(None, Kind(1, int(GPU_HEADROOM * gpu.bytes), 1.0, gpu.name, gpu.multiprocessors), "inline")


def local_resources(workers: int | None = None, executor: str = "ray") -> Resources:
    """Return the resources of this many cores of this machine, by default all cores."""
    count = workers or usable_cores()
    return Resources(Kind(count, int(HEADROOM * available_bytes() / count), 1.0), None, executor)
