"""Tests of early stopping in a sweep file: each error is one sentence, and metrics that the sweep lacks are refused."""

from __future__ import annotations

import pytest

from sweeps.errors import SweepError
from sweeps.spec.stopping import EarlyStopping, Onset, Plateau, StopWhen
from sweeps.spec.stopping_file import of_scheduler
from sweeps.spec.sweep_file import load_sweep, parse_sweep

NOISY = {"data": "digits", "width": 4, "epochs": 20, "validation_fraction": 0.2, "label_noise": 0.2}
ASHA = "early_stopping: {scheduler: asha, metric: validation_accuracy}"


def text(stopping: str, more: str = "", **fixed: object) -> str:
    fields = ", ".join(f"{key}: {value}" for key, value in {**NOISY, **fixed}.items())
    return f"name: x\nfixed: {{{fields}}}\n{more}\n{stopping}\n"


def stopping(*words: str, **more: object) -> EarlyStopping | None:
    return parse_sweep(text("\n".join(words), **more), "s.yaml").early_stopping


def test_a_file_without_it_has_none():
    assert stopping() is None


def test_defaults_and_the_sense_of_the_metric():
    assert stopping(ASHA) == EarlyStopping("asha", "validation_accuracy", "max", 1, 3, 1)
    assert stopping("early_stopping: {scheduler: median, metric: test_loss}") == EarlyStopping(
        "median", "test_loss", "min", grace_period=1, min_samples=3
    )


def test_rules_alone_and_beside_a_scheduler():
    lines = "stop_when: {interpolated: 1, plateau: {metric: test_loss, patience: 5}, memorization_onset: 3, budget: 9}"
    rules = StopWhen(1, Plateau("test_loss", "min", 5), Onset(3), 9)
    assert stopping(lines) == EarlyStopping(stop_when=rules)
    assert stopping(ASHA, lines) == EarlyStopping("asha", "validation_accuracy", "max", stop_when=rules)


