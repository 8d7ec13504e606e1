"""Tests of the text of a plan against golden text at a fixed speed."""

from __future__ import annotations

import json

import pytest

from sweeps.planning.explain import _duration, _quantity, explain, predicted_seconds, summary
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.planning.speed import REFERENCE, Speed
from sweeps.planning.throughput import Measured, Throughput
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.done import Done

SPEED = Speed(coefficients={**dict.fromkeys(REFERENCE, 0.0), "flop": 3e-9, "evaluation flop": 1e-9})
"""A speed of 1 GFLOP/s, whatever the number of members."""

STUDY = """
name: study
fixed: {data: digits, depth: 1}
grid:
  width: [8, 64]
  label_noise: [0, 0.5]
  epochs: [5, 20]
  seed: [0, 1, 2]
"""


def study() -> Plan:
    return Plan.of(parse_sweep(STUDY, "s.yaml"), Packing(workers=2, max_cohort=4, speed=SPEED))


def rows(plan: Plan, trainings: int) -> Done:
    return Done(frozenset((t.id, epoch) for t in plan.trainings[:trainings] for epoch in t.evaluated))


def test_a_sweep_half_done():
    plan = study()
    assert explain(plan.without(rows(plan, 2))) == (
        "study: 24 points, 4 done, 20 to train\n"
        "folding  10 trainings for 20 points: 200 epochs instead of 250 (20% saved)\n"
        "packing  4 cohorts for 10 trainings, at most 3 members; --max-cohort 4\n"
        "cost     6.41 GFLOP, up to 6.29 MB per worker\n"
        "time     about 3 s on 2 workers (of a typical core; measured as it trains)\n"
        "\n"
        "cohorts, longest first\n"
        "     2 × 3 members   20 epochs  mlp width 64 on 1,437 examples of digits\n"
        "     2 × 2 members   20 epochs  mlp width 8 on 1,437 examples of digits"
    )


def test_measures_on_demand_are_named_with_their_epochs():
    text = STUDY + "measure: [forgetting, {example_correctness: [1, 5]}, {input_gradient: [5]}]\n"
    (line,) = [row for row in explain(Plan.of(parse_sweep(text, ""))).splitlines() if row.startswith("measure")]
    assert line == (
        "measure  forgetting, example_correctness at epochs 1, 5, input_gradient at epoch 5; "
        "their time is estimated roughly"
    )


def test_early_stopping_is_named_as_it_was_set():
    text = STUDY + "early_stopping: {scheduler: asha, metric: train_loss, grace_period: 5}\nstop_when: {budget: 15}\n"
    (line,) = [row for row in explain(Plan.of(parse_sweep(text, ""))).splitlines() if row.startswith("stopping")]
    assert line == (
        "stopping asha(train_loss min, grace 5, factor 3, 1 bracket), stop at 15 epochs; the estimates are of what "
        "would be trained without it"
    )


def test_a_training_too_large_for_a_worker_is_warned_of():
    tight = Packing(workers=2, bytes_per_worker=100_000, speed=SPEED)
    text = explain(Plan.of(parse_sweep(STUDY, "s.yaml"), tight))
    (line,) = [line for line in text.splitlines() if line.startswith("memory")]
    assert line == (
        "memory   a training alone takes up to 2.1 MB, but a worker has 100 kB: it may be killed; "
        "fewer --workers have more each"
    )


def test_a_sweep_all_done():
    plan = study()
    assert explain(plan.without(rows(plan, 99))) == "study: 24 points, 24 done, 0 to train\nnothing to train"


def test_one_untrained_network_is_singular():
    plan = Plan.of(parse_sweep("name: one\nfixed: {model: linear, epochs: 0}", ""))
    assert explain(plan) == (
        "one: 1 point, 0 done, 1 to train\n"
        "folding  1 training for 1 point: 0 epochs instead of 0 (0% saved)\n"
        "packing  1 cohort for 1 training, at most 1 member\n"
        "cost     4 MFLOP, up to 596 kB per worker\n"
        "time     about 1 s on 1 worker (of a typical core; measured as it trains)\n"
        "\n"
        "cohorts, longest first\n"
        "     1 × 1 member    0 epochs   linear on 4,000 examples of mnist1d"
    )


def test_many_kinds_are_cut_short():
    plan = Plan.of(parse_sweep(f"name: many\nfixed: {{depth: 1}}\ngrid: {{width: {list(range(1, 15))}}}", ""))
    lines = explain(plan).splitlines()
    assert lines[-1] == "  and 2 other kinds"
    assert len(lines) == 7 + 12 + 1
    assert lines[7].endswith("mlp width 14 on 4,000 examples of mnist1d")


def test_the_summary_is_json_and_agrees_with_the_text():
    plan = study()
    said = json.loads(json.dumps(summary(plan)))
    assert said["flops"] == pytest.approx(sum(cohort.cost.flops for cohort in plan.cohorts))
    assert said["bytes_per_worker"] == max(cohort.cost.bytes for cohort in plan.cohorts)
    counts = {"points": 24, "done": 0, "missing": 24, "trajectories": 12, "cohorts": 4, "workers": 2}
    assert {name: said[name] for name in counts} == counts
    nothing = summary(plan.without(rows(plan, 99)))
    assert (nothing["cohorts"], nothing["largest_cohort"], nothing["seconds"]) == (0, 0, 0.0)


def test_the_time_is_that_of_the_busiest_worker():
    plan = study()
    seconds = [plan.seconds(cohort) for cohort in plan.cohorts]
    assert seconds == pytest.approx([cohort.cost.flops / 1e9 for cohort in plan.cohorts])
    # The longest cohorts come first: two of the larger width at the same time, then two of the smaller width.
    assert [cohort.members[0].settings.width for cohort in plan.cohorts] == [64, 64, 8, 8]
    assert predicted_seconds(plan) == pytest.approx(seconds[0] + seconds[2])
    alone = Plan.of(parse_sweep(STUDY, ""), Packing(workers=1, max_cohort=4, speed=SPEED))
    assert predicted_seconds(alone) == pytest.approx(sum(alone.seconds(cohort) for cohort in alone.cohorts))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (999.6, "1 kB"),
        (1000, "1 kB"),
        (1234567, "1.23 MB"),
        (999.7e9, "1 TB"),
        (5e18, "5 EB"),
    ],
)
def test_quantities_keep_three_digits(value, text):
    assert _quantity(value, "B") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (89, "89 s"), (91, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (86400, "24.0 h")],
)
def test_durations(seconds, text):
    assert _duration(seconds) == text


def test_the_start_of_a_run_is_named():
    started = Packing(workers=2, max_cohort=4, speed=SPEED, startup_seconds=9.0)
    plan = Plan.of(parse_sweep(STUDY, "s.yaml"), started)
    (line,) = [line for line in explain(plan).splitlines() if line.startswith("time")]
    assert line == "time     about 12 s on 2 workers, 9 s of it to start (of a typical core; measured as it trains)"
    assert predicted_seconds(plan) == 9.0 + predicted_seconds(study())
    assert summary(plan)["seconds_to_start"] == 9.0


def test_what_was_measured_is_named():
    stacks = tuple(Measured(training.work, 4, epoch=0.1) for training in study().trainings[:2])
    measured = Packing(workers=2, max_cohort=4, speed=Speed(Throughput("core", stacks)))
    plan = Plan.of(parse_sweep(STUDY, "s.yaml"), measured)
    assert summary(plan)["estimate"] == "from 2 stacks measured here"
