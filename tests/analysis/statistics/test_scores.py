from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.statistics.scores import (
    c_score_proxy,
    c_scores,
    correctness_matrix,
    gini,
    influence,
    memorization_scores,
    overdispersion,
    score_error_bound,
)

# --- Gini


@given(st.lists(st.floats(0, 1e6).filter(lambda v: v == 0 or v > 1e-6), min_size=1, max_size=30))
def test_gini_is_the_double_sum(values: list[float]) -> None:
    g = np.array(values)
    result = gini(g)
    if g.sum() == 0:
        assert np.isnan(result)
        return
    pairs = sum(abs(a - b) for a in g for b in g)
    assert result == pytest.approx(pairs / (2 * g.size**2 * g.mean()), abs=1e-12)
    assert 0 <= result + 1e-12 <= 1 - 1 / g.size + 2e-12


def test_gini_by_hand() -> None:
    assert gini([3.0, 3.0, 3.0]) == 0
    assert gini([0, 0, 0, 5]) == 0.75
    assert gini([1, 3]) == pytest.approx(0.25)
    assert gini([1, np.nan, 3]) == pytest.approx(0.25)
    assert gini([1e-300, 3e-300]) == pytest.approx(0.25)
    assert np.isnan(gini([]))
    with pytest.raises(AnalysisError, match="given -1"):
        gini([2, -1])


# --- overdispersion


def test_overdispersion_of_coin_tosses_is_one_and_its_interval_says_so() -> None:
    rng = np.random.default_rng(3)
    result = overdispersion(rng.random((100, 3000)) < 0.4)
    assert result.value == pytest.approx(1, abs=0.1)
    assert result.low < 1 < result.high
    assert result.high - result.low < 0.2
    assert (result.runs, result.examples) == (100, 3000)


def test_overdispersion_by_hand() -> None:
    wrong = np.array([[0, 1, 1, 0], [0, 1, 0, 0]])
    rates = [0.0, 1.0, 0.5, 0.0]
    p = sum(rates) / 4
    variance = sum((m - p) ** 2 for m in rates) / 3
    assert overdispersion(wrong).value == pytest.approx(variance / (p * (1 - p) / 2))
    assert overdispersion(wrong).p == p
    # With four examples, a resample may have no mistake, and then there is no interval.
    assert np.isnan(overdispersion(wrong).low)


def test_examples_always_easy_or_always_hard_overdisperse_by_the_number_of_runs() -> None:
    wrong = np.tile([0, 1], (50, 100))
    result = overdispersion(wrong)
    assert result.value == pytest.approx(50, rel=0.01)
    assert result.low <= result.value <= result.high


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # Difficulty p_i ~ Beta(2, 2): Var(m) = p(1-p)/R (1 + (R - 1) rho) with rho = 1/5, so the truth is 1 + 0.2 (R - 1).
    rng = np.random.default_rng(0)
    truth, covered = 1 + 0.2 * 9, 0
    for _ in range(60):
        result = overdispersion(rng.random((10, 300)) < rng.beta(2, 2, 300))
        covered += result.low <= truth <= result.high
    assert covered >= 52


def test_overdispersion_is_undefined_without_variation_and_reproducible() -> None:
    assert np.isnan(overdispersion(np.zeros((5, 4))).value)
    assert np.isnan(overdispersion(np.ones((5, 4))).high)
    wrong = np.random.default_rng(1).random((5, 40)) < 0.5
    assert overdispersion(wrong) == overdispersion(wrong)
    with pytest.raises(AnalysisError, match=r"given the shape \(3,\)"):
        overdispersion([0, 1, 1])
    with pytest.raises(AnalysisError, match=r"given 0.5; valid is 0 or 1"):
        overdispersion([[0.5, 1], [1, 0]])
    with pytest.raises(AnalysisError, match=r"given nan; valid is 0 or 1"):
        overdispersion([[np.nan, 1], [1, 0]])


# --- memorization and influence on a model that can be computed exactly

RNG = np.random.default_rng(5)
N, M, SEEN = 10, 6, 7
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 1])
# The last two examples lie in the other class's cloud, so only a network that saw them can predict them correctly.
INPUTS = np.concatenate([np.where(LABELS[:8], 0.8, -0.8), [0.7, -0.7]])[:, None] + RNG.normal(0, 0.8, (N, 2))
TEST_LABELS = np.array([0, 1, 0, 1, 0, 1])
TEST_INPUTS = np.where(TEST_LABELS, 1.2, -1.2)[:, None] + RNG.normal(0, 1.0, (M, 2))


