"""Aggregation of rows into cells: means over seeds with their intervals, and counts of missing data.

All frames in this module are tidy: a row is one point (or one point at one epoch), and a column is a field or a
measure. Accuracies and fractions are in 0..1. The measures of a row whose `outcome` is not `finished` are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError, unknown
from analysis.intervals import t_half
from analysis.words import AXES, METRICS, value_labels
from lightning_modules.settings import FIELDS

OUTCOMES = ("finished", "diverged", "stopped", "failed", "missing")
LOST = ("diverged", "stopped", "failed")
"""Outcomes of trainings that were started but have no result at the epoch of a row."""
LOSSES = ("train_loss", "test_loss")


def check_columns(frame: pd.DataFrame, names: Iterable[str], rows: str = "") -> None:
    """Raise AnalysisError for the first name that is not a column. `rows` names the rows in the message ("points")."""
    for name in names:
        if name not in frame.columns:
            lack = f"the {rows} have no such column; they have" if rows else "the table has no such column; it has"
            raise AnalysisError(name, f"{name}: {lack} {', '.join(map(str, frame.columns))}")


def check_axis(frame: pd.DataFrame, key: str, name: str) -> str:
    """Return the name if it is an axis in the frame; otherwise raise AnalysisError."""
    valid = [axis for axis in AXES if axis in frame.columns]
    if name not in valid:
        raise unknown(key, name, valid)
    return name


def check_metric(frame: pd.DataFrame, key: str, name: str) -> str:
    """Return the name if it is a metric that can be read or computed from the frame; otherwise raise AnalysisError."""
    valid = [metric for metric, about in METRICS.items() if (about.complement or metric) in frame.columns]
    if name not in valid:
        raise unknown(key, name, valid)
    return name


def levels(frame: pd.DataFrame, field: str) -> list[Any]:
    """Return the distinct values of a field in ascending order, with the unset value last."""
    return list(pd.factorize(frame[field], sort=True, use_na_sentinel=False)[1])


def varying(frame: pd.DataFrame) -> list[str]:
    """Return the fields with more than one value, except for the seed."""
    return [field for field in FIELDS if field != "seed" and field in frame and frame[field].nunique(dropna=False) > 1]


def metric_values(frame: pd.DataFrame, value: str) -> pd.Series:
    """Return the values of a metric in its stored unit, with NaN for infinite values and rows that did not finish."""
    about = METRICS[value]
    column = pd.to_numeric(frame[about.complement or value]).astype(float)
    finished = (1 - column if about.complement else column).where(frame["outcome"] == "finished")
    return finished.replace([np.inf, -np.inf], np.nan)


def select(frame: pd.DataFrame, where: Mapping[str, object]) -> pd.DataFrame:
    """Select the rows that match `where`, which maps each field to a value or a list of values. None means unset.

    Raises:
        AnalysisError: The frame lacks a field or a value.
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
    """Average a metric over seeds for every combination of the keys' values, including combinations without rows.

    Returns:
        A table with one row per combination and the columns: the keys; `mean`, `sd` (n - 1), `low` and `high` (95 % t
        interval of the mean; NaN below two seeds), in the stored unit; `n`, the number of seeds averaged; `n_diverged`,
        `n_stopped` (early) and `n_failed`, and their sum `n_lost`; `n_missing`; `n_undefined` (finished without a
        value, such as a memorized fraction without noise); and `status`, which is `value` or the reason for its
        absence: `diverged`, `stopped`, `failed`, `undefined` or `missing`. Without data, the mean is NaN, never zero.

    Raises:
        AnalysisError: A cell would average over anything but seeds.
    """
    return _aggregate(frame, keys, value, 1)


