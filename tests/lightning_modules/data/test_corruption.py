"""Tests that noise is nested: properties over generated data, hand cases, and counts from independent arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lightning_modules.data.corruption import (
    INPUT_NOISE,
    LABEL_NOISE,
    LabelDraws,
    corrupt_inputs,
    corrupt_labels,
    corrupted_mask,
    input_draws,
    label_draws,
    rounded_share,
    subset_order,
)
from lightning_modules.errors import DataError
from lightning_modules.streams import numpy_generator

CLASSES = 7

seeds = st.integers(0, 2**32)
fractions = st.integers(0, 1000).map(lambda n: n / 1000)
label_arrays = st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=120).map(np.array)
# Keeping an order in proportion is hardest for a few classes of very different sizes.
skewed = st.lists(st.integers(1, 60), min_size=1, max_size=12).map(lambda n: np.repeat(np.arange(len(n)), n))


def draws_for(labels: np.ndarray, seed: int) -> LabelDraws:
    return label_draws(len(labels), CLASSES, numpy_generator(seed, "label_noise"))


class TestSubsetOrder:
    @given(skewed, seeds)
    def test_every_prefix_is_stratified_to_less_than_one_example(self, labels, seed):
        order = subset_order(labels, numpy_generator(seed, "subset"))
        counts = np.cumsum(labels[order][:, None] == np.unique(labels), axis=0)
        sizes = np.bincount(labels)
        prefix = np.arange(1, len(labels) + 1)[:, None]
        # Whole numbers make "strictly less than one" exact.
        assert (np.abs(counts * len(labels) - prefix * sizes) < len(labels)).all()

    @given(label_arrays, seeds)
    def test_is_an_order_of_all_examples_and_a_function_of_the_seed(self, labels, seed):
        order = subset_order(labels, numpy_generator(seed, "subset"))
        assert sorted(order) == list(range(len(labels)))
        assert np.array_equal(order, subset_order(labels, numpy_generator(seed, "subset")))

    def test_balanced_classes_take_turns(self):
        labels = np.arange(40) % 4
        order = subset_order(labels, numpy_generator(0, "subset"))
        assert (np.sort(labels[order].reshape(10, 4), axis=1) == np.arange(4)).all()

    def test_which_example_comes_first_is_uniform(self):
        # The first position belongs to the larger class, and may go to any of its examples.
        labels = np.array([0] * 6 + [1] * 3)
        first = [subset_order(labels, numpy_generator(seed, "subset"))[0] for seed in range(1800)]
        assert stats.chisquare(np.bincount(first, minlength=6)).pvalue > 1e-3

    def test_which_class_comes_first_is_random_where_they_are_alike(self):
        labels = np.arange(30) % 3
        first = [labels[subset_order(labels, numpy_generator(seed, "subset"))[0]] for seed in range(900)]
        assert stats.chisquare(np.bincount(first, minlength=3)).pvalue > 1e-3


class TestCorruptedCount:
    @pytest.mark.parametrize(
        ("fraction", "total", "count"),
        [(0.29, 100, 29), (0.57, 100, 57), (0.1, 30, 3), (0.7, 10, 7), (0.15, 4000, 600), (0.5, 3, 2), (0.4, 3, 1)],
    )
    def test_hand_cases(self, fraction, total, count):
        assert rounded_share(fraction, total) == count

    @given(st.integers(0, 10**4), st.integers(0, 10**6))
    def test_is_the_decimal_product_rounded_half_up(self, thousandths, total):
        exact = Fraction(thousandths, 10**4) * total
        assert rounded_share(thousandths / 10**4, total) == (exact + Fraction(1, 2)) // 1

    @given(st.floats(0, 1), st.integers(0, 1000))
    def test_any_float_gives_a_count_within_the_total(self, fraction, total):
        assert 0 <= rounded_share(fraction, total) <= total

    @given(st.lists(st.floats(0, 1), max_size=50, unique=True), fractions)
    def test_the_mask_takes_the_lowest_ranks(self, ranks, fraction):
        rank = np.array(ranks)
        mask = corrupted_mask(rank, fraction)
        assert mask.sum() == rounded_share(fraction, len(rank))
        assert rank[mask].max(initial=0) <= rank[~mask].min(initial=1)


class TestLabels:
    @given(label_arrays, seeds, fractions, fractions, st.sampled_from(sorted(LABEL_NOISE)))
    def test_nests_in_the_fraction_with_the_same_wrong_labels(self, labels, seed, one, other, kind):
        low, high = sorted((one, other))
        draws = draws_for(labels, seed)
        less = corrupt_labels(labels, draws, low, kind, CLASSES)
        more = corrupt_labels(labels, draws, high, kind, CLASSES)
        changed = less != labels
        assert np.array_equal(less[changed], more[changed])
        assert not (corrupted_mask(draws.rank, low) & ~corrupted_mask(draws.rank, high)).any()

    @given(label_arrays, seeds, fractions, st.sampled_from(["symmetric", "pair"]))
    def test_wrong_kinds_corrupt_exactly_the_count(self, labels, seed, fraction, kind):
        given_labels = corrupt_labels(labels, draws_for(labels, seed), fraction, kind, CLASSES)
        assert (given_labels != labels).sum() == rounded_share(fraction, len(labels))
        assert given_labels.min() >= 0
        assert given_labels.max() < CLASSES

    @given(label_arrays, seeds, st.data())
    def test_an_example_has_the_same_wrong_label_in_every_subset(self, labels, seed, data):
        order = subset_order(labels, numpy_generator(seed, "subset"))
        size = data.draw(st.integers(1, len(labels)))
        kind = data.draw(st.sampled_from(sorted(LABEL_NOISE)))
        draws = draws_for(labels, seed)
        everything = corrupt_labels(labels, draws, 1.0, kind, CLASSES)
        some = order[:size]
        assert np.array_equal(corrupt_labels(labels[some], draws.of(some), 1.0, kind, CLASSES), everything[some])

    @given(label_arrays, seeds, fractions)
    def test_kinds_corrupt_the_same_examples_and_leave_the_given_array_alone(self, labels, seed, fraction):
        before = labels.copy()
        draws = draws_for(labels, seed)
        wrong = [corrupt_labels(labels, draws, fraction, kind, CLASSES) != labels for kind in ("symmetric", "pair")]
        assert np.array_equal(*wrong)
        uniform = corrupt_labels(labels, draws, fraction, "uniform", CLASSES)
        assert not ((uniform != labels) & ~wrong[0]).any()
        assert np.array_equal(labels, before)

    def test_pair_is_the_next_class_and_wraps(self):
        labels = np.array([0, 1, 2])
        draws = label_draws(3, 3, numpy_generator(0, "label_noise"))
        assert corrupt_labels(labels, draws, 1.0, "pair", 3).tolist() == [1, 2, 0]

    def test_hand_case(self):
        draws = LabelDraws(np.array([0.4, 0.1, 0.9, 0.2]), np.array([3, 3, 3, 3]), np.array([1, 2, 3, 1]))
        labels = np.array([0, 1, 2, 3])
        assert corrupt_labels(labels, draws, 0.5, "symmetric", 4).tolist() == [0, 3, 2, 0]
        assert corrupt_labels(labels, draws, 0.75, "uniform", 4).tolist() == [3, 3, 2, 3]

    def test_marginals_are_uniform_over_the_classes_that_the_kind_means(self):
        labels = np.arange(70_000) % CLASSES
        draws = draws_for(labels, 5)
        pairs = np.zeros((2, CLASSES, CLASSES))
        for row, kind in enumerate(("uniform", "symmetric")):
            np.add.at(pairs[row], (labels, corrupt_labels(labels, draws, 1.0, kind, CLASSES)), 1)
        assert stats.chisquare(pairs[0].ravel()).pvalue > 1e-3
        assert np.diag(pairs[1]).sum() == 0
        assert stats.chisquare(pairs[1][~np.eye(CLASSES, dtype=bool)]).pvalue > 1e-3
        # Convention of Zhang et al.: a redrawn label is correct with probability 1 / classes.
        assert np.trace(pairs[0]) / len(labels) == pytest.approx(1 / CLASSES, abs=0.01)

    def test_the_rank_is_uniform_and_independent_of_the_class_drawn(self):
        draws = label_draws(20_000, 4, numpy_generator(1, "label_noise"))
        assert stats.kstest(draws.rank, "uniform").pvalue > 1e-3
        table = stats.contingency.crosstab(draws.rank < 0.3, draws.any_class).count
        assert stats.chi2_contingency(table).pvalue > 1e-3

    def test_another_seed_corrupts_other_examples(self):
        labels = np.arange(100) % CLASSES
        masks = [corrupted_mask(draws_for(labels, seed).rank, 0.5) for seed in (0, 1)]
        assert not np.array_equal(*masks)

    def test_a_single_class_has_no_wrong_one(self):
        labels = np.zeros(4, dtype=np.int64)
        draws = label_draws(4, 1, numpy_generator(0, "label_noise"))
        assert corrupt_labels(labels, draws, 1.0, "uniform", 1).tolist() == [0, 0, 0, 0]
        with pytest.raises(DataError, match=r"given 0\.5 of kind symmetric on data of 1 class"):
            corrupt_labels(labels, draws, 0.5, "symmetric", 1)

    @pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
    def test_a_fraction_outside_is_refused(self, fraction):
        labels = np.zeros(4, dtype=np.int64)
        with pytest.raises(DataError, match=r"valid is 0\.\.1") as caught:
            corrupt_labels(labels, draws_for(labels, 0), fraction, "uniform", CLASSES)
        assert caught.value.field == "label_noise"

    def test_an_unknown_kind_is_refused_with_the_valid_ones(self):
        labels = np.zeros(4, dtype=np.int64)
        with pytest.raises(DataError, match="'none'; valid are pair, symmetric, uniform") as caught:
            corrupt_labels(labels, draws_for(labels, 0), 0.5, "none", CLASSES)
        assert caught.value.field == "label_noise_kind"


shapes = st.sampled_from([(6,), (1, 5), (2, 4), (3, 2, 3)])
kinds = st.sampled_from(sorted(INPUT_NOISE))


def some_inputs(count: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(3).normal(2.0, 5.0, (count, *shape)).astype(np.float32)


class TestInputs:
    @given(shapes, kinds, seeds, st.integers(1, 20), fractions, fractions)
    def test_nests_in_the_fraction_with_the_same_noise(self, shape, kind, seed, count, one, other):
        low, high = sorted((one, other))
        inputs = some_inputs(count, shape)
        before = inputs.copy()
        draws = input_draws(inputs, numpy_generator(seed, "input_noise"))
        less, more, all_ = (corrupt_inputs(inputs, draws, q, kind) for q in (low, high, 1.0))
        for q, result in ((low, less), (high, more)):
            mask = corrupted_mask(draws.rank, q)
            assert mask.sum() == rounded_share(q, count)
            assert np.array_equal(result[mask], all_[mask])
            assert np.array_equal(result[~mask], inputs[~mask])
        assert np.array_equal(inputs, before)
        assert all_.dtype == np.float32

    @given(shapes, kinds, seeds, st.integers(1, 20), st.data())
    def test_an_example_has_the_same_noise_in_every_subset(self, shape, kind, seed, count, data):
        inputs = some_inputs(count, shape)
        draws = input_draws(inputs, numpy_generator(seed, "input_noise"))
        some = np.array(data.draw(st.lists(st.integers(0, count - 1), min_size=1, unique=True)))
        subset = corrupt_inputs(inputs[some], draws.of(some), 1.0, kind)
        assert np.array_equal(subset, corrupt_inputs(inputs, draws, 1.0, kind)[some])

    def test_gaussian_has_the_mean_and_variance_of_the_whole_data_and_no_memory_of_it(self):
        inputs = some_inputs(400, (2, 30))
        draws = input_draws(inputs, numpy_generator(0, "input_noise"))
        some = np.arange(200)
        noise = corrupt_inputs(inputs[some], draws.of(some), 1.0, "gaussian").astype(np.float64)
        standard = (noise - inputs.mean(dtype=np.float64)) / inputs.std(dtype=np.float64)
        assert stats.kstest(standard.ravel(), "norm").pvalue > 1e-3
        # No correlation is left between examples or between pixels.
        between = np.corrcoef(standard.reshape(200, -1))[np.triu_indices(200, 1)]
        assert abs(between.mean()) < 0.005
        assert between.std() == pytest.approx(1 / np.sqrt(60), rel=0.05)
        assert abs(np.corrcoef(standard.ravel(), inputs[some].ravel())[0, 1]) < 0.05

    def test_shuffled_pixels_is_one_permutation_that_keeps_channels_together(self):
        pixels = np.arange(6).reshape(2, 3)
        inputs = np.stack([[pixels + 100 * c + 1000 * n for c in range(3)] for n in range(5)]).astype(np.float32)
        draws = input_draws(inputs, numpy_generator(2, "input_noise"))
        result = corrupt_inputs(inputs, draws, 1.0, "shuffled_pixels")
        orders = result.reshape(5, 3, 6) % 100
        assert (orders == orders[0, 0]).all()
        assert sorted(orders[0, 0]) == [0, 1, 2, 3, 4, 5]
        assert not np.array_equal(orders[0, 0], np.arange(6))
        assert np.array_equal(result // 100, inputs // 100)

    def test_random_pixels_is_a_permutation_of_each_example_that_keeps_channels_together(self):
        inputs = np.broadcast_to(np.arange(20) + np.array([[0], [100]]), (50, 2, 20)).astype(np.float32)
        draws = input_draws(inputs, numpy_generator(2, "input_noise"))
        orders = corrupt_inputs(inputs, draws, 1.0, "random_pixels") % 100
        assert np.array_equal(orders[:, 0], orders[:, 1])
        assert (np.sort(orders, axis=-1) == np.arange(20)).all()
        assert len(np.unique(orders[:, 0], axis=0)) == 50

    def test_numbers_of_a_vector_are_pixels(self):
        inputs = np.tile(np.arange(30, dtype=np.float32), (4, 1))
        draws = input_draws(inputs, numpy_generator(0, "input_noise"))
        result = corrupt_inputs(inputs, draws, 1.0, "shuffled_pixels")
        assert (np.sort(result, axis=1) == np.arange(30)).all()
        assert not np.array_equal(result, inputs)

    def test_nothing_corrupted_is_the_input_itself(self):
        inputs = some_inputs(4, (3,))
        draws = input_draws(inputs, numpy_generator(0, "input_noise"))
        assert corrupt_inputs(inputs, draws, 0.1, "gaussian") is inputs

    def test_a_function_of_the_seed(self):
        inputs = some_inputs(10, (4,))
        first, again, other = (
            corrupt_inputs(inputs, input_draws(inputs, numpy_generator(seed, "input_noise")), 1.0, "gaussian")
            for seed in (0, 0, 1)
        )
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_wrong_settings_are_refused(self):
        inputs = some_inputs(4, (3,))
        draws = input_draws(inputs, numpy_generator(0, "input_noise"))
        with pytest.raises(DataError, match=r"given 1\.5; valid is 0\.\.1") as caught:
            corrupt_inputs(inputs, draws, 1.5, "gaussian")
        assert caught.value.field == "input_noise"
        with pytest.raises(DataError, match="'blur'; valid are gaussian, random_pixels, shuffled_pixels") as caught:
            corrupt_inputs(inputs, draws, 0.5, "blur")
        assert caught.value.field == "input_noise_kind"
