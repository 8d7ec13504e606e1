"""Tests of packing: no plan is slower than single networks or than a fixed rule, under the same estimates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.planning.packing import (
    SMALLEST_CAP,
    STACK_BYTES,
    TOLERANCE,
    Cut,
    Packing,
    best_pieces,
    cuts,
    end_of,
    makespan,
)


@dataclass(frozen=True)
class Shape:
    """Trainings of one shape. A cohort of K takes `alone + K * each` seconds, and more above `cache` members."""

    trainings: int
    alone: float
    each: float
    cache: int = 10**6
    limit: int = 64

    def seconds(self, members: int) -> float:
        return self.alone + self.each * members + 2.0 * self.each * max(0, members - self.cache)

    def cuts(self, workers: int) -> list[Cut]:
        return cuts(self.trainings, self.limit, workers, self.seconds)

    def cohorts(self, pieces: int) -> list[float]:
        small, larger = divmod(self.trainings, pieces)
        return [self.seconds(small + (at < larger)) for at in range(pieces)]


shapes = st.builds(
    Shape,
    trainings=st.integers(1, 150),
    alone=st.sampled_from([0.0, 0.1, 1.0, 10.0]),
    each=st.sampled_from([0.01, 0.3, 1.0, 7.0]),
    cache=st.integers(1, 100),
    limit=st.integers(1, 100),
)
grids = st.lists(shapes, min_size=1, max_size=8)
workers = st.integers(1, 9)


def packed(grid: list[Shape], workers: int) -> list[int]:
    return best_pieces([shape.cuts(workers) for shape in grid], workers)


def last_end(grid: list[Shape], pieces: list[int], workers: int) -> float:
    cohorts = [length for shape, number in zip(grid, pieces, strict=True) for length in shape.cohorts(number)]
    return end_of(sorted(cohorts, reverse=True), workers)


def fixed_rule(grid: list[Shape], workers: int) -> list[int]:
    """The numbers of pieces by a rule without estimates of K: at least 8 members, at most half of a worker's share."""
    share = sum(shape.trainings * shape.each for shape in grid) / workers
    return [
        max(
            math.ceil(shape.trainings / min(64, shape.limit)),
            min(
                math.ceil(2 * shape.trainings * shape.each / share) if workers > 1 else 1,
                shape.trainings // 8,
            ),
        )
        for shape in grid
    ]


@given(grids, workers)
def test_no_plan_is_slower_than_single_networks(grid, workers):
    chosen = last_end(grid, packed(grid, workers), workers)
    assert chosen <= last_end(grid, [shape.trainings for shape in grid], workers) * (1 + 1e-9)


@given(grids, workers)
def test_no_plan_is_slower_than_a_rule_that_knows_no_times(grid, workers):
    chosen = last_end(grid, packed(grid, workers), workers)
    assert chosen <= last_end(grid, fixed_rule(grid, workers), workers) * (1 + TOLERANCE) ** 2


@given(grids, workers)
def test_every_training_is_packed_and_no_stack_exceeds_its_limit(grid, workers):
    for shape, pieces in zip(grid, packed(grid, workers), strict=True):
        assert 1 <= pieces <= shape.trainings
        assert math.ceil(shape.trainings / pieces) <= shape.limit


@given(grids, workers)
def test_the_choice_is_a_function_of_the_stacks(grid, workers):
    assert packed(grid, workers) == packed(grid, workers)


@given(shapes, workers)
def test_cuts_go_from_the_fewest_pieces_to_single_trainings(shape, workers):
    pieces = [cut.pieces for cut in shape.cuts(workers)]
    assert pieces[0] == math.ceil(shape.trainings / shape.limit)
    assert pieces[-1] == shape.trainings
    assert all(fewer < more for fewer, more in pairwise(pieces))


@given(shapes, workers)
def test_a_cut_takes_as_long_as_its_cohorts(shape, workers):
    for cut in shape.cuts(workers):
        cohorts = shape.cohorts(cut.pieces)
        assert cut.total == pytest.approx(sum(cohorts))
        assert cut.longest == max(cohorts)
        assert makespan([cut], workers) == pytest.approx(last_end([shape], [cut.pieces], workers))


@pytest.mark.parametrize(
    ("shape", "workers", "pieces"),
    [
        pytest.param(Shape(60, 1.0, 0.01), 1, 1, id="dispatch is shared by all"),
        pytest.param(Shape(60, 0.0, 1.0), 1, 1, id="as fast in any size: the fewest cohorts"),
        pytest.param(Shape(60, 1.0, 0.5, cache=12), 1, 5, id="as many as the cache holds"),
        pytest.param(Shape(12, 0.01, 1.0, cache=1), 1, 12, id="wide networks train alone"),
        pytest.param(Shape(60, 1.0, 1.0), 2, 2, id="one for each worker"),
        pytest.param(Shape(60, 10.0, 0.001), 2, 1, id="not cut where that gains nothing"),
        pytest.param(Shape(3, 0.1, 1.0), 2, 2, id="as even as it gets"),
    ],
)
def test_by_hand(shape, workers, pieces):
    assert packed([shape], workers) == [pieces]


def test_only_what_would_end_last_is_cut_finer():
    """Two workers train four of five equal stacks, two each, and divide the fifth between them."""
    assert sorted(packed([Shape(20, 1.0, 1.0)] * 5, 2)) == [1, 1, 1, 1, 2]


def test_limits():
    assert Packing(max_cohort=3).limit(1, 1) == 3
    assert Packing(bytes_per_worker=100).limit(30, 1) == 3
    assert Packing(bytes_per_worker=10).limit(30, 1) == 1, "a training that exceeds the memory is tried alone"
    assert Packing().limit(1, STACK_BYTES // 20) == 20
    assert Packing().limit(1, STACK_BYTES) == SMALLEST_CAP
    assert Packing(stack_bytes=None).limit(2**20, STACK_BYTES) == 2048, "on a GPU, its memory is the limit"


def test_nothing_to_pack():
    assert best_pieces([], 2) == []
