"""Effective model complexity and the interpolation threshold (Nakkiran et al. 2019, arXiv 1912.02292).

Both ask where the mean training error over seeds, on the labels as given, comes down to at most ε: along the number of
training examples (how many can this training procedure fit?), and along an axis of capacity (from where on are these
many fitted?). The answer lies between two values that were trained, and both are given.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.tables.cells import aggregate, check_axis, varying
from analysis.words import CAPACITY

EPSILON = 0.1
"""The training error below which Nakkiran et al. count a training set as fitted."""

SIZE = "dataset_size"


def effective_model_complexity(
    points: pd.DataFrame, epsilon: float = EPSILON, *, full_size: int | None = None
) -> pd.DataFrame:
    """EMC_ε = max {n : mean training error on n examples <= ε}, for every setting of the other fields that vary.

    points: one row a point, `dataset_size` varying; full_size: the number of examples of the data set, for points whose
    `dataset_size` is unset. The mean is over the seeds that finished, its error 1 - `train_accuracy`. n is
    `dataset_size`, of which `validation_fraction` and `subset_fraction` may keep a part from training.

    One row a setting. Columns: the fields that vary but `dataset_size` and `seed`; `emc`, the largest n that is fitted;
    `next`, the smallest n above it with data, which is not; `error`, `low`, `high`, `n`: the mean training error at
    `emc`, its 95 % t interval and its seeds; `status`:

    - `value`: emc <= EMC < next.
    - `at least`: no larger n has data, so the axis bounds it: EMC >= emc; next is NaN.
    - `below`: no n is fitted: EMC < next, the smallest n with data; emc is NaN.
    - `missing`: no data at any n.

    Raises AnalysisError for an ε outside 0..1, an unset `dataset_size` without `full_size`, and where a cell would
    average over more than seeds.
    """
    sized = _sized(points, full_size)
    found = _crossings(sized, SIZE, epsilon, largest=True)
    return found.rename(columns={"fitted": "emc", "unfitted": "next"})


def interpolation_threshold(points: pd.DataFrame, along: str = "parameters", epsilon: float = EPSILON) -> pd.DataFrame:
    """Where EMC_ε = n: from which value of `along` on the training examples given are fitted, for every other setting.

    along: a field that holds numbers and stands for capacity or time (`parameters`, `parameter_count`, `width`,
    `epochs`). Test error peaks near here. One row a setting of the other fields that vary, `dataset_size` among them
    (of `parameters`, `parameter_count` and `width`, which say one thing, only `along`). Columns: these; `threshold`,
    the smallest value whose mean training error is at most ε; `before`, the largest value below it with data, which is
    not fitted; `error`, `low`, `high`, `n`: the mean training error at `threshold`, its 95 % t interval and its seeds;
    `status`:

    - `value`: fitted from somewhere in (before, threshold].
    - `at most`: the smallest value with data is fitted already; before is NaN.
    - `not reached`: no value is fitted, up to `before`, the largest with data; threshold is NaN.
    - `missing`: no data at any value.

    Raises AnalysisError for an axis without numbers, an ε outside 0..1, and where a cell would average over more than
    seeds.
    """
    if along in (SIZE, "seed"):
        raise AnalysisError("along", f"along: given {along}; valid is a field of capacity or time, such as parameters")
    check_axis(points, "along", along)
    if not pd.api.types.is_numeric_dtype(points[along]) or points[along].isna().all():
        raise AnalysisError("along", f"along: given {along}, which holds no numbers here; valid is a field that does")
    found = _crossings(points[points[along].notna()], along, epsilon, largest=False)
    named = found.assign(status=found["status"].replace({"at least": "at most", "below": "not reached"}))
    return named.rename(columns={"fitted": "threshold", "unfitted": "before"})


def _crossings(points: pd.DataFrame, axis: str, epsilon: float, *, largest: bool) -> pd.DataFrame:
    """The largest (or smallest) value of the axis that is fitted, and the next one above (or below) with data."""
    if not 0 <= epsilon < 1:
        raise AnalysisError("epsilon", f"epsilon: given {epsilon}; valid is a number of at least 0 and below 1")
    keys = [field for field in varying(points) if field != axis and not (axis in CAPACITY and field in CAPACITY)]
    table = aggregate(points, [*keys, axis], "train_error")
    # Combinations of the keys' values that no point has are no setting of this sweep.
    rows = table[table[[name for name in table if name == "n" or name.startswith("n_")]].sum(axis=1) > 0]
    codes = [pd.factorize(rows[key], sort=True, use_na_sentinel=False)[0] for key in keys]
    parts = [part for _, part in rows.groupby(codes)] if keys else [rows]
    found = [{**{key: part[key].iloc[0] for key in keys}, **_crossing(part, axis, epsilon, largest)} for part in parts]
    return pd.DataFrame(found, columns=[*keys, "fitted", "unfitted", "error", "low", "high", "n", "status"])


def _crossing(part: pd.DataFrame, axis: str, epsilon: float, largest: bool) -> dict[str, object]:
    have = part[part["status"] == "value"].sort_values(axis, ascending=not largest)
    none = {"fitted": np.nan, "unfitted": np.nan, "error": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    if have.empty:
        return {**none, "status": "missing"}
    # From the end where the answer is the first that is fitted; means of fractions are not exact.
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
