"""Effective model complexity and the interpolation threshold (Nakkiran et al. 2019, arXiv 1912.02292).

A training set counts as fitted if the mean training error over seeds, on the labels as given, is at most ε. Effective
model complexity is the largest number of training examples that a training procedure fits. The interpolation threshold
is the smallest capacity at which all given examples are fitted. Each of them lies between two trained values, and both
values are returned.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.tables.cells import aggregate, check_axis, varying
from analysis.words import CAPACITY

EPSILON = 0.1
"""The training error up to which a training set counts as fitted, as in Nakkiran et al."""

SIZE = "dataset_size"


def effective_model_complexity(
    points: pd.DataFrame, epsilon: float = EPSILON, *, full_size: int | None = None
) -> pd.DataFrame:
    """Compute EMC_ε = max {n : mean training error on n examples <= ε} for every setting of the other varying fields.

    The training error is 1 - `train_accuracy`, averaged over the seeds that finished. n is `dataset_size`, part of
    which may be withheld from training by `validation_fraction` and `subset_fraction`.

    Args:
        points: One row per point; `dataset_size` must vary.
        epsilon: The training error up to which a training set counts as fitted.
        full_size: The number of examples in the data set, for points whose `dataset_size` is unset.

    Returns:
        A table with one row per setting. Its columns are the varying fields except `dataset_size` and `seed`; `emc`,
        the largest n that is fitted; `next`, the smallest larger n with data, which is not fitted; `error`, `low`,
        `high`, `n`, the mean training error at `emc`, its 95 % t interval and its number of seeds; and `status`:

        - `value`: emc <= EMC < next.
        - `at least`: no larger n has data, so EMC >= emc is all that is known; next is NaN.
        - `below`: no n is fitted, so EMC < next, which is the smallest n with data; emc is NaN.
        - `missing`: there is no data at any n.

    Raises:
        AnalysisError: ε is outside 0..1, `dataset_size` is unset and `full_size` is not given, or a cell would average
            over more than seeds.
    """
    sized = _sized(points, full_size)
    crossings = _crossings(sized, SIZE, epsilon, largest=True)
    return crossings.rename(columns={"fitted": "emc", "unfitted": "next"})


def interpolation_threshold(points: pd.DataFrame, along: str = "parameters", epsilon: float = EPSILON) -> pd.DataFrame:
    """Find the interpolation threshold, at which EMC_ε = n, for every setting of the other varying fields.

    The threshold is the smallest value of `along` that fits the given training examples. Test error peaks near it.

    Args:
        points: One row per point.
        along: A numeric field of capacity or time (`parameters`, `parameter_count`, `width`, `epochs`).
        epsilon: The training error up to which a training set counts as fitted.

    Returns:
        A table with one row per setting of the other varying fields, including `dataset_size`. (If `along` is one of
        `parameters`, `parameter_count` and `width`, the other two are ignored, since all three express capacity.) Its
        columns are these fields; `threshold`, the smallest value whose mean training error is at most ε; `before`, the
        largest smaller value with data, which does not fit; `error`, `low`, `high`, `n`, the mean training error at
        `threshold`, its 95 % t interval and its number of seeds; and `status`:

        - `value`: the threshold lies in (before, threshold].
        - `at most`: the smallest value with data already fits; before is NaN.
        - `not reached`: no value fits; before is the largest value with data, and threshold is NaN.
        - `missing`: there is no data at any value.

    Raises:
        AnalysisError: `along` is not numeric, ε is outside 0..1, or a cell would average over more than seeds.
    """
    if along in (SIZE, "seed"):
        raise AnalysisError("along", f"along: given {along}; valid is a field of capacity or time, such as parameters")
    check_axis(points, "along", along)
    if not pd.api.types.is_numeric_dtype(points[along]) or points[along].isna().all():
        raise AnalysisError("along", f"along: given {along}, which holds no numbers here; valid is a field that does")
    crossings = _crossings(points[points[along].notna()], along, epsilon, largest=False)
    named = crossings.assign(status=crossings["status"].replace({"at least": "at most", "below": "not reached"}))
    return named.rename(columns={"fitted": "threshold", "unfitted": "before"})


def _crossings(points: pd.DataFrame, axis: str, epsilon: float, *, largest: bool) -> pd.DataFrame:
    """Find the largest (or smallest) fitted value of the axis, and the next value above (or below) with data."""
    if not 0 <= epsilon < 1:
        raise AnalysisError("epsilon", f"epsilon: given {epsilon}; valid is a number of at least 0 and below 1")
    keys = [field for field in varying(points) if field != axis and not (axis in CAPACITY and field in CAPACITY)]
    table = aggregate(points, [*keys, axis], "train_error")
    # The table also contains combinations of the keys' values that no point has. They are not settings of this sweep.
    rows = table[table[[name for name in table if name == "n" or name.startswith("n_")]].sum(axis=1) > 0]
    codes = [pd.factorize(rows[key], sort=True, use_na_sentinel=False)[0] for key in keys]
    parts = [part for _, part in rows.groupby(codes)] if keys else [rows]
    records = [
        {**{key: part[key].iloc[0] for key in keys}, **_crossing(part, axis, epsilon, largest)} for part in parts
    ]
    return pd.DataFrame(records, columns=[*keys, "fitted", "unfitted", "error", "low", "high", "n", "status"])


def _crossing(part: pd.DataFrame, axis: str, epsilon: float, largest: bool) -> dict[str, object]:
    have = part[part["status"] == "value"].sort_values(axis, ascending=not largest)
    none = {"fitted": np.nan, "unfitted": np.nan, "error": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    if have.empty:
        return {**none, "status": "missing"}
    # Rows are sorted so that the first row that is fitted is the answer. The tolerance allows for rounding in the
    # means of fractions.
    fitted = (have["mean"] <= epsilon + 1e-9).to_numpy()
    if not fitted.any():
        return {**none, "unfitted": float(have[axis].iloc[-1]), "status": "below"}
    first = int(fitted.argmax())
    at = have.iloc[first]
    return {
        "fitted": float(at[axis]),
        "unfitted": float(have[axis].iloc[first - 1]) if first else np.nan,
        "error": at["mean"],
        "low": at["low"],
        "high": at["high"],
        "n": int(at["n"]),
        "status": "value" if first else "at least",
    }


def _sized(points: pd.DataFrame, full_size: int | None) -> pd.DataFrame:
    check_axis(points, SIZE, SIZE)
    size = pd.to_numeric(points[SIZE]).astype(float)
    if size.isna().any():
        if full_size is None:
            raise AnalysisError(
                "full_size",
                "full_size: not given, and dataset_size is unset; give the number of training examples of the data set",
            )
        size = size.fillna(full_size)
    return points.assign(**{SIZE: size})
