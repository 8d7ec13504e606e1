"""Statistics of single examples: inequality, overdispersion, memorization scores, influence, consistency.

Their data are in the per-example table (`trajectory_id`, `epoch`, `measure`, `split`, `example_id`, `value`), which
`correctness_matrix` converts to arrays of t trainings by n examples. NaN means "not measured". NaN values are left out
of every mean and never count as wrong.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.errors import AnalysisError, unknown
from analysis.intervals import CONFIDENCE

Floats = NDArray[np.float64]

MEMORIZED = 0.25
"""Feldman & Zhang 2020 call a training example memorized if its memorization score is at least this."""
INFLUENTIAL = 0.15
"""Feldman & Zhang 2020 call a training example influential for a test example if its influence is at least this."""

_RESAMPLES = 1999
_BATCH = 2**22  # resampled values in memory at once: 32 MiB


def gini(values: ArrayLike) -> float:
    """Compute the Gini coefficient Σ_i Σ_j |g_i - g_j| / (2 n² mean(g)) of non-negative values.

    The coefficient ranges from 0 (all values equal) to 1 - 1/n. Arpit et al. 2017 (arXiv 1706.05394) apply it to loss
    sensitivities over examples. It is computed from the sorted values in O(n log n). NaN values are left out. The
    result is NaN if there are no values or only zeros, since their inequality is undefined.

    Raises:
        AnalysisError: A value is negative.
    """
    given = np.sort(np.asarray(values, dtype=float).ravel())
    given = given[~np.isnan(given)]
    if given.size and given[0] < 0:
        raise AnalysisError("values", f"values: given {given[0]:g}; a Gini coefficient takes values of at least 0")
    if not given.size or given[-1] == 0:
        return float("nan")
    # Scaling keeps tiny and huge values within the range of floats.
    given = given / given[-1]
    rank = np.arange(1, given.size + 1)
    return float(np.sum((2 * rank - given.size - 1) * given) / (given.size * given.sum()))


@dataclass(frozen=True)
class Overdispersion:
    """The overdispersion of misclassifications.

    Attributes:
        value: About 1 if examples differ only by chance; NaN if all predictions are wrong or all are right.
        low: Lower end of the 95 % bootstrap interval over examples; NaN if so few predictions are wrong that some
            resample contains none of them.
        high: Upper end of the interval.
        p: The mean misclassification rate.
        runs: The number of trainings, R.
        examples: The number of examples, n.
    """

    value: float
    low: float
    high: float
    p: float
    runs: int
    examples: int


def overdispersion(misclassified: ArrayLike, seed: int = 0) -> Overdispersion:
    """Compute the variance of the misclassification rate over examples, relative to chance: Var_i(m_i) / (p(1-p)/R).

    m_i is the mean of `misclassified` for example i over runs, and p is the mean of m. (In Arpit et al. 2017, arXiv
    1706.05394, figure 1, runs differ in initialisation and order and end after one epoch.) If each m_i is Binomial(R,
    p)/R, the value is about 1. Examples that are always easy or always hard raise it, up to R. The variance is unbiased
    (n - 1). The interval is scipy's percentile bootstrap over examples with 1999 resamples; the R runs stay fixed.

    Args:
        misclassified: 0 or 1, [R runs, n examples], with R and n at least 2.
        seed: Seed of the bootstrap.

    Raises:
        AnalysisError: The values or the shape are invalid.
    """
    given = np.asarray(misclassified, dtype=float)
    if given.ndim != 2 or min(given.shape) < 2:
        raise AnalysisError(
            "misclassified", f"misclassified: given the shape {given.shape}; valid is [runs, examples], 2 of each"
        )
    _check_binary("misclassified", given, missing=False)
    runs, examples = given.shape
    rates = given.mean(axis=0)
    p = float(rates.mean())

    def ratio(m: Floats, axis: int = -1) -> Floats:
        mean = m.mean(axis=axis)
        chance = mean * (1 - mean) / runs
        return np.divide(m.var(axis=axis, ddof=1), chance, out=np.full_like(chance, np.nan), where=chance > 0)

    if p in (0.0, 1.0):
        return Overdispersion(float("nan"), float("nan"), float("nan"), p, runs, examples)
    with warnings.catch_warnings():
        # If some resample has no mistakes, scipy warns and returns NaN. The warning adds nothing to the NaN.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            (rates,), ratio, confidence_level=CONFIDENCE, n_resamples=_RESAMPLES, batch=max(1, _BATCH // examples),
            method="percentile", vectorized=True, rng=np.random.default_rng(seed),
        ).confidence_interval  # fmt: skip
    return Overdispersion(float(ratio(rates[None])[0]), float(interval.low), float(interval.high), p, runs, examples)


@dataclass(frozen=True)
class Correctness:
    """Whether each training predicts each example correctly, at one epoch.

    Attributes:
        trajectories: The ids of the trainings, [t].
        example_ids: The ids of the examples, [n], ascending.
        correct: 1 if correct, 0 if wrong, or NaN if not measured, [t, n].
        included: Whether the training saw the example, [t, n]; False on the test set.
    """

    trajectories: tuple[str, ...]
    example_ids: NDArray[np.int64]
    correct: Floats
    included: NDArray[np.bool_]


SPLITS = ("train", "validation", "test")


def correctness_matrix(
    examples: pd.DataFrame,
    split: str = "train",
    *,
    epoch: int,
    measure: str = "correct",
    trajectories: Sequence[str] | None = None,
) -> Correctness:
    """Convert the per-example table at one epoch to arrays.

    Args:
        examples: The per-example table.
        split: `train` (including the left-out examples, for which `included` is False), `validation` or `test`.
        epoch: The epoch.
        measure: The measure, with values 0 and 1.
        trajectories: The trainings to include, in order; by default all measured trainings, sorted. For `test`, pass
            the trainings of the `train` matrix, so that the rows of both matrices agree. A training without
            measurements has NaN in `correct` and False in `included`.

    Raises:
        AnalysisError: No row matches, a value occurs twice, or a value is not 0, 1 or null.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    wanted = ["train", "left_out"] if split == "train" else [split]
    rows = examples[
        (examples["measure"] == measure) & (examples["epoch"] == epoch) & examples["split"].isin(wanted)
    ].assign(trajectory_id=lambda frame: frame["trajectory_id"].astype(str))
    if trajectories is not None:
        rows = rows[rows["trajectory_id"].isin(list(trajectories))]
    if rows.empty:
        have = examples.loc[examples["measure"] == measure, "epoch"].unique()
        raise AnalysisError(
            "epoch",
            f"epoch: given {epoch}, at which no {measure} of {split} examples is stored; "
            f"{measure} is stored at {', '.join(str(int(e)) for e in np.sort(have)) or 'no epoch'}",
        )
    names = sorted(rows["trajectory_id"].unique()) if trajectories is None else [*trajectories]
    at = pd.Index(names).get_indexer(rows["trajectory_id"])
    column, ids = pd.factorize(rows["example_id"].astype("int64"), sort=True)
    if pd.Series(at * len(ids) + column).duplicated().any():
        raise AnalysisError("examples", f"examples: given a value of {measure} twice for one training and example")
    correct = np.full((len(names), len(ids)), np.nan)
    included = np.zeros(correct.shape, dtype=bool)
    correct[at, column] = pd.to_numeric(rows["value"]).to_numpy(dtype=float, na_value=np.nan)
    _check_binary("value", correct)
    included[at, column] = (rows["split"] == "train").to_numpy()
    return Correctness(tuple(names), np.asarray(ids, dtype=np.int64), correct, included)


