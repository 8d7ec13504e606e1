"""Numbers about examples: inequality, overdispersion, memorization scores, influence, consistency.

All of them read the per-example table (`trajectory_id`, `epoch`, `measure`, `split`, `example_id`, `value`), which
`correctness_matrix` turns into arrays: t trainings by n examples. NaN stands for what was not measured, and is left
out of every mean, never counted as wrong.
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
"""Memorization score from which Feldman & Zhang 2020 call a training example memorized."""
INFLUENTIAL = 0.15
"""Influence from which they call a training example influential for a test example."""

_RESAMPLES = 1999
_BATCH = 2**22  # resampled values held at once: 32 MiB


def gini(values: ArrayLike) -> float:
    """Inequality of non-negative values: Σ_i Σ_j |g_i - g_j| / (2 n² mean(g)), in 0 (all equal) to 1 - 1/n.

    As Arpit et al. 2017 (arXiv 1706.05394) use it, of loss sensitivities over examples. Computed from the sorted values
    in O(n log n). NaN are left out; NaN for no values or only zeros, which have no inequality to speak of.

    Raises AnalysisError for a negative value.
    """
    given = np.sort(np.asarray(values, dtype=float).ravel())
    given = given[~np.isnan(given)]
    if given.size and given[0] < 0:
        raise AnalysisError("values", f"values: given {given[0]:g}; a Gini coefficient takes values of at least 0")
    if not given.size or given[-1] == 0:
        return float("nan")
    # Scaled, so that neither tiny nor huge values leave the range of floats.
    given = given / given[-1]
    rank = np.arange(1, given.size + 1)
    return float(np.sum((2 * rank - given.size - 1) * given) / (given.size * given.sum()))


@dataclass(frozen=True)
class Overdispersion:
    """value: about 1 if examples differ by luck alone; NaN where every prediction or none is wrong. low, high: 95 %
    bootstrap interval over examples; NaN where so few are wrong that a resample may have none. p: mean
    misclassification. runs, examples: R and n."""

    value: float
    low: float
    high: float
    p: float
    runs: int
    examples: int


def overdispersion(misclassified: ArrayLike, seed: int = 0) -> Overdispersion:
    """How much more examples differ in difficulty than coin tosses would: Var_i(m_i) / (p(1-p)/R).

    misclassified: 0 or 1, [R runs, n examples], R and n at least 2; m_i is its mean over runs and p the mean of m
    (Arpit et al. 2017, arXiv 1706.05394, figure 1: after one epoch, over initialisations and orders). If each m_i is
    Binomial(R, p)/R the value is about 1; examples that are always easy or always hard raise it, up to R. The variance
    is the unbiased one (n - 1). The interval is scipy's percentile bootstrap over examples, 1999 resamples drawn from
    `seed`; the R runs are held fixed.

    Raises AnalysisError for other values or sizes.
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
        # So few mistakes that some resample has none: the interval is NaN, which says it.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            (rates,), ratio, confidence_level=CONFIDENCE, n_resamples=_RESAMPLES, batch=max(1, _BATCH // examples),
            method="percentile", vectorized=True, rng=np.random.default_rng(seed),
        ).confidence_interval  # fmt: skip
    return Overdispersion(float(ratio(rates[None])[0]), float(interval.low), float(interval.high), p, runs, examples)


