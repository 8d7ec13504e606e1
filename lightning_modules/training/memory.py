"""Measure the memory of two small stacks, to check the estimate of how many members fit into one stack."""

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
"""The sizes of the two stacks that are measured. The memory of larger stacks is extrapolated linearly."""


def most_members(
    entries: Sequence[Entry], dataset: Dataset, capacity: int, device: str = "cpu",
    train: Callable[..., object] = train_cohort, measure: Callable[[Callable[[], object], str], int] | None = None,
) -> int:  # fmt: skip
    """Return how many of these trainings fit into `capacity` bytes as one stack, at least 1.

    Trains the first 2 and then the first 4 entries as a stack for all their epochs, so pass entries of one epoch each.
    Returns the number of entries if memory cannot be measured or if noise hides the difference between the two stacks.

    Args:
        train: trains a stack, as `train_cohort` does.
        measure: returns the peak memory of a function in bytes, as `peak_bytes` does.
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
    """Return the peak memory of `run` in bytes, beyond the memory that is in use before the call.

    Counts the tensors on a GPU, or the resident memory of this process on a CPU. Returns 0 if the system does not
    report resident memory (Linux does).
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
        reset.write_text("5")  # resets the peak to the current resident memory
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
    """Make the C library return freed memory to the system, because reusing it would hide new allocations."""
    trim = getattr(ctypes.CDLL(ctypes.util.find_library("c")), "malloc_trim", None)
    if trim is not None:
        trim(0)