def memorization_scores(correct: ArrayLike, included: ArrayLike) -> Floats:
    """Compute memorization scores mem(i) = P[f(x_i) = y_i | i in the subset] - P[f(x_i) = y_i | i left out].

    The scores come from t trainings on random subsets (Feldman & Zhang 2020, arXiv 2008.03703). `score_error_bound`
    bounds their errors.

    Args:
        correct: 0, 1 or NaN (not measured), [t, n].
        included: Whether the training saw the example, bool [t, n].

    Returns:
        The scores, [n], each in -1..1; NaN for an example that was in every subset or in none.
    """
    given, inside = _arrays(correct, included)
    return _conditional(given, inside) - _conditional(given, ~inside)


def influence(included: ArrayLike, correct_test: ArrayLike) -> Floats:
    """Compute the influence on test examples, infl(i, j) = P[f(x'_j) = y'_j | i in the subset] - P[... | i left out].

    See Feldman & Zhang 2020 (arXiv 2008.03703). The computation takes four matrix products over t and holds four
    matrices of 8 n m bytes in memory at once.

    Args:
        included: Whether the training saw the training example, bool [t, n].
        correct_test: 0, 1 or NaN per test example, [t, m], with the same trainings as rows.

    Returns:
        The influences, [n, m], each in -1..1; NaN as in `memorization_scores`.
    """
    inside = np.asarray(included, dtype=bool)
    test = np.asarray(correct_test, dtype=float)
    if inside.ndim != 2 or test.ndim != 2 or len(inside) != len(test):
        raise AnalysisError(
            "included",
            f"included: given the shape {inside.shape} beside {test.shape}; valid are [t, n] and [t, m] of one t",
        )
    _check_binary("correct_test", test)
    known = ~np.isnan(test)
    hits = np.where(known, test, 0.0)

    def rate(rows: NDArray[np.bool_]) -> Floats:
        weight = rows.astype(float).T
        return _divide(weight @ hits, weight @ known.astype(float))

    return rate(inside) - rate(~inside)


