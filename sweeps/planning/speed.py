"""Speed: estimates how long a stack of K members takes on a device, by a default model and by what was measured there.

    cohort  = fixed + epochs * epoch + evaluations * evaluation + measures on demand
    epoch   = a + updates * (b + K * c)

Measures on demand are estimated as a number of epochs, and corrected by what these measures took on the device.

The default model is linear in countable quantities (calls of torch, operations, bytes). Its coefficients (`REFERENCE`)
were fitted to times of stacks of 1 to 48 members of all families on one core (`tests/benchmarks/cost_model.py`). Each
estimate is multiplied by a correction: a mean of measured / estimated over the stacks that this device has trained, in
which stacks of a similar size and kind weigh most. What was trained before is therefore estimated as it was measured.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sweeps.planning.throughput import Throughput
from sweeps.planning.work import Measurements, Work, effort_of_measures, names_of_measures, slowdown_of_measures

REFERENCE_RATE = 73e9
"""The operations per second of `cost.core_rate` on the core on which the coefficients of `REFERENCE` were fitted."""

REFERENCE_CALL = 0.5e-6
"""The seconds of `cost.call_seconds` on that core."""

CACHE_BYTES = 16 * 2**20
"""The share of a core in the last cache on that machine. Bytes of a stack beyond this share come from memory."""

REFERENCE: Mapping[str, float] = {
    "epoch": 2.5e-3, "update": 0.0, "call": 4.3e-5, "adamw": 8.9e-5, "augmentation": 1.2e-4, "rotation": 1.5e-4,
    "member update": 8e-6, "flop": 5.2e-11, "column": 9.7e-9, "parameter": 1.7e-9, "activation": 9.8e-10,
    "masked": 2e-9, "augmented": 6.2e-9, "rotated": 2.7e-8, "far byte": 8.6e-10,
    "evaluation": 6.1e-3, "evaluation call": 1.7e-4, "evaluation member": 6.8e-5, "evaluation flop": 1.4e-11,
    "evaluation column": 6e-9, "evaluation activation": 2.2e-9,
    "stack": 0.042, "stack call": 0.0105, "stack member": 7.5e-3, "stack parameter": 1.9e-7, "stack example": 1e-6,
    "stack input": 0.0,
}  # fmt: skip
"""Seconds per unit of each quantity on one core."""

GPU: Mapping[str, float] = {
    **dict.fromkeys(REFERENCE, 0.0),
    "epoch": 5e-4, "update": 2e-5, "call": 1.4e-5, "adamw": 2e-5, "augmentation": 5e-5, "rotation": 1e-3,
    "flop": 3.5e-14, "column": 7e-12, "parameter": 1e-11, "activation": 1e-12, "masked": 1e-12, "augmented": 1e-12,
    "rotated": 1e-11,
    "evaluation": 2e-3, "evaluation call": 1.4e-5, "evaluation flop": 3.5e-14, "evaluation column": 3e-12,
    "evaluation activation": 1e-12,
    "stack": 0.3, "stack member": 0.003, "stack input": 1e-9,
}  # fmt: skip
"""The same for a GPU, on paper: from the rates and the bandwidth of an H100, not from measurements."""

GPU_MULTIPROCESSORS = 132
"""The multiprocessors of that GPU."""

BULK = frozenset({
    "flop", "column", "parameter", "activation", "masked", "augmented", "rotated", "far byte",
    "evaluation flop", "evaluation column", "evaluation activation", "stack example", "stack input",
    "stack parameter",
})  # fmt: skip
"""The quantities whose time depends on the rate of a core, and not on how long a call takes."""

NEAR, FAR = 0.1, 4.0
"""A measured stack weighs 1 / (NEAR + distance²)², and the default model as much as a stack at a distance² of FAR."""

Features = Mapping[str, float]

EPOCH, EVALUATION, FIXED = range(3)
Kind = int | tuple[str, ...]
"""What is estimated: a part of a cohort, or measures on demand, by their names."""


def epoch_features(work: Work, members: int, cache: int = CACHE_BYTES) -> Features:
    """Return the quantities that an epoch's time is linear in, for a stack of `members` on a CPU."""
    wide = work.float_bytes / 4
    updates, trained = members * work.updates, members * work.trained
    beyond = max(0.0, 1.0 - cache / (members * work.stack_bytes))
    dropout = "dropout" in work.on
    rotation = "rotation" in work.on
    kinds = len(work.on) - dropout - ("input_noise" in work.on)
    return {
        "epoch": 1.0,
        "update": work.updates,
        "call": work.updates * work.calls,
        "adamw": work.updates * (work.optimizer == "adamw"),
        "augmentation": work.updates * kinds,
        "rotation": work.updates * rotation,
        "member update": updates,
        "flop": wide * trained * work.flops,
        "column": wide * trained * work.columns,
        "parameter": wide * updates * work.parameters * (2.0 if work.optimizer == "adamw" else 1.0),
        "activation": wide * trained * (work.activations + work.inputs),
        "masked": wide * trained * work.masked * dropout,
        "augmented": wide * trained * work.inputs * kinds,
        "rotated": wide * trained * work.inputs * rotation,
        "far byte": beyond * updates * work.stack_bytes,
    }


