"""Build tables of invented trainings, in the form of the tables of a store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.claims import Evidence
from analysis.tables.derived import with_derived
from lightning_modules.settings import DEFAULTS

FIELDS = {**DEFAULTS, "dataset_size": 4000, "epochs": 100}
MEASURES = (
    "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy",
    "clean_accuracy", "memorized_fraction", "recovered_fraction", "bits_memorized", "critical_sample_ratio",
    "loss_sensitivity_gini", "forgetting_events",
)  # fmt: skip
Row = Mapping[str, Any]
Tables = Callable[..., Evidence]


def tables(rows: Iterable[Row], examples: pd.DataFrame | None = None) -> Evidence:
    """Build tables from rows of fields and measures. `curve` maps epochs to measures; the point has the last ones."""
    points, curves = [], []
    for row in rows:
        fields = {name: row.get(name, default) for name, default in FIELDS.items()}
        training = repr([value for name, value in fields.items() if name != "epochs"])
        ids = {"trajectory_id": hashlib.blake2b(training.encode(), digest_size=10).hexdigest()}
        outcome = row.get("outcome", "finished")
        history = row.get("curve") or {fields["epochs"]: {name: row[name] for name in MEASURES if name in row}}
        finished = outcome == "finished"
        last = history[max(history)] if finished else {}
        blank = dict.fromkeys(MEASURES, np.nan)
        parameters = row.get("parameters", 1000)
        points.append({"point_id": ids["trajectory_id"] + str(fields["epochs"]), **ids, **fields, **blank, **last,
                       "parameters": parameters, "epoch": fields["epochs"] if finished else np.nan,
                       "outcome": outcome})  # fmt: skip
        if finished:
            sound = {"train_loss": 1.0, "test_loss": 1.0}
            curves += [
                {**ids, **fields, **blank, **sound, **values, "epoch": epoch, "outcome": "finished",
                 "parameters": parameters}
                for epoch, values in history.items()
            ]  # fmt: skip
    table = pd.DataFrame(points)
    evaluated = pd.DataFrame(curves, columns=None if curves else [*table.columns])
    none = pd.DataFrame(columns=["trajectory_id", "epoch", "measure", "split", "example_id", "value"])
    return Evidence(with_derived(table, evaluated), evaluated, none if examples is None else examples)


@pytest.fixture(name="tables", scope="session")
def tables_fixture() -> Tables:
    return tables
