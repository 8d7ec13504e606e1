"""Comparison: whether another way to make the calls of a program gives the same numbers.

Numbers are compared bit by bit. The kernels of a GPU may add in another order in every run, so that even the same
program gives other bits. Only where a program has shown this, by two runs from the same state, are two results equal if
they differ by at most TOLERANCE. (Two calls of the recorded function would not show it: they also differ if the network
depends on something besides its tensors, which is what the comparison is there to find.)
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_modules.training.program.program import Program
from lightning_modules.training.program.recording import Recording

_log = logging.getLogger("memsweep.training")

Results = Sequence[Any]
"""Tensors or None."""

UNORDERED = frozenset({"cuda"})
"""The types of devices whose kernels may add in another order in every run."""

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""The largest difference of an element, relative to the largest element of its member in the same tensor, by the least
precise type in the program. Whole numbers must be equal."""

_told: set[str] = set()


class Outcome(NamedTuple):
    """What a call returned, and the values of the tensors that it changes."""

    results: Results
    changed: Sequence[Tensor]


class Comparison:
    """Compares a program with other ways to make its calls.

    Args:
        changed: the tensors that the program changes, each with one row per member.
        recording: what the program was made from.
        name: what the program is, for a log line.
    """

    def __init__(self, program: Program, changed: Sequence[Tensor], recording: Recording, name: str) -> None:
        self.device = recording.device
        self._program = program
        self._changed = changed
        self._tolerance = max((TOLERANCE.get(dtype, 0.0) for dtype in _dtypes(recording)), default=0.0)
        self._name = name

    def state(self) -> list[Tensor]:
        """Return copies of the tensors that the program changes."""
        return copies(self._changed)

    def outcome(self, results: Results) -> Outcome:
        """Return copies of the results and of the tensors that the program changes."""
        return Outcome(copies(results), self.state())

    def agrees(self, run: Callable[[], Results], before: Sequence[Tensor], expected: Outcome) -> bool:
        """Return whether `run` turns the state `before` into the expected outcome.

        Afterwards, the tensors hold the outcome of `run`, or of another run of the program.
        """
        restore(self._changed, before)
        outcome = Outcome(run(), self._changed)
        if equal(outcome, expected):
            return True
        if self.device.type not in UNORDERED:
            return False
        outcome, once = self.outcome(outcome.results), self._repeated(before)
        twice = self._repeated(before)
        largest = max(difference(expected, outcome), difference(expected, twice))
        if equal(once, twice) or not largest <= self._tolerance:
            return False
        if self._name not in _told:
            _told.add(self._name)
            _log.info(
                "%s is not deterministic on this device: two runs from the same state gave other bits, so replays are "
                "compared within %g", self._name, self._tolerance,
            )  # fmt: skip
        return True

    def _repeated(self, before: Sequence[Tensor]) -> Outcome:
        restore(self._changed, before)
        return self.outcome(self._program())


def copies(tensors: Sequence[Any]) -> list[Any]:
    return [None if tensor is None else tensor.clone() for tensor in tensors]


def restore(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for tensor, value in zip(tensors, values, strict=True):
            tensor.copy_(value)


def equal(a: Outcome, b: Outcome) -> bool:
    """Return whether two outcomes have the same bits, NaN included. On the meta device, there are no bits."""
    return len(a.results) == len(b.results) and all(map(_equal, (*a.results, *a.changed), (*b.results, *b.changed)))


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    if a.device.type == "meta":
        return a.shape == b.shape
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    same = a == b
    if a.is_floating_point():  # zeros have signs
        same = same & (a.signbit() == b.signbit()) | a.isnan() & b.isnan()
    return bool(same.all())


def difference(a: Outcome, b: Outcome) -> float:
    """Return the largest relative difference of an element of two outcomes; infinity if they cannot be compared."""
    if len(a.results) != len(b.results):
        return math.inf
    return max(map(_difference, (*a.results, *a.changed), (*b.results, *b.changed)), default=0.0)


def _difference(a: Tensor | None, b: Tensor | None) -> float:
    if a is None or b is None or a.shape != b.shape or not a.is_floating_point():
        return 0.0 if _equal(a, b) else math.inf
    if not a.numel():
        return 0.0
    first, second = (tensor.double().reshape(len(tensor) if tensor.dim() else 1, -1) for tensor in (a, b))
    largest = torch.where(first.isfinite(), first.abs(), 0.0).amax(1, keepdim=True)
    relative = ((first - second).abs() / largest).nan_to_num(nan=math.inf, posinf=math.inf)
    same = (first == second) | (first.isnan() & second.isnan())
    return float(torch.where(same, 0.0, relative).max())


def _dtypes(recording: Recording) -> set[torch.dtype]:
    return {
        view.dtype for call in recording.calls for view in (*call.inputs, *call.outputs)
        if view is not None and view.dtype.is_floating_point
    }  # fmt: skip
