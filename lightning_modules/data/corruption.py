"""Noise that nests: cells of a grid differ by the amount of noise, not by luck.

Every draw is made once for the whole training set, example by example, and neither the fraction nor the subset enters
it. So
- the examples corrupted at fraction 0.2 are among those corrupted at 0.4, with the same wrong labels or inputs;
- an example has the same wrong label and the same wrong input in every subset that it is in;
- a subset of n examples is a prefix of the subset of 2 n.
Exactly how many are corrupted is `rounded_share` of the subset at hand. (Fixing a threshold on the draw instead
would make the corrupted of n a subset of the corrupted of 2 n as well, but leave their number to chance.)

Use: `order = subset_order(labels, g)[:n]`, then `corrupt_labels(labels[order], draws.of(order), ...)`.
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
    """An order of all N examples whose every prefix is stratified: positions, int64 [N].

    Among the first n, class c (N_c examples) has strictly less than one example more or less than n * N_c / N, for
    every n and c. Which examples of a class come first, and which classes where several could, is random.

    Each class's examples are spread evenly: the j-th may come no earlier and no later than keeps the bound, and the
    one due soonest goes next. Unit jobs scheduled so meet every deadline if any order does, and one does (Tijdeman
    1980, the chairman assignment problem). O(N log classes): 0.1 s for 50,000.
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
    """True for the `rounded_share` examples of lowest rank: bool [n]."""
    mask = np.zeros(len(rank), dtype=np.bool_)
    mask[np.argsort(rank, kind="stable")[: rounded_share(fraction, len(rank))]] = True
    return mask


@dataclass(frozen=True, eq=False)
class LabelDraws:
    """What chance says of each example's label, before any fraction or kind is chosen. All arrays are [n]."""

    rank: NDArray[np.float64]
    """Uniform in [0, 1): the lowest are corrupted first."""
    any_class: Ints
    """Uniform in 0..classes-1."""
    offset: Ints
    """Uniform in 1..classes-1: what takes the true class to a wrong one, modulo classes. (0 with a single class.)"""

    def of(self, positions: Ints) -> LabelDraws:
        """The draws of some of the examples."""
        return LabelDraws(self.rank[positions], self.any_class[positions], self.offset[positions])


def label_draws(total: int, classes: int, generator: Generator) -> LabelDraws:
    """The draws for a whole training set of `total` examples."""
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
"""kind -> the labels given in place of the true ones: any class, the true one included (Zhang 2017, MNIST-1D: wrong
with probability q (C-1)/C); any wrong class (Nakkiran 2019: wrong with probability q); the next class."""


def corrupt_labels(labels: Ints, draws: LabelDraws, fraction: float, kind: str, classes: int) -> Ints:
    """A new array in which the `rounded_share` examples of lowest rank have another label. int64 [n].

    Raises DataError for a fraction outside 0..1, an unknown kind, or a wrong class asked for where there is one class.
    """
    _check("label_noise", fraction, kind, LABEL_NOISE)
    if fraction > 0 and kind != "uniform" and classes < 2:
        raise DataError(
            "label_noise", f"given {fraction} of kind {kind} on data of {classes} class; it takes 2 or more"
        )
    return np.where(corrupted_mask(draws.rank, fraction), LABEL_NOISE[kind](labels, draws, classes), labels)


class Moments:
    """Mean and standard deviation of all numbers of an array, summed in float64 when first asked for."""

    def __init__(self, inputs: Floats) -> None:
        self._inputs = inputs

    @cached_property
    def mean(self) -> float:
        return float(self._inputs.mean(dtype=np.float64))

    @cached_property
    def sd(self) -> float:
        # Example by example: a float64 copy of a large data set would be twice its size.
        squares = sum(np.square(np.subtract(x, self.mean, dtype=np.float64)).sum() for x in self._inputs)
        return sqrt(float(squares) / self._inputs.size)


@dataclass(frozen=True, eq=False)
class InputDraws:
    """What chance says of each example's input, before any fraction or kind is chosen.

    The noise itself is not stored: an example's is generated when it is needed, from a counter-based generator whose
    key is the member's and whose counter is the example, so that it depends on nobody else's.
    """

    rank: NDArray[np.float64]
    """[n], uniform in [0, 1): the lowest are corrupted first."""
    example: Ints
    """[n], the example's position in the whole training set."""
    key: int
    """128 bits, one a member."""
    permutation: Ints
    """[pixels], the one permutation of `shuffled_pixels`."""
    moments: Moments
    """Of the whole training set's inputs."""

    def of(self, positions: Ints) -> InputDraws:
        """The draws of some of the examples."""
        return replace(self, rank=self.rank[positions], example=self.example[positions])

    def generator(self, example: int) -> Generator:
        return Generator(Philox(key=self.key, counter=example << 128))


def input_draws(inputs: Floats, generator: Generator) -> InputDraws:
    """The draws for a whole training set [N, *shape]: pass all of it, whichever subset is trained on."""
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
"""kind -> one example's input [channels, pixels] replaced: i.i.d. normal with the data's mean and variance (Zhang 2017,
Arpit 2017's randX), or its pixels permuted, alike for all or each by its own permutation (Zhang 2017)."""


def corrupt_inputs(inputs: Floats, draws: InputDraws, fraction: float, kind: str) -> Floats:
    """A new array in which the `rounded_share` examples of lowest rank are replaced; float32 [n, *shape].

    A pixel is a position: of an image (channels, height, width) or a signal (channels, length) the channels stay
    together; of a vector each number is one. Where nothing is corrupted the result is `inputs` itself. About 70 µs an
    example of 3072 numbers. Raises DataError for a fraction outside 0..1 or an unknown kind.
    """
    _check("input_noise", fraction, kind, INPUT_NOISE)
    chosen = np.flatnonzero(corrupted_mask(draws.rank, fraction))
    if not len(chosen):
        return inputs
    channels = 1 if inputs.ndim == 2 else inputs.shape[1]
    result = inputs.copy()
    flat = result.reshape(len(inputs), channels, prod(_pixels(inputs)))
    replaced = INPUT_NOISE[kind]
    for position in chosen:
        flat[position] = replaced(flat[position], draws, int(draws.example[position]))
    return result


def _pixels(inputs: Floats) -> tuple[int, ...]:
    return inputs.shape[1:] if inputs.ndim == 2 else inputs.shape[2:]


def _check(field: str, fraction: float, kind: str, kinds: dict[str, Callable[..., np.ndarray]]) -> None:
    if not 0 <= fraction <= 1:
        raise DataError(field, f"given {fraction}; valid is 0..1")
    if kind not in kinds:
        raise DataError(f"{field}_kind", f"given {kind!r}; valid are {', '.join(sorted(kinds))}")
