"""Nested noise, so that the cells of a grid differ by the amount of noise and not by chance.

Random numbers are drawn once per example of the whole training set, for all fractions and subsets. Therefore:
- the examples corrupted at fraction 0.2 are among those corrupted at 0.4, with the same wrong labels or inputs;
- an example has the same wrong label and the same wrong input in every subset that contains it;
- a subset of n examples is a prefix of the subset of 2 n.
The number of corrupted examples is exactly `rounded_share` of the subset's size. (With a threshold on the random
numbers, the corrupted examples of different subset sizes would also be nested, but their number would be random.)

Usage: `order = subset_order(labels, g)[:n]`, then `corrupt_labels(labels[order], draws.of(order), ...)`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod, sqrt

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

from lightning_modules.data.dataset import Floats, Ints
from lightning_modules.data.split_sizes import rounded_share
from lightning_modules.errors import DataError

Mask = NDArray[np.bool_]


def subset_order(labels: Ints, generator: Generator) -> Ints:
    """Order all N examples so that every prefix is stratified; return positions, int64 [N].

    For every n and c, the number of examples of class c (N_c in all) among the first n differs from n * N_c / N by
    less than one. The order within a class is random, and ties between classes are broken randomly.

    The bound gives the j-th example of each class a release time and a deadline, and the released example with the
    earliest deadline comes next. For unit jobs, this rule meets every deadline if any order does, and such an order
    exists (Tijdeman 1980, the chairman assignment problem). The cost is O(N log classes): 0.1 s for N = 50,000.
    """
    total = len(labels)
    queues = [generator.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    tie_breaks = generator.permutation(len(queues))
    waiting = [(1, int(tie), c, 0) for c, tie in enumerate(tie_breaks)]
    due: list[tuple[int, int, int, int]] = []
    heapq.heapify(waiting)
    order = np.empty(total, dtype=np.int64)
    for place in range(1, total + 1):
        while waiting and waiting[0][0] <= place:
            _, tie, c, taken = heapq.heappop(waiting)
            heapq.heappush(due, (-(-(taken + 1) * total // len(queues[c])), tie, c, taken))
        _, tie, c, taken = heapq.heappop(due)
        order[place - 1] = queues[c][taken]
        taken += 1
        if taken < len(queues[c]):
            heapq.heappush(waiting, (taken * total // len(queues[c]) + 1, tie, c, taken))
    return order


def corrupted_mask(rank: NDArray[np.float64], fraction: float) -> Mask:
    """Return a mask, bool [n], of the `rounded_share` examples of lowest rank."""
    mask = np.zeros(len(rank), dtype=np.bool_)
    mask[np.argsort(rank, kind="stable")[: rounded_share(fraction, len(rank))]] = True
    return mask


@dataclass(frozen=True, eq=False)
class LabelDraws:
    """The random numbers for the noise in each example's label, for any fraction and kind. All arrays are [n]."""

    rank: NDArray[np.float64]
    """Uniform in [0, 1); the examples of lowest rank are corrupted first."""
    any_class: Ints
    """Uniform in 0..classes-1."""
    offset: Ints
    """Uniform in 1..classes-1, or 0 for one class. The true class plus the offset, modulo classes, is a wrong class."""

    def of(self, positions: Ints) -> LabelDraws:
        """Select the draws of some of the examples."""
        return LabelDraws(self.rank[positions], self.any_class[positions], self.offset[positions])


def label_draws(total: int, classes: int, generator: Generator) -> LabelDraws:
    """Draw the random numbers of a whole training set of `total` examples."""
    return LabelDraws(
        rank=generator.random(total),
        any_class=generator.integers(0, classes, total),
        offset=generator.integers(1, classes, total) if classes > 1 else np.zeros(total, dtype=np.int64),
    )


LABEL_NOISE: dict[str, Callable[[Ints, LabelDraws, int], Ints]] = {
    "uniform": lambda labels, draws, classes: draws.any_class,
    "symmetric": lambda labels, draws, classes: (labels + draws.offset) % classes,
    "pair": lambda labels, draws, classes: (labels + 1) % classes,
}
"""For each kind, a function that returns the new labels: any class, including the true one (Zhang 2017, MNIST-1D: wrong
with probability q (C-1)/C), any wrong class (Nakkiran 2019: wrong with probability q), or the next class."""


def corrupt_labels(labels: Ints, draws: LabelDraws, fraction: float, kind: str, classes: int) -> Ints:
    """Return a copy of the labels in which the `rounded_share` examples of lowest rank are relabelled; int64 [n].

    Raises DataError for a fraction outside 0..1, for an unknown kind, and for a kind that needs a wrong class if the
    data has only one class.
    """
    _check("label_noise", fraction, kind, LABEL_NOISE)
    if fraction > 0 and kind != "uniform" and classes < 2:
        raise DataError(
            "label_noise", f"given {fraction} of kind {kind} on data of {classes} class; it takes 2 or more"
        )
    return np.where(corrupted_mask(draws.rank, fraction), LABEL_NOISE[kind](labels, draws, classes), labels)