def nearest_neighbour(subset: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    distances = ((inputs[:, None] - INPUTS[subset]) ** 2).sum(-1)
    return LABELS[subset[distances.argmin(1)]]


def nearest_centroid(subset: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    centroids = np.stack(
        [INPUTS[subset[LABELS[subset] == c]].mean(0) if (LABELS[subset] == c).any() else [1e9, 1e9] for c in (0, 1)]
    )
    return ((inputs[:, None] - centroids) ** 2).sum(-1).argmin(1)


def trained(subsets: list[np.ndarray], model: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    included = np.zeros((len(subsets), N), dtype=bool)
    for row, subset in enumerate(subsets):
        included[row, subset] = True
    train = np.stack([model(subset, INPUTS) == LABELS for subset in subsets])  # type: ignore[operator]
    test = np.stack([model(subset, TEST_INPUTS) == TEST_LABELS for subset in subsets])  # type: ignore[operator]
    return included, train, test


EVERY = [np.array(subset) for subset in combinations(range(N), SEEN)]


@pytest.mark.parametrize("model", [nearest_neighbour, nearest_centroid])
def test_scores_from_random_subsets_are_near_the_exact_ones_within_the_bound(model: object) -> None:
    included, train, test = trained(EVERY, model)
    exact = np.array([train[included[:, i], i].mean() - train[~included[:, i], i].mean() for i in range(N)])
    exact_influence = np.array(
        [[test[included[:, i], j].mean() - test[~included[:, i], j].mean() for j in range(M)] for i in range(N)]
    )
    assert exact.max() > 0.2
    errors, errors_influence, runs = [], [], 200
    for seed in range(20):
        drawn = np.random.default_rng(seed).integers(0, len(EVERY), runs)
        errors.append(memorization_scores(train[drawn], included[drawn]) - exact)
        errors_influence.append(influence(included[drawn], test[drawn]) - exact_influence)
    bound = score_error_bound(runs, 1 - SEEN / N)
    assert np.sqrt(np.mean(np.square(errors), axis=0)).max() <= bound
    assert np.sqrt(np.mean(np.square(errors_influence), axis=0)).max() <= bound
    # Every subset occurs once, so there is no sampling error.
    np.testing.assert_allclose(memorization_scores(train, included), exact, atol=1e-12)
    np.testing.assert_allclose(influence(included, test), exact_influence, atol=1e-12)


def test_leave_one_out_of_the_nearest_neighbour_is_exact() -> None:
    everything = np.arange(N)
    included, train, test = trained([everything, *(np.delete(everything, i) for i in range(N))], nearest_neighbour)
    # A nearest-neighbour rule is right on training examples, so the score is 1 if the nearest other example differs.
    distances = ((INPUTS[:, None] - INPUTS) ** 2).sum(-1) + np.diag(np.full(N, np.inf))
    alone = LABELS[distances.argmin(1)] != LABELS
    np.testing.assert_array_equal(memorization_scores(train, included), alone.astype(float))
    assert alone[8:].all()
    assert not alone.all()
    # Influence on a test example: accuracy with i minus accuracy without i.
    with_i = (test.sum(0) - test[1:]) / N
    np.testing.assert_allclose(influence(included, test), with_i - test[1:], atol=1e-12)


def test_what_was_not_measured_is_left_out_and_not_wrong() -> None:
    correct = np.array([[1, 1], [np.nan, 1], [0, 0], [np.nan, 0]])
    included = np.array([[True, True], [True, True], [False, True], [False, True]])
    np.testing.assert_array_equal(memorization_scores(correct, included), [1, np.nan])
    np.testing.assert_array_equal(influence(included, correct), [[1 - 0, 1 - 0], [np.nan, np.nan]])


def test_the_bound_is_the_published_one() -> None:
    assert round(score_error_bound(2000), 2) == 0.05
    assert round(score_error_bound(200), 2) == 0.19
    assert score_error_bound(100, 0.3) == pytest.approx(score_error_bound(100, 0.7))
    for bad in ((0, 0.3), (10, 0.0), (10, 1.0)):
        with pytest.raises(AnalysisError, match="trainings: given"):
            score_error_bound(*bad)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(AnalysisError, match=r"correct: given the shape \(2, 3\) beside \(3, 2\)"):
        memorization_scores(np.ones((2, 3)), np.ones((3, 2)))
    with pytest.raises(AnalysisError, match=r"included: given the shape \(2, 3\) beside \(3, 3\)"):
        influence(np.ones((2, 3)), np.ones((3, 3)))
    with pytest.raises(AnalysisError, match="correct: given 2"):
        memorization_scores([[2.0]], [[True]])


# --- consistency


def test_c_scores_weigh_every_fraction_alike() -> None:
    correct = np.array([[1, 0], [1, 1], [0, 1], [1, 1]])
    included = np.array([[False, False], [False, True], [False, False], [True, False]])
    # Example 0: 1 at 0.5 (rows 0, 1), 0 at 0.8 (row 2). Example 1: 0 at 0.5 (row 0), 1 at 0.8 (rows 2, 3).
    np.testing.assert_array_equal(c_scores(correct, included, [0.5, 0.5, 0.8, 0.8]), [0.5, 0.5])
    never_out = np.array([[True, False]] * 2 + [[False, False]] * 2)
    np.testing.assert_array_equal(c_scores(correct, never_out, [0.5, 0.5, 0.8, 0.8])[:1], [np.nan])
    with pytest.raises(AnalysisError, match="fractions"):
        c_scores(correct, included, [0.5])


def test_the_proxy_is_the_mean_over_epochs_and_trainings() -> None:
    correct = np.array([[[0, 1, np.nan], [1, 1, np.nan]], [[1, 1, np.nan], [np.nan, 0, np.nan]]])
    np.testing.assert_allclose(c_score_proxy(correct), [2 / 3, 3 / 4, np.nan])


# --- the per-example table


def table(correct: np.ndarray, included: np.ndarray, ids: np.ndarray, epoch: int = 20) -> pd.DataFrame:
    rows = [
        {"trajectory_id": f"t{t}", "epoch": epoch, "measure": "correct", "example_id": ids[i],
         "split": "train" if included[t, i] else "left_out", "value": float(correct[t, i])}
        for t in range(len(correct)) for i in range(len(ids))
    ]  # fmt: skip
    return pd.DataFrame(rows)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 100))
def test_the_table_goes_back_to_its_arrays_in_any_order(t: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    correct, included = rng.integers(0, 2, (t, n)).astype(float), rng.random((t, n)) < 0.7
    ids = np.sort(rng.choice(100, n, replace=False))
    frame = table(correct, included, ids)
    noise = frame.assign(epoch=1, value=1 - frame["value"])
    other = frame.assign(measure="forgetting_events", value=5.0)
    test = frame.assign(split="test")
    result = correctness_matrix(pd.concat([noise, frame, other, test]).sample(frac=1, random_state=seed), epoch=20)
    assert result.trajectories == tuple(f"t{i}" for i in range(t))
    np.testing.assert_array_equal(result.example_ids, ids)
    np.testing.assert_array_equal(result.correct, correct)
    np.testing.assert_array_equal(result.included, included)
    of_test = correctness_matrix(test, "test", epoch=20, trajectories=result.trajectories[::-1])
    np.testing.assert_array_equal(of_test.correct, correct[::-1])
    assert not of_test.included.any()


def test_holes_in_the_table_are_not_measured() -> None:
    frame = table(np.ones((2, 2)), np.ones((2, 2), dtype=bool), np.array([3, 9])).drop(index=2)
    frame.loc[0, "value"] = None
    result = correctness_matrix(frame, epoch=20, trajectories=["t1", "t0", "t2"])
    np.testing.assert_array_equal(result.correct, [[np.nan, 1], [np.nan, 1], [np.nan, np.nan]])
    np.testing.assert_array_equal(result.included, [[False, True], [True, True], [False, False]])


def test_bad_requests_of_the_table_are_answered() -> None:
    frame = table(np.ones((2, 2)), np.ones((2, 2), dtype=bool), np.array([3, 9]))
    with pytest.raises(AnalysisError, match=r"epoch: given 7, .*correct is stored at 20"):
        correctness_matrix(frame, epoch=7)
    with pytest.raises(AnalysisError, match=r"split: given 'tests'; did you mean test\?"):
        correctness_matrix(frame, "tests", epoch=20)
    with pytest.raises(AnalysisError, match="twice for one training and example"):
        correctness_matrix(pd.concat([frame, frame]), epoch=20)
    with pytest.raises(AnalysisError, match=r"value: given 0.5"):
        correctness_matrix(frame.assign(value=0.5), epoch=20)
