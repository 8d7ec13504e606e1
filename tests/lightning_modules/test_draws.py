"""Tests of the draws. All statistics are of fixed seeds, and their bounds are at 5 standard errors or more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from lightning_modules.draws import LEVELS, Elements, half_normal, normal, uniform, update_keys
from lightning_modules.streams import stream_seed

CPU = torch.device("cpu")
UPDATES, ELEMENTS = 1000, 512


def words(seeds: Sequence[int], first_updates: Sequence[int], updates: int, **sizes: int) -> torch.Tensor:
    """Return the words of the updates, int32 [updates, K, n]."""
    elements = Elements(sizes, CPU)
    drawn = [
        elements.draw(keys, torch.empty(len(seeds), len(elements), dtype=torch.int32))
        for keys in update_keys(seeds, first_updates, updates)
    ]
    return torch.stack(drawn)


def levels(seed: int, stream: str = "dropout", block: str = "a", updates: int = UPDATES) -> NDArray[np.int64]:
    """Return the draws [updates, elements] of a member, from 0 to 65,535."""
    drawn = words([stream_seed(seed, stream)], [0], updates, **{block: ELEMENTS})[:, 0].numpy()
    return (drawn.astype(np.int64) >> 16) + LEVELS // 2


def dependence(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Return by how many standard deviations the chi-square statistic of 16 x 16 classes exceeds independence."""
    counts = np.bincount(((first >> 12) * 16 + (second >> 12)).ravel(), minlength=256)
    expected = first.size / 256
    return float((((counts - expected) ** 2 / expected).sum() - 255) / np.sqrt(2 * 255))


def largest_correlation(draws: NDArray[np.int64]) -> float:
    """Return the largest correlation between two columns of [n, m], in standard errors."""
    halves = np.where(draws < draws.max() / 2, -1.0, 1.0)
    correlations = halves.T @ halves / np.sqrt(len(halves))
    np.fill_diagonal(correlations, 0)
    return float(np.abs(correlations).max())


def test_keys_are_the_numbers_of_splitmix64():
    low, high = update_keys([0], [0], 3)[:, 0].numpy().view(np.uint32).T.tolist()
    assert low == [0x7B1DCDAF, 0xA1B965F4, 0x8009454F]
    assert high == [0xE220A839, 0x6E789E6A | 1, 0x06C45D18 | 1]


def test_a_member_that_resumes_has_the_keys_of_its_updates():
    seeds = [stream_seed(seed, "dropout") for seed in range(3)]
    whole = update_keys(seeds, [0, 0, 0], 12)
    resumed = update_keys(seeds, [4, 0, 7], 5)
    assert torch.equal(resumed, torch.stack([whole[4:9, 0], whole[:5, 1], whole[7:, 2]], dim=1))


@given(st.integers(1, 6), st.integers(1, 70), st.integers(0, 2**63 - 1))
def test_a_draw_is_the_documented_hash_in_every_position(members, size, seed):
    """The vectors of a CPU and the rest of a row overflow alike."""
    keys = update_keys([seed] * members, range(members), 1)[0]
    elements = Elements({"a": size}, CPU)
    drawn = elements.draw(keys, torch.empty(members, size, dtype=torch.int32)).numpy().view(np.uint32)
    fixed = update_keys([stream_seed(0, "elements/a")], [0], size)[:, 0].numpy().view(np.uint32)
    offset, factor = fixed[:, 0] & np.uint32(0xFFFFFFFE), fixed[:, 1]
    addend, multiplier = keys.numpy().view(np.uint32).T[:, :, None]
    odd = offset + factor * multiplier
    assert np.array_equal(drawn, odd * odd + addend)


def test_an_element_has_the_same_draw_in_blocks_of_any_size_and_company():
    alone = words([1], [0], 1, a=9)
    assert torch.equal(words([1], [0], 1, b=4, a=20, c=3)[..., 4:13], alone)
    assert torch.equal(words([5, 1], [2, 0], 1, a=11)[:, 1:, :9], alone)


