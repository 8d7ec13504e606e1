"""Tests of the times that workers measure, and that a run remembers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.execution.inline import Inline
from sweeps.execution.observer import Observer
from sweeps.execution.protocol import CohortEnded, Event, Progress, Timed
from sweeps.execution.stopwatch import Stopwatch
from sweeps.planning.explain import summary
from sweeps.planning.machine import processor
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Cohort, Plan
from sweeps.planning.speed import Speed
from sweeps.planning.throughput import Measured, Throughput, remembered
from sweeps.planning.work import effort_of_measures
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.store import Store

SWEEP = """
name: timed
fixed: {data: digits, dataset_size: 40, width: 4, depth: 1, epochs: 6}
grid: {seed: [0, 1, 2]}
evaluate: 2
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSWEEP_CACHE", str(tmp_path / "cache"))


def planned(text: str = SWEEP) -> Plan:
    return Plan.of(parse_sweep(text, "timed.yaml"), Packing(speed=Speed(Throughput("here"))))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def read(cohort: Cohort, epochs: list[tuple[int, float]], clock: Clock, monkeypatch: pytest.MonkeyPatch) -> object:
    """Let a training of one second besides its epochs pass, whose listener takes seven seconds per epoch."""

    def slow(epoch: int) -> None:
        clock.now += 7.0

    monkeypatch.setattr("sweeps.execution.stopwatch.time.thread_time", clock)
    stopwatch = Stopwatch(cohort, "cpu", slow)
    clock.now += 1.0
    for epoch, seconds in epochs:
        clock.now += seconds
        stopwatch.on_epoch(epoch)
    return stopwatch.read()


EPOCHS = [(1, 2.0), (2, 3.0), (3, 2.0), (4, 3.0), (5, 20.0), (6, 3.0)]
"""Every second epoch is evaluated, which takes a second, and epoch 5 was disturbed."""


def test_epochs_with_and_without_an_evaluation_are_told_apart(monkeypatch):
    (cohort,) = planned().cohorts
    epochs = [(epoch, 2.0 + (epoch % 2 == 0)) for epoch in range(1, 7)]
    monkeypatch.setattr(Stopwatch, "_used", True)
    assert read(cohort, epochs, Clock(), monkeypatch) == Measured(cohort.members[0].work, 3, 1.0, 2.0, 3.0)


def test_the_first_stack_of_a_process_tells_no_fixed_time(monkeypatch):
    (cohort,) = planned().cohorts
    monkeypatch.setattr(Stopwatch, "_used", False)
    epochs = [(epoch, 2.0) for epoch in range(1, 7)]
    fixed = [read(cohort, epochs, Clock(), monkeypatch).fixed for _ in range(2)]  # type: ignore[attr-defined]
    assert fixed == [None, 1.0]


def test_a_disturbed_epoch_does_not_count(monkeypatch):
    (cohort,) = planned(SWEEP.replace("evaluate: 2", "evaluate: 10")).cohorts
    measured = read(cohort, EPOCHS, Clock(), monkeypatch)
    assert measured == Measured(cohort.members[0].work, 3, measured.fixed, 3.0, 3.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", [
    SWEEP.replace("epochs: 6", "epochs: 3"),
    SWEEP + "measure: [forgetting]\n",
])  # fmt: skip
def test_short_trainings_and_slower_updates_tell_nothing(text, monkeypatch):
    (cohort,) = planned(text).cohorts
    epochs = EPOCHS[: cohort.epochs]
    assert read(cohort, epochs, Clock(), monkeypatch) is None


SEARCHED = SWEEP + "measure: [{critical_sample_ratio: [2, 4]}]\n"
SEARCHING = [(epoch, 2.0 + (epoch % 2 == 0) + 30.0 * (epoch in (2, 4))) for epoch in range(1, 7)]


def test_measurements_are_told_apart_from_epochs(monkeypatch):
    (cohort,) = planned(SEARCHED).cohorts
    work = cohort.members[0].work
    two = effort_of_measures({2: ("critical_sample_ratio",), 4: ("critical_sample_ratio",)}, work)
    assert read(cohort, SEARCHING, Clock(), monkeypatch) == Measured(
        work, 3, None, 2.0, 3.0, ("critical_sample_ratio",), pytest.approx(2 * 30.0 / two)
    )


def test_a_measurement_before_the_first_time_does_not_count(monkeypatch):
    (cohort,) = planned(SEARCHED.replace("[2, 4]", "[1, 4]")).cohorts
    work = cohort.members[0].work
    one = effort_of_measures({4: ("critical_sample_ratio",)}, work)
    epochs = [(1, 90.0), (2, 3.0), (3, 2.0), (4, 33.0), (5, 2.0), (6, 3.0)]
    measured = read(cohort, epochs, Clock(), monkeypatch)
    assert measured.effort == pytest.approx(30.0 / one)  # type: ignore[attr-defined]


def test_measurements_of_a_resumed_training_tell_nothing(monkeypatch):
    """The loss sensitivity replays the whole training, whatever was measured before the checkpoint."""
    (cohort,) = planned(SEARCHED).cohorts
    resumed = replace(cohort, members=tuple(replace(member, checkpoint=Resumed()) for member in cohort.members))
    measured = read(resumed, SEARCHING, Clock(), monkeypatch)
    assert (measured.effort, measured.epoch) == (None, 2.0)  # type: ignore[attr-defined]


class Resumed:
    epoch = 1


def test_a_run_remembers_what_it_trained(tmp_path):
    plan, events = planned(), []
    observer = Observer(plan, "inline", events.append)
    Inline().execute(plan, Store(tmp_path / "store"), observer)
    observer.save()
    (stack,) = remembered(processor()).stacks
    assert (stack.work, stack.members) == (plan.trainings[0].work, 3)
    assert stack.epoch
    assert stack.evaluated_epoch
    assert [*remembered("here").startups] == ["inline"]
    assert any(isinstance(event, CohortEnded) for event in events)
    again = replace(plan, packing=Packing(speed=Speed(remembered(processor()))))
    assert summary(again)["estimate"] == "from 1 stack measured here"
    assert again.packing.speed.epoch(stack.work, 3) == pytest.approx(stack.epoch, rel=0.05)


def test_the_start_of_a_run_is_the_time_before_its_first_event(monkeypatch):
    plan, clock = planned(), Clock()
    monkeypatch.setattr("sweeps.execution.observer.time.monotonic", clock)
    heard: list[Event] = []
    observer = Observer(plan, "ray", heard.append)
    clock.now = 5.0
    events: list[Event] = [
        Progress(0, 3),
        CohortEnded(0, measured=(Timed("there", Measured(plan.trainings[0].work, 3)),)),
    ]
    for event in events:
        observer(event)
    observer.save()
    assert heard == events
    half = plan.seconds(plan.cohorts[0]) / 2
    assert remembered("here").startups == {"ray": pytest.approx(5.0 - half)}
    assert (len(remembered("here").stacks), len(remembered("there").stacks)) == (0, 1)