def test_the_full_variant_may_have_its_own_and_definition_keeps_it(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(text(ASHA, "full: {early_stopping: {scheduler: hyperband, metric: test_loss}}"))
    full = load_sweep(f"{path}-full")
    assert full.early_stopping == EarlyStopping("hyperband", "test_loss", "min")
    assert parse_sweep(full.definition(), "again") == full


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("early_stopping: asha", "early_stopping: given 'asha'; valid: a mapping with scheduler, metric, ..."),
        ("early_stopping: {scheduler: ash, metric: test_loss}",
         "early_stopping.scheduler: given 'ash'; did you mean asha? valid: asha, hyperband, median, none"),
        ("early_stopping: {scheduler: asha}", "early_stopping.metric: is needed; valid: bits_memorized, "),
        ("early_stopping: {scheduler: asha, metric: test_accuracies}",
         "early_stopping.metric: unknown measure; given 'test_accuracies'; did you mean test_accuracy? valid: "),
        ("early_stopping: {scheduler: asha, metric: weight_norm}",
         "early_stopping.mode: is needed: weight_norm does not say by itself which way is better; valid: max, min"),
        ("early_stopping: {scheduler: asha, metric: test_loss, mode: low}",
         "early_stopping.mode: given 'low'; valid: max, min"),
        ("early_stopping: {scheduler: hyperband, metric: test_loss, grace_period: 2}",
         "early_stopping.grace_period: given 2, but hyperband has no such setting; it has metric, mode, "
         "reduction_factor"),
        ("early_stopping: {scheduler: median, metric: test_loss, brackets: 2}",
         "early_stopping.brackets: given 2, but median has no such setting; it has metric, mode, grace_period, "
         "min_samples"),
        ("early_stopping: {scheduler: none, metric: test_loss}",
         "early_stopping.metric: given 'test_loss', but none has no such setting; it has none"),
        ("early_stopping: {scheduler: asha, metric: test_loss, grace_time: 2}",
         "early_stopping.grace_time: unknown key; given 'grace_time'; did you mean grace_period? valid: brackets, "),
        ("early_stopping: {scheduler: asha, metric: test_loss, grace_period: 0}",
         "early_stopping.grace_period: given 0; valid: a whole number of at least 1 and at most 1,000,000,000"),
        ("early_stopping: {scheduler: asha, metric: test_loss, reduction_factor: 1}",
         "early_stopping.reduction_factor: given 1; valid: a number of at least 1.01 and at most 1,000,000"),
        ("early_stopping: {scheduler: asha, metric: test_loss, reduction_factor: 1000000000000000000000000000000}",
         "early_stopping.reduction_factor: given 1000000000000000000000000000000; valid: a number of at least "),
        ("early_stopping: {scheduler: hyperband, metric: test_loss, reduction_factor: 1.0000001}",
         "early_stopping.reduction_factor: given 1.0000001; valid: a number of at least 1.01 and at most 1,000,000"),
        ("early_stopping: {scheduler: []}", "early_stopping.scheduler: given []; valid: asha, hyperband, median, none"),
        ("early_stopping: {scheduler: {asha: 1}}", "early_stopping.scheduler: given {'asha': 1}; valid: asha, "),
        ("early_stopping: {scheduler: asha, metric: [test_loss]}",
         "early_stopping.metric: unknown measure; given ['test_loss']; valid: bits_memorized, "),
        ("early_stopping: {scheduler: asha, metric: test_loss, brackets: true}",
         "early_stopping.brackets: given true; valid: a whole number of at least 1 and at most 1,000,000,000"),
        ("stop_when: {}", "stop_when: given {}; valid: a mapping with some of interpolated, plateau, "),
        ("stop_when: {budgets: 3}", "stop_when.budgets: unknown key; given 'budgets'; did you mean budget? valid: "),
        ("stop_when: {interpolated: 99}",
         "stop_when.interpolated: given 99; valid: a train_accuracy above 0 and at most 1"),
        ("stop_when: {budget: 0}", "stop_when.budget: given 0; valid: a whole number of epochs of at least 1 and "),
        ("stop_when: {plateau: {metric: test_loss}}",
         "stop_when.plateau: has no patience, which it needs; its keys: metric, mode, patience, tolerance"),
        ("stop_when: {plateau: {metric: test_loss, patience: 3, tolerance: -1}}",
         "stop_when.plateau.tolerance: given -1; valid: a number of at least 0 and at most 1,000,000"),
        ("stop_when: {memorization_onset: {evaluations: 2, metric: weight_norm}}",
         "stop_when.memorization_onset.metric: given 'weight_norm'; valid: an accuracy or a loss"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(lines, said):
    with pytest.raises(SweepError) as caught:
        parse_sweep(text(lines), "s.yaml")
    assert str(caught.value).startswith(f"s.yaml: {said}")


@pytest.mark.parametrize(
    ("lines", "fixed", "said"),
    [
        (ASHA, {"validation_fraction": 0},
         "early_stopping.metric: given validation_accuracy, but points have validation_fraction 0; hold a part of the "
         "training data out, or take another metric"),
        ("early_stopping: {scheduler: asha, metric: memorized_fraction, mode: min}", {"label_noise": 0},
         "early_stopping.metric: given memorized_fraction, but points have label_noise 0, where it is not defined; "
         "take another metric"),
        ("early_stopping: {scheduler: asha, metric: test_loss, grace_period: 21}", {},
         "early_stopping.grace_period: given 21, beyond the horizon of 20 epochs; valid: 1 to 20"),
        ("early_stopping: {scheduler: asha, metric: test_loss, brackets: 4}", {},
         "early_stopping.brackets: given 4, but there are 3 rungs up to the horizon of 20 epochs, and a bracket "
         "without a rung stops nothing; valid: 1 to 3"),
        ("early_stopping: {scheduler: asha, metric: forgetting_events, mode: min}", {},
         "early_stopping.metric: given forgetting_events, which is recorded only where the sweep asks for it; write "
         "measure: [{forgetting: [epochs]}]"),
        ("measure: [forgetting]\nearly_stopping: {scheduler: asha, metric: forgetting_events, mode: min}", {},
         "early_stopping.metric: given forgetting_events, but the sweep does not measure forgetting at the evaluated "
         "epochs 1, 2, 3, 4, 6, ...; name them under measure"),
        ("stop_when: {plateau: {metric: validation_loss, patience: 3}}", {"validation_fraction": 0},
         "stop_when.plateau.metric: given validation_loss, but points have validation_fraction 0; hold a part of "
         "the training data out, or take another metric"),
        ("stop_when: {memorization_onset: 2}", {"label_noise": 0},
         "stop_when.memorization_onset: needs label_noise above 0 on some points, and all have 0"),
        ("stop_when: {budget: 20}", {},
         "stop_when.budget: given 20, which stops nothing before the horizon of 20 epochs; valid: fewer than 20 "
         "epochs"),
    ],
)  # fmt: skip
def test_what_a_sweep_cannot_be_judged_by_is_refused(lines, fixed, said):
    sweep = parse_sweep(text(lines, **fixed), "s.yaml")
    with pytest.raises(SweepError) as caught:
        sweep.points()
    assert str(caught.value) == f"s.yaml: {said}"


def test_the_horizon_is_the_largest_epoch_asked_of_any_point():
    lines = "early_stopping: {scheduler: median, metric: test_loss, grace_period: 20}"
    sweep = parse_sweep(f"name: x\nfixed: {{data: digits, width: 4}}\ngrid: {{epochs: [2, 20]}}\n{lines}", "s.yaml")
    assert len(sweep.points()) == 2


def test_a_measure_taken_at_every_evaluated_epoch_may_judge():
    lines = "measure: [{forgetting: [1, 2, 3, 4]}]\nearly_stopping: {scheduler: asha, metric: never_learned, mode: min}"
    assert parse_sweep(text(lines, epochs=4), "s.yaml").points()


def test_no_part_of_the_data_may_lack_the_metric():
    """A sweep is refused even if only one of its points has no held-out examples."""
    sweep = parse_sweep(f"name: x\nfixed: {{data: digits}}\ngrid: {{validation_fraction: [0, 0.2]}}\n{ASHA}", "s.yaml")
    with pytest.raises(SweepError, match="but points have validation_fraction 0"):
        sweep.points()


def test_a_command_line_names_its_options():
    with pytest.raises(SweepError, match="--scheduler: metric: is needed"):
        of_scheduler("--scheduler", {"scheduler": "asha"})
