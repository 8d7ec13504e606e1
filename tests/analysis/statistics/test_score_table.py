"""Tests of the table of scores against sums by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.statistics.score_table import COLUMNS, score_table
from analysis.statistics.scores import score_error_bound

RIGHT = {"a": {1: 1, 2: 1, 3: 0}, "b": {1: 1, 2: 0, 3: 0}, "c": {1: 0, 2: 1, 3: 1}, "d": {1: 1, 2: 1, 3: 1}}
SEEN = {"a": {1, 2}, "b": {1, 3}, "c": {2, 3}, "d": {1, 3}}
TEST = {"a": {7: 1, 8: 0}, "b": {7: 1, 8: 1}, "c": {7: 0, 8: 0}, "d": {7: 1, 8: 1}}


def points(**fields: list) -> pd.DataFrame:
    return pd.DataFrame({"trajectory_id": list(RIGHT), "seed": range(4), "epochs": 5, **fields})


def examples() -> pd.DataFrame:
    rows = []
    for name, values in RIGHT.items():
        for example, value in values.items():
            rows.append((name, 5, "correct", "train" if example in SEEN[name] else "left_out", example, value))
        rows += [(name, 5, "correct", "test", example, value) for example, value in TEST[name].items()]
    return pd.DataFrame(rows, columns=["trajectory_id", "epoch", "measure", "split", "example_id", "value"])


def test_trainings_of_one_setting_are_taken_together() -> None:
    table = score_table(points(), examples())
    assert tuple(table.columns) == COLUMNS
    assert table["example_id"].tolist() == [1, 2, 3]
    assert table["seen"].tolist() == [3, 2, 3]
    assert table["left_out"].tolist() == [1, 2, 1]
    # Example 1 is right in a, b and d, which saw it, and wrong in c, which did not. Example 2 is right in both that saw
    # it and in one of two that did not. Example 3 is right in 2 of 3 and in 0 of 1.
    assert table["correct_seen"].tolist() == pytest.approx([1, 1, 2 / 3])
    assert table["correct_left_out"].tolist() == pytest.approx([0, 0.5, 0])
    assert table["memorization"].tolist() == pytest.approx([1, 0.5, 2 / 3])
    assert table["memorization_error"].tolist() == pytest.approx([score_error_bound(4, 1 / 3)] * 3)
    # Test example 7 is right if and only if 1 was seen. If 2 was seen, 7 is right in 1 of 2 and 8 in 0 of 2, else both
    # in 2 of 2. If 3 was seen, both are right in 2 of 3, else 7 in 1 of 1 and 8 in 0 of 1.
    assert table["most_influenced"].tolist() == [7, 7, 8]
    assert table["influence"].tolist() == pytest.approx([1, -0.5, 2 / 3])


def test_settings_are_kept_apart() -> None:
    table = score_table(points(label_noise=[0.0, 0.0, 0.5, 0.5]), examples())
    assert table.columns[0] == "label_noise"
    assert table["label_noise"].tolist() == [0.0] * 3 + [0.5] * 3
    clean = table[table["label_noise"] == 0].set_index("example_id")
    assert clean.loc[2, "memorization"] == 1  # right in a, which saw it, wrong in b
    assert np.isnan(clean.loc[1, "memorization"])  # a and b both saw it


def test_a_sweep_that_leaves_nothing_out_has_no_scores() -> None:
    whole = examples().assign(split=lambda frame: frame["split"].replace("left_out", "train"))
    with pytest.raises(AnalysisError, match="no training was measured on examples that it had not seen"):
        score_table(points(), whole)
