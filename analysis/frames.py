"""From rows to cells: what may be averaged, what is missing, and the interval of a mean.

Every frame here is tidy: a row is one point (or one point at one epoch), a column a field or a measure. Accuracies and
fractions are in 0..1. A row whose `outcome` is not `finished` carries no data, whatever its columns hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.errors import AnalysisError, unknown
from analysis.words import AXES, FIELDS, METRICS, value_labels

OUTCOMES = ("finished", "diverged", "failed", "missing")
CONFIDENCE = 0.95
UNSEEDED = tuple(field for field in FIELDS if field != "seed")


def check_axis(frame: pd.DataFrame, key: str, name: str) -> str:
    """The name, if it is an axis that this frame has; else AnalysisError."""
    valid = [axis for axis in AXES if axis in frame.columns]
    if name not in valid:
        raise unknown(key, name, valid)
    return name


def check_metric(frame: pd.DataFrame, key: str, name: str) -> str:
    """The name, if it is a metric that this frame has or from which it can be computed; else AnalysisError."""
    valid = [metric for metric, about in METRICS.items() if (about.complement or metric) in frame.columns]
    if name not in valid:
        raise unknown(key, name, valid)
    return name


def levels(frame: pd.DataFrame, field: str) -> list[Any]:
    """The values of a field in ascending order, unset last."""
    return list(pd.factorize(frame[field], sort=True, use_na_sentinel=False)[1])


def varying(frame: pd.DataFrame) -> list[str]:
    """The fields with more than one value, seed left out."""
    return [field for field in UNSEEDED if field in frame and frame[field].nunique(dropna=False) > 1]


def metric_values(frame: pd.DataFrame, value: str) -> pd.Series:
    """The metric in its stored unit; NaN where the row did not finish."""
    about = METRICS[value]
    column = pd.to_numeric(frame[about.complement or value]).astype(float)
    finished = (1 - column if about.complement else column).where(frame["outcome"] == "finished")
    return finished.replace([np.inf, -np.inf], np.nan)


def select(frame: pd.DataFrame, where: Mapping[str, object]) -> pd.DataFrame:
    """The rows at these settings: a value a field, or a list of them. None is the unset value.

    Raises AnalysisError for a field or a value that the frame does not have.
    """
    for field, wanted in where.items():
        check_axis(frame, field, field)
        present = levels(frame, field)
        keep = [_find(field, value, present) for value in (wanted if isinstance(wanted, list | tuple) else [wanted])]
        codes = pd.factorize(frame[field], sort=True, use_na_sentinel=False)[0]
        frame = frame[np.isin(codes, keep)]
    return frame


def _find(field: str, value: object, present: Sequence[Any]) -> int:
    for index, candidate in enumerate(present):
        if pd.isna(candidate):
            if value is None or pd.isna(value):
                return index
        elif isinstance(value, int | float) and isinstance(candidate, int | float | np.number):
            if np.isclose(value, candidate, rtol=1e-9, atol=0):
                return index
        elif value == candidate:
            return index
    raise unknown(field, value, value_labels(field, present))


def aggregate(frame: pd.DataFrame, keys: Sequence[str], value: str) -> pd.DataFrame:
    """One row for every combination of the keys' values, present in the frame or not.

    Columns: the keys; `mean`, `sd` (n - 1), `low` and `high` (95 % t interval of the mean; NaN below two seeds), in the
    stored unit; `n`, the seeds averaged; `n_diverged`, `n_failed`, `n_missing`, `n_undefined` (finished, but the metric
    does not exist there, such as a memorized fraction without noise); `status`: `value`, or why there is none:
    `diverged`, `failed`, `undefined`, `missing`. A mean is NaN, never zero, without data.

    Raises AnalysisError if a cell would average over anything but seeds.
    """
    if frame.empty:
        raise AnalysisError("points", "points: given a table without rows; at least one point is needed")
    for name in ("outcome", "seed"):
        if name not in frame.columns:
            raise AnalysisError(name, f"{name}: the table has no such column; it has {', '.join(frame.columns)}")
    strange = sorted(set(frame["outcome"].astype(str)) - set(OUTCOMES))
    if strange:
        raise unknown("outcome", strange[0], OUTCOMES)
    for key in keys:
        check_axis(frame, key, key)
    check_metric(frame, "value", value)

    codes = {key: pd.factorize(frame[key], sort=True, use_na_sentinel=False) for key in keys}
    work = pd.DataFrame({key: code for key, (code, _) in codes.items()}, index=frame.index)
    group = [work[key] for key in keys]
    _refuse_hidden_factors(frame, group, keys)

    work["value"] = metric_values(frame, value)
    for outcome in OUTCOMES[1:]:
        work[f"n_{outcome}"] = (frame["outcome"] == outcome).astype(int)
    work["n_undefined"] = ((frame["outcome"] == "finished") & work["value"].isna()).astype(int)
    counts = [name for name in work.columns if name.startswith("n_")]
    grouped = work.groupby(list(keys))
    table = grouped["value"].agg(mean="mean", sd="std", n="count").join(grouped[counts].sum())

    sizes = [range(len(found)) for _, found in codes.values()]
    every = pd.MultiIndex.from_product(sizes, names=list(keys))
    table.index = pd.MultiIndex.from_arrays([table.index.get_level_values(key) for key in keys], names=list(keys))
    table = table.reindex(every).reset_index()
    table[["n", *counts]] = table[["n", *counts]].fillna(0).astype(int)
    many = table["n"].where(table["n"] > 1)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, many - 1) * table["sd"] / np.sqrt(many)
    table["low"], table["high"] = table["mean"] - half, table["mean"] + half
    table["status"] = np.select(
        [table["n"] > 0, table["n_diverged"] > 0, table["n_failed"] > 0, table["n_undefined"] > 0],
        ["value", "diverged", "failed", "undefined"],
        default="missing",
    )
    for key, (_, found) in codes.items():
        taken = pd.Series(found).take(table[key])
        # An order of its own, such as that of randomizations, outlives the table.
        table[key] = taken.array if isinstance(taken.dtype, pd.CategoricalDtype) else taken.to_numpy()
    return table[[*keys, "mean", "low", "high", "sd", "n", *counts, "status"]]


def _refuse_hidden_factors(frame: pd.DataFrame, group: Sequence[pd.Series], keys: Sequence[str]) -> None:
    """A mean over another field would look like noise and be an effect: name the field instead."""
    rivals = [field for field in varying(frame) if field not in keys]
    mixed = [f for f in rivals if frame[f].groupby(list(group)).nunique(dropna=False).max() > 1]
    if mixed:
        raise AnalysisError(
            mixed[0],
            f"{', '.join(mixed)}: given several values inside one cell of {' x '.join(keys)}, "
            f"and only seeds are averaged; facet by the field or fix one value with --set FIELD=VALUE",
        )
    by_seed = pd.DataFrame({str(i): column for i, column in enumerate(group)}).assign(seed=frame["seed"])
    if by_seed.duplicated().any():
        raise AnalysisError(
            "seed", f"seed: given twice in one cell of {' x '.join(keys)}; valid is one row a seed: choose one epoch"
        )


def cells(
    points: pd.DataFrame,
    x: str,
    y: str,
    value: str,
    facet: Sequence[str] | str | None = None,
    *,
    epoch: int | None = None,
    curves: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The cells of a map over x and y, and of each facet: see `aggregate`, and with an epoch `over_epochs`."""
    facets = facet_names(facet)
    keys = [x, y, *facets]
    if len(set(keys)) < len(keys):
        raise AnalysisError("facet", f"facet: given {', '.join(keys)} for x, y and facets; each must be another field")
    check_axis(points, "x", x)
    check_axis(points, "y", y)
    for name in facets:
        check_axis(points, "facet", name)
    if epoch is not None or "epoch" in keys:
        points = over_epochs(points, curves, epoch)
    return aggregate(points, keys, value)