@dataclass(frozen=True)
class Correctness:
    """What was answered right: trajectories [t], example_ids [n] (ascending), correct [t, n] (0, 1, or NaN: not
    measured), included [t, n] (the training saw the example; False on the test set)."""

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
    """The per-example table at one epoch as arrays.

    split: `train` (with the left-out examples, which are its `included` == False), `validation` or `test`.
    trajectories: the rows wanted and their order; by default those measured here, sorted. Give `test` the trajectories
    of `train`, so that the rows of both agree. A training without a measurement has NaN, and False in `included`.

    Raises AnalysisError if nothing matches, for a value twice, and for one that is not 0, 1 or null.
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
    """mem(i) = P[f(x_i) = y_i | i in the training subset] - P[f(x_i) = y_i | i left out], [n], each in -1..1.

    correct: 0, 1 or NaN (not measured), and included: bool, both [t, n], of t trainings on random subsets (Feldman &
    Zhang 2020, arXiv 2008.03703). NaN for an example that was never in or never out. Errors:
    `score_error_bound`.
    """
    given, inside = _arrays(correct, included)
    return _conditional(given, inside) - _conditional(given, ~inside)


def influence(included: ArrayLike, correct_test: ArrayLike) -> Floats:
    """infl(i, j) = P[f(x'_j) = y'_j | i in the training subset] - P[... | i left out], [n, m], each in -1..1.

    included: bool [t, n], the training examples; correct_test: [t, m], 0, 1 or NaN, the test examples, rows of the same
    trainings (Feldman & Zhang 2020, arXiv 2008.03703). Two matrix products over t; 8 n m bytes a matrix,
    four at once. NaN as in `memorization_scores`.
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
    """Root mean squared error of a score from this many trainings, at most: sqrt(1/(pt) + 1/((1-p)t) + e^(-pt/16)/2).

    held_out: the part of the examples that each training leaves out (0 < held_out < 1); p is the smaller of it and the
    rest. Feldman & Zhang 2020 (arXiv 2008.03703): 0.05 at t = 2000 and 0.19 at t = 200 with p = 0.3.
    """
    if trainings < 1 or not 0 < held_out < 1:
        raise AnalysisError(
            "trainings",
            f"trainings: given {trainings} leaving out {held_out:g}; valid are at least 1, leaving out part in (0, 1)",
        )
    p = min(held_out, 1 - held_out)
    return float(np.sqrt(1 / (p * trainings) + 1 / ((1 - p) * trainings) + np.exp(-p * trainings / 16) / 2))


def c_scores(correct: ArrayLike, included: ArrayLike, fractions: ArrayLike) -> Floats:
    """Consistency score: P[f(x_i) = y_i | i left out], averaged over subset fractions; [n], each in 0..1.

    correct, included: as in `memorization_scores`. fractions: [t], the `subset_fraction` of each training; Jiang et al.
    2021 (arXiv 2002.03206) take 0.1, 0.2, ..., 0.9. Every fraction weighs the same, however many trainings it has. NaN
    for an example that some fraction never left out: an average over the rest would be of other subsets.
    """
    given, inside = _arrays(correct, included)
    sizes = np.asarray(fractions, dtype=float)
    if sizes.shape != (len(given),):
        raise AnalysisError("fractions", f"fractions: given the shape {sizes.shape}; valid is one a row: {len(given)}")
    return np.mean([_conditional(given[sizes == f], ~inside[sizes == f]) for f in np.unique(sizes)], axis=0)


def c_score_proxy(correct: ArrayLike) -> Floats:
    """Cumulative accuracy: the mean of `correct` [..., n] over epochs and trainings; [n], each in 0..1, high: learnt
    early and kept. The cheap stand-in for `c_scores` (Jiang et al. 2021, arXiv 2002.03206): needs no left-out examples.
    NaN where never measured.
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
    """The mean of each column over these of its rows, NaN without one."""
    known = rows & ~np.isnan(correct)
    return _divide(np.where(known, correct, 0.0).sum(axis=0), known.sum(axis=0).astype(float))


def _divide(hits: Floats, counts: Floats) -> Floats:
    return np.divide(hits, counts, out=np.full_like(hits, np.nan), where=counts > 0)


def _check_binary(key: str, values: Floats, missing: bool = True) -> None:
    strange = values[~((values == 0) | (values == 1) | (np.isnan(values) & missing))]
    if strange.size:
        valid = "0, 1 or NaN" if missing else "0 or 1"
        raise AnalysisError(key, f"{key}: given {strange[0]:g}; valid is {valid}")