def evaluation_features(work: Work, members: int, cache: int = CACHE_BYTES) -> Features:
    """Return the quantities that an evaluation's time is linear in."""
    wide = work.float_bytes / 4
    evaluated = members * work.evaluated
    return {
        "evaluation": 1.0,
        "evaluation call": work.passes * work.calls,
        "evaluation member": members,
        "evaluation flop": wide * evaluated * work.flops,
        "evaluation column": wide * evaluated * work.columns,
        "evaluation activation": wide * evaluated * (work.activations + work.inputs),
    }


def fixed_features(work: Work, members: int, cache: int = CACHE_BYTES) -> Features:
    """Return the quantities that the time of a stack's construction and storage is linear in."""
    own = members * work.examples * (work.inputs if "input_noise" in work.on else 0)
    return {
        "stack": 1.0,
        "stack call": work.calls,
        "stack member": members,
        "stack parameter": members * work.parameters,
        "stack example": members * work.examples,
        "stack input": own,
    }


@dataclass(frozen=True)
class Speed:
    """The speed of one device: the default model, and the stacks that were measured on it.

    Attributes:
        table: what was measured on the device.
        cache_bytes: the share of a worker in the last cache.
        coefficients: the seconds per unit of each quantity, on a core of REFERENCE_RATE and REFERENCE_CALL.
    """

    table: Throughput = field(default_factory=Throughput)
    cache_bytes: int = CACHE_BYTES
    coefficients: Mapping[str, float] = field(default_factory=lambda: REFERENCE)

    def epoch(self, work: Work, members: int) -> float:
        """Estimate the seconds of an epoch of a stack, without an evaluation."""
        return self._estimate(EPOCH, work, members)

    def evaluation(self, work: Work, members: int) -> float:
        """Estimate the seconds of an evaluation of all members of a stack."""
        return self._estimate(EVALUATION, work, members)

    def fixed(self, work: Work, members: int) -> float:
        """Estimate the seconds of a cohort besides its epochs and evaluations."""
        return self._estimate(FIXED, work, members)

    def cohort(self, work: Work, members: int, epochs: int, evaluations: int) -> float:
        """Estimate the seconds of a cohort of equal trainings."""
        return (
            self.fixed(work, members)
            + epochs * self.epoch(work, members)
            + evaluations * self.evaluation(work, members)
        )

    def measures(self, work: Work, members: int, measured: Measurements) -> float:
        """Estimate the seconds that measures on demand add to a cohort. `measured` is that of `work`."""
        if not measured:
            return 0.0
        effort = self._default(EPOCH, work, members) * self._correction(names_of_measures(measured), work, members)
        slower = slowdown_of_measures(measured) * self.epoch(work, members)
        return slower + effort_of_measures(measured, work) * effort

    def _estimate(self, kind: int, work: Work, members: int) -> float:
        seconds = self._estimates.get((kind, work, members))
        if seconds is None:
            seconds = self._default(kind, work, members) * self._correction(kind, work, members)
            self._estimates[kind, work, members] = seconds
        return seconds

    @cached_property
    def _estimates(self) -> dict[tuple[int, Work, int], float]:
        return {}

    def _default(self, kind: int, work: Work, members: int) -> float:
        bulk = REFERENCE_RATE / (self.table.core_rate or REFERENCE_RATE)
        calls = (self.table.call_seconds or REFERENCE_CALL) / REFERENCE_CALL
        quantities = FEATURES[kind](work, members, self.cache_bytes)
        return sum(
            self.coefficients[name] * quantity * (bulk if name in BULK else calls)
            for name, quantity in quantities.items()
        )

    def _correction(self, kind: Kind, work: Work, members: int) -> float:
        """Return the weighted geometric mean of measured / estimated over the measured stacks."""
        if kind not in self._measured:
            return 1.0
        coordinates, ratios = self._measured[kind]
        distances = ((coordinates - _coordinates(work, members)) ** 2).sum(1)
        weights = 1.0 / (NEAR + distances) ** 2
        prior = 1.0 / (NEAR + FAR) ** 2
        return float(np.exp((weights @ ratios) / (weights.sum() + prior)))

    @cached_property
    def _measured(self) -> dict[Kind, tuple[np.ndarray, np.ndarray]]:
        """For each kind of estimate: the coordinates of the measured stacks, and log(measured / estimated)."""
        points: dict[Kind, list[np.ndarray]] = defaultdict(list)
        ratios: dict[Kind, list[float]] = defaultdict(list)

        def add(kind: Kind, place: np.ndarray, measured: float, estimated: float) -> None:
            points[kind].append(place)
            ratios[kind].append(math.log(measured / estimated))

        for stack in self.table.stacks:
            place = _coordinates(stack.work, stack.members)
            epoch, evaluation, fixed = (self._default(kind, stack.work, stack.members) for kind in range(3))
            if stack.epoch:
                add(EPOCH, place, stack.epoch, epoch)
            if stack.evaluated_epoch and not stack.epoch:  # the two parts cannot be told apart
                add(EPOCH, place, stack.evaluated_epoch, epoch + evaluation)
                add(EVALUATION, place, stack.evaluated_epoch, epoch + evaluation)
            elif stack.evaluated_epoch and stack.epoch and stack.evaluated_epoch > stack.epoch:
                add(EVALUATION, place, stack.evaluated_epoch - stack.epoch, evaluation)
            if stack.fixed:
                add(FIXED, place, stack.fixed, fixed)
            if stack.effort:
                add(stack.measures, place, stack.effort, epoch)
        return {kind: (np.array(places), np.array(ratios[kind])) for kind, places in points.items()}


FEATURES: tuple[Callable[[Work, int, int], Features], ...] = (epoch_features, evaluation_features, fixed_features)


def _coordinates(work: Work, members: int) -> np.ndarray:
    """Return where a stack lies among others. Stacks at a distance below 1 are alike."""
    return np.array([
        math.log2(members) * 1.25,
        math.log2(1 + work.flops * work.batch) / 2,
        math.log2(work.batch) / 2,
        math.log2(work.calls) * 2,
        math.log2(1 + work.updates) / 4,
        4.0 * (work.columns > 0),
        2.0 * (work.optimizer == "adamw"),
        2.0 * (work.precision == "float64"),
        2.0 * ("dropout" in work.on),
        len([name for name in work.on if name not in ("dropout", "input_noise")]),
    ])  # fmt: skip
