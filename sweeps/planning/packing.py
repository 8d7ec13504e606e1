"""Packing: how many trainings share a stack, so that all workers together are done as early as possible.

For every shape there is a number of members at which a member is cheapest: dispatch is shared by more members, until
their tensors exceed the cache. Stacks of that size are cut finer only where a worker would otherwise wait for another.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from operator import itemgetter

from sweeps.planning.speed import Speed

STACK_BYTES = 32 * 2**20
"""The largest stack on a CPU: parameters, gradients, optimizer state and activations. Larger ones leave its cache."""

SMALLEST_CAP = 8
"""STACK_BYTES never caps a stack below this number of members."""

TOLERANCE = 0.02
"""Stacks may cost this share more than the cheapest ones if there are fewer of them, or end this share later."""

TRIED = 48
"""The number of lengths of the longest cohort that are tried."""

REFINED, NEXT = 64, 2
"""With at most REFINED stacks, the NEXT finer cuts of every single stack are tried too."""


@dataclass(frozen=True)
class Packing:
    """The limits on stacks, and the device that they train on.

    Attributes:
        workers: the number of cohorts that train at once.
        max_cohort: the largest number of members, if the user limits it.
        bytes_per_worker: the memory of a worker.
        stack_bytes: the largest size of a stack in the sense of `Work.stack_bytes`, with at least SMALLEST_CAP members.
        speed: estimates how long a stack takes.
        startup_seconds: the time until the workers train.
        cohort_seconds: the time between two cohorts of a worker.
    """

    workers: int = 1
    max_cohort: int | None = None
    bytes_per_worker: int = 2 * 2**30
    stack_bytes: int | None = STACK_BYTES
    speed: Speed = field(default_factory=Speed)
    startup_seconds: float = 0.0
    cohort_seconds: float = 0.0

    def limit(self, bytes_per_member: int, stack_bytes_per_member: int) -> int:
        """Return the largest number of members in a stack."""
        limits = [self.bytes_per_worker // max(1, bytes_per_member)]
        if self.max_cohort is not None:
            limits.append(self.max_cohort)
        if self.stack_bytes is not None:
            limits.append(max(SMALLEST_CAP, self.stack_bytes // max(1, stack_bytes_per_member)))
        return max(1, min(limits))


DEFAULT_PACKING = Packing()


@dataclass(frozen=True)
class Cut:
    """A way to cut a stack of `trainings` into cohorts of nearly equal sizes.

    Attributes:
        pieces: the number of cohorts.
        lengths: (seconds, number of cohorts) of the cohorts of each size.
    """

    pieces: int
    lengths: tuple[tuple[float, int], ...]

    @property
    def longest(self) -> float:
        return self.lengths[0][0]

    @property
    def total(self) -> float:
        return sum(seconds * count for seconds, count in self.lengths)


def cuts(trainings: int, limit: int, workers: int, seconds: Callable[[int], float]) -> list[Cut]:
    """Return the ways to cut a stack that are worth considering, from the fewest to the most pieces.

    Args:
        limit: the largest number of members of a piece.
        seconds: maps a number of members to the time of a cohort.
    """
    fewest = math.ceil(trainings / limit)
    sizes = {size for power in range(trainings.bit_length()) for size in (2**power, 3 * 2**power)}
    pieces = {fewest, *(math.ceil(trainings / size) for size in sizes), *range(1, 1 + min(64, trainings))}
    pieces |= {min(trainings, workers * math.ceil(number / workers)) for number in pieces}  # one more round for none
    result = []
    for number in sorted(number for number in pieces if fewest <= number <= trainings):
        small, larger = divmod(trainings, number)
        lengths = [(seconds(small + 1), larger)] if larger else []
        result.append(Cut(number, (*lengths, (seconds(small), number - larger))))
    return result


def best_pieces(stacks: Sequence[Sequence[Cut]], workers: int) -> list[int]:
    """Choose a cut of each stack, and return their numbers of pieces.

    The choice is one whose last cohort ends first, of those that are tried: the cheapest cuts, cuts into cohorts of at
    most a certain length, both with single stacks cut finer, and every training by itself. No plan is therefore slower
    than single networks are, under the same estimates.
    """
    if not stacks:
        return []
    cheapest = [_fewest(stack) for stack in stacks]
    if workers > 1:
        cheapest = _refined(cheapest, stacks, workers)
    best, end = cheapest, makespan(cheapest, workers)
    lengths = sorted({cut.longest for stack in stacks for cut in stack}, reverse=True) if workers > 1 else []
    others = (
        [_within(stack, length) for stack in stacks] for length in lengths[:: math.ceil(len(lengths) / TRIED) or 1]
    )
    for other in others:
        best, end = _earlier(best, end, other, workers, TOLERANCE)
    if best is not cheapest:
        best = _refined(best, stacks, workers)
        end = makespan(best, workers)
    best, _ = _earlier(best, end, [stack[-1] for stack in stacks], workers, 1e-9)
    return [cut.pieces for cut in best]


def _earlier(best: list[Cut], end: float, other: list[Cut], workers: int, tolerance: float) -> tuple[list[Cut], float]:
    """Return the choice that ends first and its end, which for the other one has to be this share earlier."""
    bound = end / (1 + tolerance)
    if sum(cut.total for cut in other) / workers < bound and (others_end := makespan(other, workers)) < bound:
        return other, others_end
    return best, end


def _refined(best: list[Cut], stacks: Sequence[Sequence[Cut]], workers: int) -> list[Cut]:
    """Cut single stacks finer as long as the last cohort then ends earlier."""
    end = makespan(best, workers)
    while len(stacks) <= REFINED:
        trials = (
            [*best[:at], cut, *best[at + 1 :]]
            for at, stack in enumerate(stacks)
            for cut in [cut for cut in stack if cut.pieces > best[at].pieces][:NEXT]
        )
        trial_end, trial = min(
            ((makespan(trial, workers), trial) for trial in trials), key=itemgetter(0), default=(end, best)
        )
        if trial_end * (1 + TOLERANCE) >= end:
            break
        best, end = trial, trial_end
    return best


def _fewest(stack: Sequence[Cut]) -> Cut:
    """Return the cut into the fewest pieces among those that cost at most TOLERANCE more than the cheapest."""
    bound = min(cut.total for cut in stack) * (1 + TOLERANCE)
    return min((cut for cut in stack if cut.total <= bound), key=lambda cut: cut.pieces)


def _within(stack: Sequence[Cut], seconds: float) -> Cut:
    """Return the cheapest cut into cohorts of at most this length, or else the cut whose longest cohort is shortest."""
    short = [cut for cut in stack if cut.longest <= seconds]
    return _fewest(short) if short else min(stack, key=lambda cut: (cut.longest, cut.total))


def makespan(cuts: Iterable[Cut], workers: int) -> float:
    """Return when the last cohort ends, if every free worker takes the longest cohort that is left."""
    lengths = sorted((length for cut in cuts for length in cut.lengths), reverse=True)
    return end_of(chain.from_iterable(repeat(seconds, count) for seconds, count in lengths), workers)


def end_of(seconds: Iterable[float], workers: int) -> float:
    """Return when the last of these cohorts ends, if every free worker takes the next one."""
    free_at = [0.0] * workers
    for length in seconds:
        heapq.heapreplace(free_at, free_at[0] + length)
    return max(free_at)