def score_error_bound(trainings: int, held_out: float = 0.3) -> float:
    """Compute an upper bound on a score's root mean squared error: sqrt(1/(pt) + 1/((1-p)t) + e^(-pt/16)/2).

    The bound is that of Feldman & Zhang 2020 (arXiv 2008.03703). With p = 0.3, it is 0.05 at t = 2000 and 0.19 at
    t = 200.

    Args:
        trainings: The number of trainings, t.
        held_out: The fraction of the examples that each training leaves out (0 < held_out < 1). p is the smaller of
            `held_out` and 1 - `held_out`.
    """
    if trainings < 1 or not 0 < held_out < 1:
        raise AnalysisError(
            "trainings",
            f"trainings: given {trainings} leaving out {held_out:g}; valid are at least 1, leaving out part in (0, 1)",
        )
    p = min(held_out, 1 - held_out)
    return float(np.sqrt(1 / (p * trainings) + 1 / ((1 - p) * trainings) + np.exp(-p * trainings / 16) / 2))


def c_scores(correct: ArrayLike, included: ArrayLike, fractions: ArrayLike) -> Floats:
    """Compute consistency scores P[f(x_i) = y_i | i left out], averaged over subset fractions.

    Every fraction has the same weight, regardless of its number of trainings.

    Args:
        correct: See `memorization_scores`.
        included: See `memorization_scores`.
        fractions: The `subset_fraction` of each training, [t]. Jiang et al. 2021 (arXiv 2002.03206) use 0.1, 0.2, ...,
            0.9.

    Returns:
        The scores, [n], each in 0..1. They are NaN for an example that was never left out at some fraction, since an
        average over the other fractions would not be comparable.
    """
    given, inside = _arrays(correct, included)
    sizes = np.asarray(fractions, dtype=float)
    if sizes.shape != (len(given),):
        raise AnalysisError(
            "fractions", f"fractions: given the shape {sizes.shape}; valid is one per row: {len(given)}"
        )
    return np.mean([_conditional(given[sizes == f], ~inside[sizes == f]) for f in np.unique(sizes)], axis=0)


def c_score_proxy(correct: ArrayLike) -> Floats:
    """Compute the cumulative accuracy: the mean of `correct` [..., n] over epochs and trainings.

    The cumulative accuracy is a cheap proxy for `c_scores` that needs no left-out examples (Jiang et al. 2021).

    Returns:
        The scores, [n], each in 0..1, high for examples learned early and not forgotten; NaN if never measured.
    """
    given = np.asarray(correct, dtype=float)
    _check_binary("correct", given)
    flat = given.reshape(-1, given.shape[-1])
    return _conditional(flat, np.ones(flat.shape, dtype=bool))


def _arrays(correct: ArrayLike, included: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    given, inside = np.asarray(correct, dtype=float), np.asarray(included, dtype=bool)
    if given.ndim != 2 or given.shape != inside.shape:
        raise AnalysisError(
            "correct", f"correct: given the shape {given.shape} beside {inside.shape}; valid are two of one [t, n]"
        )
    _check_binary("correct", given)
    return given, inside


def _conditional(correct: Floats, rows: NDArray[np.bool_]) -> Floats:
    """Average the measured values of each column over the selected rows; NaN if there are none."""
    known = rows & ~np.isnan(correct)
    return _divide(np.where(known, correct, 0.0).sum(axis=0), known.sum(axis=0).astype(float))


def _divide(hits: Floats, counts: Floats) -> Floats:
    return np.divide(hits, counts, out=np.full_like(hits, np.nan), where=counts > 0)


def _check_binary(key: str, values: Floats, missing: bool = True) -> None:
    invalid = values[~((values == 0) | (values == 1) | (np.isnan(values) & missing))]
    if invalid.size:
        valid = "0, 1 or NaN" if missing else "0 or 1"
        raise AnalysisError(key, f"{key}: given {invalid[0]:g}; valid is {valid}")