class Moments:
    """Mean and standard deviation of all numbers of an array, computed lazily in float64."""

    def __init__(self, inputs: Floats) -> None:
        self._inputs = inputs

    @cached_property
    def mean(self) -> float:
        return float(self._inputs.mean(dtype=np.float64))

    @cached_property
    def sd(self) -> float:
        # Process one example at a time, because a float64 copy of a large data set would take twice its memory.
        squares = sum(np.square(np.subtract(x, self.mean, dtype=np.float64)).sum() for x in self._inputs)
        return sqrt(float(squares) / self._inputs.size)


@dataclass(frozen=True, eq=False)
class InputDraws:
    """The random numbers for the noise in each example's input, for any fraction and kind.

    The noise itself is not stored. It is generated per example when needed, by a counter-based generator whose key
    belongs to the member and whose counter is the example, so the noise of one example does not depend on any other.
    """

    rank: NDArray[np.float64]
    """[n], uniform in [0, 1); the examples of lowest rank are corrupted first."""
    example: Ints
    """[n], each example's position in the whole training set."""
    key: int
    """The 128-bit key of the member's noise generator."""
    permutation: Ints
    """[pixels], the one permutation that `shuffled_pixels` applies to every example."""
    moments: Moments
    """Moments of the inputs of the whole training set."""

    def of(self, positions: Ints) -> InputDraws:
        """Select the draws of some of the examples."""
        return replace(self, rank=self.rank[positions], example=self.example[positions])

    def generator(self, example: int) -> Generator:
        return Generator(Philox(key=self.key, counter=example << 128))


def input_draws(inputs: Floats, generator: Generator) -> InputDraws:
    """Draw the random numbers for a whole training set [N, *shape], independently of the subset that is trained on."""
    return InputDraws(
        rank=generator.random(len(inputs)),
        example=np.arange(len(inputs)),
        key=int.from_bytes(generator.bytes(16), "little"),
        permutation=generator.permutation(prod(_pixels(inputs))),
        moments=Moments(inputs),
    )


def _gaussian(original: Floats, draws: InputDraws, example: int) -> Floats:
    noise = draws.generator(example).standard_normal(original.shape, dtype=np.float32)
    return noise * np.float32(draws.moments.sd) + np.float32(draws.moments.mean)


def _shuffled_pixels(original: Floats, draws: InputDraws, example: int) -> Floats:
    return original[..., draws.permutation]


def _random_pixels(original: Floats, draws: InputDraws, example: int) -> Floats:
    return original[..., draws.generator(example).permutation(original.shape[-1])]


INPUT_NOISE: dict[str, Callable[[Floats, InputDraws, int], Floats]] = {
    "gaussian": _gaussian,
    "shuffled_pixels": _shuffled_pixels,
    "random_pixels": _random_pixels,
}
"""For each kind, a function that replaces the input [channels, pixels] of one example, either by i.i.d. normal numbers
with the data's mean and variance (Zhang 2017, randX of Arpit 2017), or by its own pixels in a random order, which is
shared by all examples or drawn per example (both Zhang 2017)."""


def corrupt_inputs(inputs: Floats, draws: InputDraws, fraction: float, kind: str) -> Floats:
    """Return a copy, float32 [n, *shape], in which the inputs of the `rounded_share` lowest ranks are replaced.

    A pixel is a position: the channels of an image (channels, height, width) or a signal (channels, length) move
    together, and each number of a vector is one pixel. Returns `inputs` itself if nothing is corrupted. Takes about
    70 µs per example of 3072 numbers. Raises DataError for a fraction outside 0..1 or an unknown kind.
    """
    _check("input_noise", fraction, kind, INPUT_NOISE)
    chosen = np.flatnonzero(corrupted_mask(draws.rank, fraction))
    if not len(chosen):
        return inputs
    channels = 1 if inputs.ndim == 2 else inputs.shape[1]
    result = inputs.copy()
    flat = result.reshape(len(inputs), channels, prod(_pixels(inputs)))
    replace_input = INPUT_NOISE[kind]
    for position in chosen:
        flat[position] = replace_input(flat[position], draws, int(draws.example[position]))
    return result


def _pixels(inputs: Floats) -> tuple[int, ...]:
    return inputs.shape[1:] if inputs.ndim == 2 else inputs.shape[2:]


def _check(field: str, fraction: float, kind: str, kinds: dict[str, Callable[..., np.ndarray]]) -> None:
    if not 0 <= fraction <= 1:
        raise DataError(field, f"given {fraction}; valid is 0..1")
    if kind not in kinds:
        raise DataError(f"{field}_kind", f"given {kind!r}; valid are {', '.join(sorted(kinds))}")
