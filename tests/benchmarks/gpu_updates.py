"""Updates of K members with and without CUDA graphs, a series of gpu.py."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from gpu_cases import CASES, Emit, dataset, wait_for

from lightning_modules.data.datamodule import CohortData
from lightning_modules.data.sources import Dataset
from lightning_modules.settings import Settings
from lightning_modules.training.cohort import CohortModule
from lightning_modules.training.entry import Entry
from lightning_modules.training.precision import set_products
from lightning_modules.training.program import graphs


class Updates:
    """The updates of K members, in epochs without evaluations, with or without CUDA graphs."""

    def __init__(self, settings: Sequence[Settings], data: Dataset, device: str, with_graphs: bool) -> None:
        self._device = device
        self._devices = frozenset({"cuda"} if with_graphs else ())
        self._data = CohortData(settings, data, torch.device(device), torch.float32)
        self._module = CohortModule([Entry(str(k), each, [each.epochs]) for k, each in enumerate(settings)], self._data)
        self._module.train()

    def epoch(self) -> tuple[float, float]:
        """Train for one epoch, and return the seconds of the host and of everything, per update."""
        graphs.DEVICES = self._devices
        self._module.on_train_epoch_start()
        order = self._data.order(self._module.epochs)
        wait_for(self._device)
        start = time.perf_counter()
        self._module.training_step(order, 0)
        host = time.perf_counter() - start
        wait_for(self._device)
        return host / self._data.updates_per_epoch, (time.perf_counter() - start) / self._data.updates_per_epoch

    def launches(self) -> float | None:
        """Return the launches per update, or None on a CPU or if they cannot be counted."""
        if self._device != "cuda":
            return None
        with torch.profiler.profile() as profile:
            self.epoch()
        count = sum(event.count for event in profile.key_averages() if event.key.startswith(LAUNCHES))
        return count / self._data.updates_per_epoch or None


LAUNCHES = ("cudaLaunch", "cuLaunch", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaMemsetAsync")
"""The beginnings of the names of the calls that launch work on the GPU."""


def updates(series: Mapping[str, Any], emit: Emit) -> None:
    """Time updates of K members with and without CUDA graphs, in alternation."""
    case, device, quick = CASES[series["options"]["case"]], series["device"], series["quick"]
    data, stop = dataset(case.data), time.monotonic() + series["seconds"]
    set_products("float32", torch.device(device))
    for members in (1, 2) if quick else (1, 16, 256):
        settings = [case.settings(k, quick) for k in range(members)]
        try:
            ways = {"graphs": Updates(settings, data, device, True), "eager": Updates(settings, data, device, False)}
            for _ in range(6):  # record, compare, and capture, for both sizes of a batch
                for way in ways.values():
                    way.epoch()
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            while len(times["eager"]) < (1 if quick else 5):
                for name, way in ways.items():
                    times[name].append(way.epoch())
        except torch.OutOfMemoryError as error:
            emit(members=members, error=f"out of memory: {error}".partition("\n")[0])
            return
        measured = {
            name: {
                "seconds": statistics.median(whole for _, whole in times[name]),
                "host_seconds": statistics.median(host for host, _ in times[name]),
                "launches": way.launches(),
            }
            for name, way in ways.items()
        }
        emit(members=members, seconds=[measured["graphs"]["seconds"]], ways=measured)
        if time.monotonic() > stop:
            return