def _aggregate(frame: pd.DataFrame, keys: Sequence[str], value: str, block: int) -> pd.DataFrame:
    """Aggregate as `aggregate` does, given rows in blocks: one block per training, each with the same `block` epochs.

    Settings are constant within a training, so they are read from the first row of each block.
    """
    if frame.empty:
        raise AnalysisError("points", "points: given a table without rows; at least one point is needed")
    check_columns(frame, ("outcome", "seed"))
    invalid = sorted({str(outcome) for outcome in frame["outcome"].unique()} - set(OUTCOMES))
    if invalid:
        raise unknown("outcome", invalid[0], OUTCOMES)
    for key in keys:
        check_axis(frame, key, key)
    check_metric(frame, "value", value)

    trainings = frame.iloc[::block]
    codes = {}
    for key in keys:
        within = key == "epoch" and block > 1
        code, levels_of = pd.factorize(
            frame[key].iloc[:block] if within else trainings[key], sort=True, use_na_sentinel=False
        )
        codes[key] = np.tile(code, len(trainings)) if within else np.repeat(code, block), levels_of
    sizes = [len(levels_of) for _, levels_of in codes.values()]
    # Group by one number per cell, since grouping by several columns takes many times as long.
    cell = np.ravel_multi_index([code for code, _ in codes.values()], sizes)
    _refuse_hidden_factors(trainings, cell[::block], keys)

    values = metric_values(frame, value).set_axis(range(len(frame)))
    table = values.groupby(cell).agg(mean="mean", sd="std", n="count").reindex(range(math.prod(sizes)))
    masks = {f"n_{outcome}": frame["outcome"] == outcome for outcome in OUTCOMES[1:]}
    masks["n_undefined"] = (frame["outcome"] == "finished") & values.isna().to_numpy()
    for name, mask in masks.items():
        table[name] = np.bincount(cell[mask.to_numpy(bool)], minlength=len(table))
    table["n_lost"] = sum(table[f"n_{outcome}"] for outcome in LOST)
    table["n"] = table["n"].fillna(0).astype(int)
    many = table["n"].where(table["n"] > 1)
    half = t_half(table["sd"], many)
    table["low"], table["high"] = table["mean"] - half, table["mean"] + half
    table["status"] = np.select(
        [table["n"] > 0, *(table[f"n_{outcome}"] > 0 for outcome in LOST), table["n_undefined"] > 0],
        ["value", *LOST, "undefined"],
        default="missing",
    )
    for (key, (_, levels_of)), place in zip(codes.items(), np.unravel_index(np.arange(len(table)), sizes), strict=True):
        taken = pd.Series(levels_of).take(place)
        # Keep the order of categories, for example of `randomization`.
        table[key] = taken.array if isinstance(taken.dtype, pd.CategoricalDtype) else taken.to_numpy()
    return table[[*keys, "mean", "low", "high", "sd", "n", *masks, "n_lost", "status"]]