def test_draws_need_no_values_on_the_host():
    elements = Elements({"a": 6}, torch.device("meta"))
    drawn = elements.draw(
        torch.empty(2, 2, dtype=torch.int32, device="meta"), torch.empty(2, 6, dtype=torch.int32, device="meta")
    )
    assert uniform(drawn).shape == (2, 6)
    assert normal(drawn, half_normal().to("meta")).shape == (2, 3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_draws_are_uniform(seed):
    counts = np.bincount(levels(seed).ravel() >> 6, minlength=1024)
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5, 0.9])
def test_dropped_shares_vary_as_independent_draws_do(rate):
    """Over the elements of an update, and over the updates of an element."""
    dropped = (levels(3) < rate * LEVELS) - rate
    for axis, count in ((0, UPDATES), (1, ELEMENTS)):
        scaled = dropped.sum(axis) / np.sqrt(count * rate * (1 - rate))
        assert abs(scaled.mean()) < 5 / np.sqrt(scaled.size)
        assert abs(scaled.var() - 1) < 5 * np.sqrt(2 / scaled.size)


def test_elements_updates_members_streams_and_blocks_are_independent():
    draws = levels(0)
    for lag in (1, 2, 3, 16, 31, 128):
        assert abs(dependence(draws[:, :-lag], draws[:, lag:])) < 5
        assert abs(dependence(draws[:-lag], draws[lag:])) < 5
    for other in (levels(1), levels(2**40), levels(0, "augmentation"), levels(0, block="b")):
        assert abs(dependence(draws, other)) < 5
        assert abs(dependence(draws[:-1], other[1:])) < 5


def test_no_two_elements_and_no_two_updates_agree_more_often_than_by_chance():
    # Of 130,816 independent pairs, the largest correlation exceeds 6 standard errors with a probability of 0.0003.
    draws = levels(0)
    assert largest_correlation(draws) < 6
    assert largest_correlation(draws[:ELEMENTS].T) < 6
    members = np.stack([levels(seed, updates=1)[0] for seed in range(300)])
    assert largest_correlation(members.T) < 6


def test_the_lower_bits_would_fail_these_checks():
    drawn = words([stream_seed(0, "dropout")], [0], UPDATES, a=ELEMENTS)[:, 0].numpy().astype(np.int64)
    assert largest_correlation(drawn & 0xF) > 20
    linear = np.arange(ELEMENTS) * 40503 + np.arange(UPDATES)[:, None] * 977 & 0xFFFF
    assert abs(dependence(linear[:, :-1], linear[:, 1:])) > 20


def test_uniform_numbers_lie_evenly_between_0_and_1():
    assert uniform(torch.tensor([-(2**31), 0, 2**31 - 1], dtype=torch.int32)).tolist() == [0, 0.5, 1 - 2.0**-32]
    numbers = uniform(words([1], [0], 200, a=500))
    assert stats.kstest(numbers.ravel().numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_numbers_are_normal_and_have_the_same_bits_in_both_precisions(dtype):
    quantiles = half_normal()
    assert quantiles.sum() == 0
    assert (2 * quantiles.square().mean()).item() == pytest.approx(1, abs=1e-7)
    drawn = words([1, 2], [0, 0], 100, a=1001, b=1001)
    numbers = torch.stack([normal(each.clone(), quantiles.to(dtype)) for each in drawn])
    assert torch.equal(numbers.double(), torch.stack([normal(each.clone(), quantiles) for each in drawn]))
    assert torch.equal(numbers[:, 1:], torch.stack([normal(each[1:].clone(), quantiles.to(dtype)) for each in drawn]))
    assert stats.kstest(numbers.double().ravel().numpy(), "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(numbers.double().ravel().numpy())) < 0.05  # the standard error is 0.011
    both = numbers.double().permute(1, 0, 2).reshape(2, -1).numpy()
    assert abs(np.corrcoef(both)[0, 1]) < 5 / np.sqrt(both.shape[1])
    assert abs(np.corrcoef(both[0, :-1], both[0, 1:])[0, 1]) < 5 / np.sqrt(both.shape[1])
