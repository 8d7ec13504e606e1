"""Estimated costs of a training: floating-point operations and bytes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from lightning_modules.data import sources
from lightning_modules.data.split_sizes import split_sizes
from lightning_modules.measures.chunks import chunk_examples
from lightning_modules.models import sizes
from sweeps.planning.work import BYTES, OPTIMIZER_STATES
from sweeps.spec.point import Point


@dataclass(frozen=True)
class Cost:
    """The cost of one training as a member of a cohort."""

    flops: float
    bytes: int


def training_cost(point: Point, evaluations: int) -> Cost:
    """Estimate the cost of a training from a point whose width and depth are resolved.

    Operations: a backward pass counts as two forward passes, and an evaluation as one forward pass over the trained
    examples, the validation part and the test set.

    Bytes: parameters, gradients, optimizer state and one temporary tensor of each; the activations of a training step
    (twice, for their gradients) and of an evaluation, each once for the recording and once for the function that it is
    compared with or for another split; and the member's own labels and inputs. (For
    stacks of 4 to 12 members of a megabyte or more, the measured bytes are 0.4 to 2.5 times this estimate,
    depending on the family.)
    """
    facts = sources.facts(*sources.reference(point))
    shape = (point.model, facts.shape, facts.classes, point.width, point.depth)
    forward = sizes.forward_flops(*shape)
    split = split_sizes(point, facts.train_size)
    examples = max(1, split.trained)
    evaluated = examples + split.held_out + facts.test_size
    flops = forward * (3.0 * examples * point.epochs + evaluated * evaluations)
    width = BYTES[point.precision]
    weights = sizes.parameter_count(*shape) * width * (4 + OPTIMIZER_STATES[point.optimizer])
    inputs = math.prod(facts.shape)
    activations = sizes.activation_floats(*shape)
    batch = min(point.batch_size, examples) * 2 * (activations + inputs) * width
    evaluation = (
        min(chunk_examples(inputs), max(examples, split.held_out, facts.test_size)) * (activations + inputs) * width
    )
    own_data = (examples + split.held_out) * (24 + (inputs * width if point.input_noise else 0))
    return Cost(flops, int(weights + 2 * (batch + evaluation) + own_data))


def core_rate() -> float:
    """Measure the FLOP/s of one core on a batched matrix product of the size of a stacked layer."""
    from threadpoolctl import threadpool_limits  # a plan does not need it once the rate is remembered

    a, b = np.ones((16, 128, 64), np.float32), np.ones((16, 64, 64), np.float32)
    seconds: list[float] = []
    with threadpool_limits(1):
        stop = time.perf_counter() + 0.1
        while len(seconds) < 3 or time.perf_counter() < stop:
            start = time.perf_counter()
            np.matmul(a, b)
            seconds.append(time.perf_counter() - start)
    return 2.0 * a.shape[0] * a.shape[1] * a.shape[2] * b.shape[2] / min(seconds)  # the fastest was disturbed least


def call_seconds() -> float:
    """Measure the time of a call that computes almost nothing, on one core."""
    a, out = np.ones(8, np.float32), np.empty(8, np.float32)
    seconds: list[float] = []
    stop = time.perf_counter() + 0.02
    while len(seconds) < 3 or time.perf_counter() < stop:
        start = time.perf_counter()
        for _ in range(100):
            np.add(a, a, out)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[len(seconds) // 4] / 100
