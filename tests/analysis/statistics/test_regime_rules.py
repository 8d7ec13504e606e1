from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.statistics.regime_rules import DoshiRule, LiuRule
from analysis.statistics.regimes import name_regimes


def points(train: float, test: float, noise: float = 0.0, kind: str = "symmetric", **columns: object) -> pd.DataFrame:
    row = {"trajectory_id": "a", "train_accuracy": train, "test_accuracy": test, "label_noise": noise,
           "label_noise_kind": kind, "outcome": "finished", "epochs": 100, "dataset_size": 1000.0,
           "batch_size": 100}  # fmt: skip
    return pd.DataFrame([{**row, **columns}])


# --- Doshi et al. 2024


@pytest.mark.parametrize(
    ("train", "test", "noise", "regime"),
    [
        (0.95, 0.95, 0.3, "coexistence"),
        (0.90, 0.90, 0.3, "coexistence"),
        (0.80, 0.95, 0.3, "partial inversion"),
        (0.75, 0.95, 0.3, "partial inversion"),
        (0.65, 0.95, 0.4, "partial inversion"),
        (0.74, 0.95, 0.3, "full inversion"),
        (0.10, 0.90, 0.9, "full inversion"),
        (0.95, 0.89, 0.3, "memorization"),
        (0.89, 0.89, 0.3, "confusion"),
        (0.89, 0.95, 0.0, "full inversion"),
    ],
)
def test_doshi_by_hand(train: float, test: float, noise: float, regime: str) -> None:
    assert name_regimes(points(train, test, noise), "doshi2024")[0] == regime


def test_the_corrupted_fraction_of_uniform_noise_leaves_out_the_true_class() -> None:
    # q = 0.4 over 10 classes: ξ = 0.36, so partial inversion from 0.69 and not from 0.65.
    given = points(0.67, 0.95, 0.4, "uniform")
    assert name_regimes(given, "doshi2024", chance=0.1)[0] == "full inversion"
    assert name_regimes(given.assign(label_noise_kind="pair"), "doshi2024")[0] == "partial inversion"
    with pytest.raises(AnalysisError, match=r"chance: not given; the rule of Doshi et al\. needs 1/classes"):
        name_regimes(given, "doshi2024")
    assert name_regimes(points(0.95, 0.95, 0.0, "uniform"), "doshi2024")[0] == "coexistence"


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100), st.integers(50, 99))
def test_doshi_is_the_published_table_in_whole_percent(train: int, test: int, noise: int, level: int) -> None:
    if test >= level:
        bound = 105 - noise
        expected = "coexistence" if train >= level else "partial inversion" if train >= bound else "full inversion"
    else:
        expected = "memorization" if train >= level else "confusion"
    frame = points(train / 100, test / 100, noise / 100)
    assert name_regimes(frame, DoshiRule(level=level / 100))[0] == expected


def test_doshi_without_an_accuracy_is_undecided() -> None:
    assert name_regimes(points(math.nan, 0.95), "doshi2024").isna().all()
    assert name_regimes(points(0.95, math.nan), "doshi2024").isna().all()


# --- Liu et al. 2022


def curve(*rows: tuple[int, float, float], trajectory: str = "a") -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["epoch", "train_accuracy", "test_accuracy"])
    return frame.assign(trajectory_id=trajectory, train_loss=1.0, test_loss=1.0)


LATE = curve((1, 0.2, 0.1), (10, 0.9, 0.2), (50, 1.0, 0.5), (110, 1.0, 0.9), (111, 1.0, 0.95))


@pytest.mark.parametrize(
    ("epochs", "rows", "regime"),
    [
        (100, curve((1, 0.5, 0.4), (10, 0.95, 0.6), (20, 1.0, 0.92)), "comprehension"),
        (100, curve((1, 0.5, 0.9), (10, 0.95, 0.95)), "comprehension"),
        # 1000 examples in batches of 100 are 10 updates per epoch, so 100 epochs are the 1000 updates of the rule.
        (200, LATE, "comprehension"),
        (100, LATE, "memorization"),
        (5, LATE, "confusion"),
        (200, curve((10, 0.9, 0.2), (111, 1.0, 0.9)), "grokking"),
        (100, curve((1, 0.5, 0.4), (10, 0.95, 0.6)), "memorization"),
        (100, curve((1, 0.5, 0.4), (10, 0.89, 0.89)), "confusion"),
    ],
)
def test_liu_by_hand(epochs: int, rows: pd.DataFrame, regime: str) -> None:
    assert name_regimes(points(1, 1, epochs=epochs), "liu2022", curves=rows)[0] == regime


def test_what_fell_again_had_still_reached_it() -> None:
    rows = curve((1, 0.95, 0.95), (10, 0.5, 0.5))
    assert name_regimes(points(0.5, 0.5), "liu2022", curves=rows)[0] == "comprehension"


def test_steps_count_the_examples_that_are_trained_on() -> None:
    rows = curve((10, 0.9, 0.2), (111, 1.0, 0.9))

    def named(**columns: object) -> str:
        return str(name_regimes(points(1, 1, epochs=200, **columns), "liu2022", curves=rows, full_size=1000)[0])

    assert named() == "grokking"
    # 101 epochs of 9 updates are 909.
    assert named(validation_fraction=0.1) == "comprehension"
    assert named(subset_fraction=0.7) == "comprehension"
    assert named(dataset_size=None) == "grokking"
    assert named(dataset_size=901.0) == "grokking"
    assert named(dataset_size=900.0) == "comprehension"


def test_liu_gives_no_name_to_test_accuracy_alone_or_to_what_was_never_evaluated() -> None:
    frame = pd.concat([points(0.6, 0.95), points(0.6, 0.95, trajectory_id="b")], ignore_index=True)
    assert name_regimes(frame, "liu2022", curves=curve((1, 0.5, 0.4), (10, 0.6, 0.95))).isna().all()


def test_liu_says_what_it_needs() -> None:
    with pytest.raises(AnalysisError, match=r"curves: not given; the rule of Liu et al\. needs the evaluated epochs"):
        name_regimes(points(1, 1), "liu2022")
    with pytest.raises(AnalysisError, match="full_size: not given, and dataset_size is unset"):
        name_regimes(points(1, 1, epochs=200, dataset_size=None), "liu2022", curves=LATE)
    with pytest.raises(AnalysisError, match="gap_steps: given -1; valid is a number of at least 0"):
        LiuRule(gap_steps=-1)
    with pytest.raises(AnalysisError, match="level: given 90; valid is a number of 0 to 1"):
        DoshiRule(level=90)


def test_the_gap_can_be_set() -> None:
    rows = curve((1, 0.95, 0.2), (3, 1.0, 0.9))
    assert name_regimes(points(1, 1), LiuRule(gap_steps=19), curves=rows)[0] == "grokking"
    assert name_regimes(points(1, 1), LiuRule(gap_steps=20), curves=rows)[0] == "comprehension"
    assert "19 updates" in LiuRule(gap_steps=19).words
