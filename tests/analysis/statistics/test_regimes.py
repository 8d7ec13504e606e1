from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.statistics.regime_rules import Evidence
from analysis.statistics.regimes import DIVERGED, RULES, RelativeRule, find_rule, name_regimes

Sweep = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]
NAN = math.nan


def points(*rows: tuple[float, float, float], **columns: object) -> pd.DataFrame:
    """Build points from rows of (train accuracy, test accuracy, memorized fraction)."""
    frame = pd.DataFrame(rows, columns=["train_accuracy", "test_accuracy", "memorized_fraction"])
    return frame.assign(data="mnist1d", model="mlp", outcome="finished").assign(**columns)


# The best is 0.6 and chance 0.1, so the rule counts as learned from an accuracy of 0.1 + 0.8 * 0.5 = 0.5 on.
BEST = (0.6, 0.6, 0.0)
STRICT = RelativeRule(learned=0.8)


@pytest.mark.parametrize(
    ("row", "regime"),
    [
        ((0.5, 0.55, 0.1), "generalizing"),
        ((0.9, 0.55, 0.5), "coexisting"),
        ((1.0, 0.35, 0.97), "memorizing"),
        ((0.2, 0.15, 0.1), "underfit"),
        ((0.5, 0.49, 0.49), "underfit"),
        ((1.0, 0.1, 1.0), "memorizing"),
        # Without corrupted labels, (train - test) / (1 - test) of the examples that would be wrong unseen are learned.
        ((1.0, 0.55, NAN), "generalizing"),
        ((1.0, 0.3, NAN), "memorizing"),
        ((0.7, 0.3, NAN), "memorizing"),
        ((0.6, 0.3, NAN), "underfit"),
        ((0.3, 0.3, NAN), "underfit"),
        ((0.2, 0.3, NAN), "underfit"),
    ],
)
def test_a_table_by_hand(row: tuple[float, float, float], regime: str) -> None:
    assert name_regimes(points(row, BEST), STRICT, chance=0.1)[0] == regime


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.one_of(st.just(NAN), st.floats(0, 1))), min_size=1, max_size=6
    ),
    st.sampled_from([0.1, 0.5]),
    st.floats(0.1, 1),
    st.floats(0.1, 1),
)
def test_every_finished_training_has_the_regime_of_the_definition(
    rows: list[tuple[float, float, float]], chance: float, learned: float, fitted: float
) -> None:
    frame = points(*rows)
    named = name_regimes(frame, RelativeRule(learned=learned, fitted=fitted), chance=chance)
    best = max(test for _, test, _ in rows)
    for (train, test, memorized), regime in zip(rows, named, strict=True):
        rule = test >= chance + learned * (best - chance) and test >= chance + 0.1
        if math.isnan(memorized):
            noise = not rule and train - test >= fitted * (1 - test) - 1e-12
            assert regime != "coexisting"
        else:
            noise = memorized >= fitted
        expected = {(1, 0): "generalizing", (1, 1): "coexisting", (0, 1): "memorizing", (0, 0): "underfit"}
        if math.isnan(memorized) and not rule and abs((train - test) - fitted * (1 - test)) < 1e-9:
            continue  # on the border, where the two forms of the quotient round differently
        assert regime == expected[int(rule), int(noise)]


def test_by_default_half_the_way_and_half_the_labels_do() -> None:
    frame = points((0.9, 0.35, 0.5), (0.9, 0.35, 0.49), (0.9, 0.34, 0.5), (0.9, 0.34, 0.49), BEST)
    assert list(name_regimes(frame, chance=0.1)[:4]) == ["coexisting", "generalizing", "memorizing", "underfit"]


def test_the_best_is_that_of_the_same_data_and_model() -> None:
    frame = points((0.5, 0.9, 0.0), (0.5, 0.5, 0.0), (0.5, 0.5, 0.0), model=["mlp", "mlp", "linear"])
    assert list(name_regimes(frame, STRICT, chance=0.1)) == ["generalizing", "underfit", "generalizing"]
    other_data = frame.assign(data=["a", "b", "c"])
    assert list(name_regimes(other_data, STRICT, chance=0.1)) == ["generalizing"] * 3