def _refuse_hidden_factors(frame: pd.DataFrame, cell: np.ndarray, keys: Sequence[str]) -> None:
    """Reject cells that mix several values of another field, since averaging over the values would hide an effect."""

    def differs(field: str) -> bool:
        code = pd.factorize(frame[field], use_na_sentinel=False)[0]
        example = np.empty(cell.max() + 1, code.dtype)  # the value of any one row per cell
        example[cell] = code
        return bool((example[cell] != code).any())

    mixed = [field for field in varying(frame) if field not in keys and differs(field)]
    if mixed:
        raise AnalysisError(
            mixed[0],
            f"{', '.join(mixed)}: given several values inside one cell of {' x '.join(keys)}, "
            f"and only seeds are averaged; facet by the field or fix one value with --set FIELD=VALUE",
        )
    seeds, names = pd.factorize(frame["seed"], use_na_sentinel=False)
    if pd.Series(cell * len(names) + seeds).duplicated().any():
        raise AnalysisError(
            "seed", f"seed: given twice in one cell of {' x '.join(keys)}; valid is one row per seed: choose one epoch"
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
    """Aggregate a metric into the cells of a map over x and y, per facet.

    See `aggregate` for the columns, and `over_epochs` for `epoch` and `curves`.
    """
    keys = map_keys(points, x, y, facet)
    if epoch is not None or "epoch" in keys:
        # Keep only the fields that distinguish cells or trainings, since each field is repeated for every epoch.
        distinguishing = {"seed", *keys, *varying(points)}
        known = [name for name in points.columns if name in {"trajectory_id", "outcome", "epochs", *distinguishing}]
        if curves is not None and not curves.empty:
            curves = curves[["trajectory_id", "epoch", *_metric_columns(curves, value)]]
        own = METRICS[value].complement or value if value in METRICS else value
        points, block = _over_epochs(
            points[known], curves, epoch, [name for name in known if name in distinguishing], own
        )
        return _aggregate(points, keys, value, block)
    return aggregate(points, keys, value)


def map_keys(points: pd.DataFrame, x: str, y: str, facet: Sequence[str] | str | None) -> list[str]:
    """Return the fields of a map: x, y and the facets. Raise AnalysisError if a field is unknown or occurs twice."""
    facets = facet_names(facet)
    keys = [x, y, *facets]
    if len(set(keys)) < len(keys):
        raise AnalysisError("facet", f"facet: given {', '.join(keys)} for x, y and facets; all must differ")
    for key, name in zip(("x", "y", *["facet"] * len(facets)), keys, strict=True):
        check_axis(points, key, name)
    return keys


def _metric_columns(curves: pd.DataFrame, value: str) -> list[str]:
    """Return the columns of the curves that `over_epochs` needs for a metric.

    If the metric is unknown, return the columns of all metrics.
    """
    own = METRICS[value].complement or value if value in METRICS else ""
    wanted = {own, *LOSSES} if own in curves else {*METRICS}
    return [name for name in curves.columns if name in wanted]


def facet_names(facet: Sequence[str] | str | None) -> list[str]:
    names = [] if facet is None else [facet] if isinstance(facet, str) else list(facet)
    if len(names) > 2:
        raise AnalysisError("facet", f"facet: given {len(names)} fields ({', '.join(names)}); valid are at most 2")
    return names


def one_facet(facet: Sequence[str] | str | None, kind: str) -> str | None:
    """Return the facet, or None, for a kind of figure that allows at most one facet."""
    names = facet_names(facet)
    if len(names) > 1:
        raise AnalysisError("facet", f"facet: given {', '.join(names)}; {kind} take one, beside hue")
    return names[0] if names else None


def over_epochs(points: pd.DataFrame, curves: pd.DataFrame | None, epoch: int | None = None) -> pd.DataFrame:
    """Return one row per training and evaluated epoch, with the measures of the curves.

    The table includes every epoch at which any training was evaluated. A row without a measurement has the outcome of
    its training, or `missing` if the training finished.

    Args:
        points: One row per point.
        curves: One row per training and evaluated epoch.
        epoch: The only epoch to return.

    Raises:
        AnalysisError: No training was evaluated at all, or at `epoch`.
    """
    return _over_epochs(points, curves, epoch)[0]


def _over_epochs(
    points: pd.DataFrame,
    curves: pd.DataFrame | None,
    epoch: int | None,
    kept: Sequence[str] | None = None,
    measure: str | None = None,
) -> tuple[pd.DataFrame, int]:
    """Return the rows of `over_epochs`, in one block per training, and the length of a block.

    Args:
        points: See `over_epochs`.
        curves: See `over_epochs`.
        epoch: See `over_epochs`.
        kept: The columns of the points to keep, or None for all settings.
        measure: The only measure of the curves to keep. If the curves lack it, all measures are kept.
    """
    if curves is None or curves.empty:
        raise AnalysisError("epoch", "epoch: given, but no training has been evaluated yet; leave epoch out")
    evaluated = np.sort(curves["epoch"].unique())
    if epoch is not None:
        if epoch not in evaluated:
            raise unknown("epoch", epoch, (int(e) for e in evaluated))
        evaluated, curves = np.array([epoch]), curves[curves["epoch"] == epoch]
    fields = [field for field in FIELDS if field in points.columns and field != "epochs"]
    trainings = points.sort_values("epochs") if "epochs" in points else points
    trainings = trainings.drop_duplicates(["trajectory_id", *fields], keep="last")
    if kept is None:
        kept = ["trajectory_id", *fields, *[c for c in ("parameters", "epochs", "randomization") if c in points]]
    of_training = np.repeat(np.arange(len(trainings)), len(evaluated))
    place = _places(trainings["trajectory_id"], evaluated, curves)
    # A training that diverged or failed later counts as finished at the epochs where all of its losses are finite.
    finite = np.isfinite(curves[[name for name in LOSSES if name in curves]]).all(axis=1).to_numpy()
    sound = (place >= 0) & finite.take(place)
    ended, names = pd.factorize(trainings["outcome"].astype(str).replace("finished", "missing"))
    outcome = np.where(sound, 0, np.repeat(ended + 1, len(evaluated)))
    measures = [name for name in METRICS if name in curves.columns]
    columns: dict[str, Any] = {name: trainings[name].array.take(of_training) for name in kept if name != "epoch"}
    columns["epoch"] = np.tile(evaluated, len(trainings))
    for name in [measure] if measure in measures else measures:
        columns[name] = curves[name].array.take(place, allow_fill=True)
    columns["outcome"] = pd.Categorical.from_codes(outcome, ["finished", *names])
    # Do not copy, since the columns are new and can have millions of rows.
    return pd.DataFrame(columns, copy=False), len(evaluated)


def _places(trainings: pd.Series, epochs: np.ndarray, curves: pd.DataFrame) -> np.ndarray:
    """Return a flat array with the curve row of each training and epoch (ascending), or -1 if there is none."""
    ids = pd.Index(trainings.unique())
    named = curves["trajectory_id"].astype("category").cat
    known, names = named.codes.to_numpy(), named.categories
    own = ids.get_indexer(names.astype(ids.dtype))[known]
    row_of = np.full((len(ids) + 1, len(epochs)), -1)  # last row: trainings without a point
    row_of[own, np.searchsorted(epochs, curves["epoch"])] = np.arange(len(curves))
    return row_of[ids.get_indexer(trainings)].ravel()
