"""The memory that a stack needs, measured on a few of its members, to check the estimate for many."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from lightning_modules.data.sources import Dataset
from lightning_modules.training.entry import Entry
from lightning_modules.training.train import train_cohort

FEW, MORE = 2, 4
"""Members of the two stacks that are measured; larger ones are extrapolated by a line through both."""


def most_members(
    entries: Sequence[Entry], dataset: Dataset, capacity: int, device: str = "cpu",
    train: Callable[..., object] = train_cohort, measure: Callable[[Callable[[], object], str], int] | None = None,
) -> int:  # fmt: skip
    """Return how many of these trainings fit into `capacity` bytes as one stack, at least 1.

    Trains the first 2 and the first 4 of them as they are: give them one epoch each. All of them fit where memory
    cannot be measured here, or the difference drowns in its noise.

    Args:
        train: trains a stack, as `train_cohort` does.
        measure: returns the bytes that a function takes at its peak, as `peak_bytes` does.
    """
    few, more = (
        (measure or peak_bytes)(partial(train, entries[:count], dataset, device=device), device)
        for count in (FEW, MORE)
    )
    each = (more - few) / (MORE - FEW)
    if each <= 0:
        return len(entries)
    return max(1, min(len(entries), int(FEW + (capacity - few) / each)))


def peak_bytes(run: Callable[[], object], device: str = "cpu") -> int:
    """Return the peak memory of `run` in bytes, on top of what is in use before.

    Counts the device's tensors, or on a CPU this process's resident memory. 0 if the system does not report it (Linux
    does).
    """
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    reset = Path("/proc/self/clear_refs")
    try:
        _give_back()
        reset.write_text("5")  # the peak of resident memory becomes its present value
        before = _status("VmHWM")
    except OSError:
        run()
        return 0
    run()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def _give_back() -> None:
    """Make the C library return freed memory to the system; else it would hide the next allocations."""
    trim = getattr(ctypes.CDLL(ctypes.util.find_library("c")), "malloc_trim", None)
    if trim is not None:
        trim(0)