def test_a_reference_raises_the_best_and_one_training_that_broke_does_not() -> None:
    frame = points((0.5, 0.5, 0.0))
    assert name_regimes(frame, STRICT, chance=0.1)[0] == "generalizing"
    sweep = points((0.9, 0.9, 0.0))
    assert name_regimes(frame, STRICT, chance=0.1, reference=sweep)[0] == "underfit"
    assert name_regimes(frame, STRICT, chance=0.1, reference=sweep.assign(outcome="diverged"))[0] == "generalizing"
    assert name_regimes(frame, STRICT, chance=0.1, reference=sweep.assign(model="linear"))[0] == "generalizing"


def test_accuracy_near_chance_is_never_a_rule_learned() -> None:
    random_labels = points((1.0, 0.12, 1.0), (0.3, 0.11, 0.2))
    assert list(name_regimes(random_labels, chance=0.1)) == ["memorizing", "underfit"]


def test_what_did_not_finish_is_diverged_or_missing_and_never_underfit() -> None:
    frame = points(*[(0.5, 0.5, 0.0)] * 4, outcome=["finished", "diverged", "failed", "missing"])
    named = name_regimes(frame.set_index(pd.Index([9, 4, 7, 1])), chance=0.1)
    assert list(named.index) == [9, 4, 7, 1]
    assert list(named[:2]) == ["generalizing", DIVERGED]
    assert named[2:].isna().all()
    unmeasured = name_regimes(points((0.5, NAN, 0.3), (0.5, 0.9, 0.0)), chance=0.1)
    assert unmeasured.isna().tolist() == [True, False]
    nothing = name_regimes(points((NAN, NAN, NAN), outcome="missing"), chance=0.1)
    assert nothing.isna().all()


def test_only_the_train_accuracy_is_missing() -> None:
    named = name_regimes(points((NAN, 0.55, NAN), (NAN, 0.2, NAN), BEST), chance=0.1)
    assert named[0] == "generalizing"
    assert named.isna().tolist() == [False, True, False]


def test_larger_networks_memorize_what_smaller_ones_resist(sweep: Sweep) -> None:
    frame, _ = sweep(parameter_count=[100, 500, 100_000], label_noise=[0.0, 0.2, 0.6])
    named = name_regimes(frame, chance=0.1)
    grid = pd.Series(named.astype(str)).groupby([frame["parameter_count"], frame["label_noise"]]).first().unstack()
    assert (grid[0.0] == "generalizing").all()
    assert grid.loc[100_000, 0.6] == "memorizing"
    assert grid.loc[100, 0.6] == "generalizing"


@pytest.mark.parametrize("threshold", ["learned", "fitted", "margin"])
def test_thresholds_can_be_set_within_their_range_and_are_said(threshold: str) -> None:
    rule = replace(RelativeRule(), **{threshold: 0.37})
    assert "37" in rule.words
    with pytest.raises(FrozenInstanceError):
        rule.learned = 0.5  # type: ignore[misc]
    with pytest.raises(AnalysisError, match=f"{threshold}: given 1.5; valid is a number of 0 to 1"):
        replace(RelativeRule(), **{threshold: 1.5})


def test_the_numbers_behind_the_relative_thresholds_are_said() -> None:
    frame = points(BEST, (0.5, 0.3, 0.2))
    rule = STRICT
    assert rule.stated(frame, Evidence(0.1)) == "best clean test accuracy 60 %, needed 50 %, chance 10 %"
    assert "chance not known, taken as 0" in rule.stated(frame, Evidence())
    two = points(BEST, (0.5, 0.3, 0.2), model=["mlp", "linear"])
    assert rule.stated(two, Evidence(0.1)).startswith("best clean test accuracy 30 % to 60 %, needed 26 % to 50 %")
    assert rule.stated(frame.assign(outcome="missing"), Evidence(0.1)) == ""


def test_a_named_series_is_categorical_in_the_order_of_its_legend() -> None:
    named = name_regimes(points(BEST), chance=0.1)
    assert (named.name, list(named.cat.categories)) == ("regime", [*RelativeRule.regimes, DIVERGED])


def test_rules_are_found_by_name() -> None:
    assert [find_rule(name) for name in RULES] == list(RULES.values())
    mine = RelativeRule(learned=0.5)
    assert find_rule(mine) is mine
    with pytest.raises(AnalysisError, match=r"rule: given 'doshi'; did you mean doshi2024\? valid: relative, "):
        find_rule("doshi")


@pytest.mark.parametrize("name", list(RULES))
def test_every_regime_is_explained_by_its_rule(name: str) -> None:
    rule = RULES[name]
    assert all(regime in rule.words for regime in rule.regimes)
    assert len(set(rule.regimes)) == len(rule.regimes)
    assert not np.isin(DIVERGED, rule.regimes)