def facet_names(facet: Sequence[str] | str | None) -> list[str]:
    names = [] if facet is None else [facet] if isinstance(facet, str) else list(facet)
    if len(names) > 2:
        raise AnalysisError("facet", f"facet: given {len(names)} fields ({', '.join(names)}); valid are at most 2")
    return names


def over_epochs(points: pd.DataFrame, curves: pd.DataFrame | None, epoch: int | None = None) -> pd.DataFrame:
    """One row for every training and every epoch evaluated in any of them, measures taken from the curves.

    A training without a measurement at an epoch keeps its outcome there, or becomes missing if it finished. With
    `epoch`, that one only; AnalysisError if no training was evaluated then.
    """
    if curves is None or curves.empty:
        raise AnalysisError("epoch", "epoch: given, but no training has been evaluated yet; leave epoch out")
    evaluated = np.sort(curves["epoch"].unique())
    if epoch is not None and epoch not in evaluated:
        raise unknown("epoch", epoch, (int(e) for e in evaluated))
    fields = [field for field in FIELDS if field in points.columns and field != "epochs"]
    trainings = points.sort_values("epochs") if "epochs" in points else points
    trainings = trainings.drop_duplicates(["trajectory_id", *fields], keep="last")
    keep = ["trajectory_id", "outcome", *fields, *[c for c in ("parameters", "epochs", "randomization") if c in points]]
    measured = ["trajectory_id", "epoch", *[metric for metric in METRICS if metric in curves.columns]]
    epochs = pd.DataFrame({"epoch": evaluated if epoch is None else [epoch]})
    rows = trainings[keep].merge(epochs, how="cross")
    rows = rows.merge(curves[measured].assign(measured=True), how="left", on=["trajectory_id", "epoch"])
    # Trainings that diverged or failed later were sound at this epoch if every loss here is finite.
    losses = rows[[name for name in ("train_loss", "test_loss") if name in rows]]
    sound = rows.pop("measured").notna() & np.isfinite(losses).all(axis=1)
    absent = rows["outcome"].where(rows["outcome"] != "finished", "missing")
    return rows.assign(outcome=absent.where(~sound, "finished"))
