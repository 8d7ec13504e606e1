"""Watch which random sources a forward pass draws from."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import lightning_modules

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
"""The modules whose masks memsweep draws."""
_HERE = str(Path(__file__).parent)
_LIBRARIES = tuple(str(Path(package.__file__ or "").parent) for package in (torch, lightning_modules))


class Drawn(TorchDispatchMode):
    """Inside a `with` block, `where` describes the first draw from one of torch's generators outside of `DROPOUT`."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from importing torch._dynamo, which takes seconds, only to exempt this mode from compilation."""
        return False

    def __init__(self) -> None:
        super().__init__()
        self.where: str | None = None

    def __torch_dispatch__(
        self, func: torch._ops.OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if self.where is None and torch.Tag.nondeterministic_seeded in func.tags:
            self.where = _place(func)
        return func(*args, **(kwargs or {}))


@contextmanager
def generators_restored() -> Iterator[None]:
    """Restore the global generators of torch, numpy and Python on exit."""
    of_numpy, of_python = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            np.random.set_state(of_numpy)
            random.setstate(of_python)


def global_states() -> dict[str, object]:
    """Return the states of the global generators that memsweep does not feed."""
    of_numpy = np.random.get_state(legacy=False)
    state = of_numpy["state"]
    return {
        "numpy's global generator": (state["key"].tobytes(), state["pos"]),
        "Python's global generator": random.getstate(),
    }


def moved(before: dict[str, object]) -> str | None:
    """Return the name of a generator whose state has changed since `global_states`."""
    return next((name for name, state in global_states().items() if state != before[name]), None)


def _place(func: torch._ops.OpOverload) -> str | None:
    """Say where the present draw is called from, or return None inside of a dropout module."""
    frame: FrameType | None = sys._getframe(2)
    module = line = None
    while frame is not None:
        owner, file = frame.f_locals.get("self"), frame.f_code.co_filename
        if isinstance(owner, DROPOUT):
            return None
        if module is None and isinstance(owner, nn.Module):
            module = type(owner).__name__
        if line is None and not file.startswith(_LIBRARIES):
            line = f"line {frame.f_lineno} of {Path(file).name}"
        if file.startswith(_HERE):
            break
        frame = frame.f_back
    name = func.name().removeprefix("aten::").partition(".")[0].strip("_")
    return ", ".join(part for part in (f"`{name}`", f"in {module}" if module else "", line or "") if part)
