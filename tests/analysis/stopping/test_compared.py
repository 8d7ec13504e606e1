"""Tests of the settings that a study compares."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memsweep.testing.registrations import registrations

from analysis.stopping.compared import Question, i_epochs, question, settings_of
from sweeps.errors import SweepError
from sweeps.planning.plan import Plan
from sweeps.spec.stopping import SchedulerKind, register_scheduler
from sweeps.spec.sweep_file import parse_sweep

SWEEP = """
name: small
fixed: {data: digits, model: mlp, depth: 1, epochs: 9, validation_fraction: 0.2}
grid: {label_noise: [0, 0.4], width: [4, 8, 16, 32], learning_rate: [0.01, 0.1], seed: [0, 1, 2]}
evaluate: every
"""


def plan_of(text: str = SWEEP) -> Plan:
    return Plan.of(parse_sweep(text, "small.yaml"))


def test_what_is_compared():
    asked = question(plan_of(), [], [], 20, 8, [])
    assert asked == Question(("asha", "hyperband", "median"), ("validation_accuracy", "test_accuracy"), 20, 8, None)
    settings = settings_of(asked, 9)
    assert [each.words().replace("test_accuracy max, ", "") for each in settings["test_accuracy"]] == [
        "asha(grace 1, factor 3, 1 bracket)", "asha(grace 3, factor 3, 1 bracket)",
        "asha(grace 1, factor 2, 1 bracket)", "asha(grace 1, factor 4, 1 bracket)",
        "asha(grace 1, factor 3, 3 brackets)",
        "hyperband(factor 2)", "hyperband(factor 3)", "hyperband(factor 4)",
        "median(grace 1, 3 samples)", "median(grace 3, 3 samples)",
    ]  # fmt: skip
    without = question(plan_of(SWEEP.replace(", validation_fraction: 0.2", "")), ["median"], [], 2, 1, ["seed"])
    assert (without.metrics, without.schedulers, without.by) == (("test_accuracy",), ("median",), ("seed",))
    fraction = settings_of(replace(asked, metrics=("memorized_fraction",)), 9)["memorized_fraction"]
    assert {each.mode for each in fraction} == {"min"}


def test_the_rules_of_i_epoch_have_the_same_name_for_any_number_of_trainings():
    few, many = i_epochs("test_loss", 30, 12), i_epochs("test_loss", 30, 90)
    assert [*few] == [*many]
    assert len(few) == 3 * 3
    rule = many["i-epoch(test_loss min, 3 epochs, top 1 in 9)"]
    assert (rule.epochs, rule.keep, rule.mode) == (3, 10, "min")


def test_a_registered_scheduler_is_compared_with_each_of_its_settings():
    with registrations():
        register_scheduler("own", SchedulerKind("my_schedulers:own", ("reduction_factor", "min_samples")))
        asked = question(plan_of(), [], ["test_loss"], 1, 1, [])
        assert asked.schedulers == ("asha", "hyperband", "median", "own")
        settings = [each for each in settings_of(asked, 9)["test_loss"] if each.scheduler == "own"]
    assert [each.reduction_factor for each in settings] == [2, 3, 4]


def test_an_unknown_scheduler_is_named():
    with pytest.raises(SweepError, match="--scheduler: given 'pbt'; valid: asha, hyperband, median"):
        question(plan_of(), ["pbt"], [], 1, 1, [])
