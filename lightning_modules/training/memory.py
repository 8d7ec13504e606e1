"""How much memory a stack takes, measured on a few of its members: a check of what is estimated for many."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from lightning_modules.data.sources import Dataset
from lightning_modules.settings import Settings
from lightning_modules.training.train import train_cohort

FEW, MORE = 2, 4
"""Members of the two stacks that are measured; a line through both is what larger ones take."""


def most_members(members: Sequence[Settings], dataset: Dataset, capacity: int, device: str = "cpu") -> int:
    """How many of these members fit into `capacity` bytes as one stack, at least 1, by training the first 2 and the
    first 4 of them as they are to be trained: give them one epoch each.

    All of them, where memory cannot be measured here or the difference drowns in its noise.
    """

    def train(count: int) -> None:
        train_cohort(members[:count], dataset, [[1]] * count, device=device)

    few, more = (peak_bytes(partial(train, count), device) for count in (FEW, MORE))
    each = (more - few) / (MORE - FEW)
    if each <= 0:
        return len(members)
    return max(1, min(len(members), int(FEW + (capacity - few) / each)))


def peak_bytes(run: Callable[[], object], device: str = "cpu") -> int:
    """What `run` takes at its highest, in bytes, on top of what there is before: of the device's tensors, or of this
    process's resident memory. 0 where the system does not say (it is Linux that does)."""
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
        reset.write_text("5")  # the highest resident memory becomes the present one
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
    """Make the C library return what it holds back, which would hide what is allocated next."""
    trim = getattr(ctypes.CDLL(ctypes.util.find_library("c")), "malloc_trim", None)
    if trim is not None:
        trim(0)
