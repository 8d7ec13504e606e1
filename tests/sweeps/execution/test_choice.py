"""Tests of the choice between Ray and this process, by the predicted time of a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sweeps.execution.choice import packed_for_this_process
from sweeps.execution.resources import local_resources
from sweeps.planning.explain import predicted_seconds
from sweeps.planning.plan import Plan
from sweeps.planning.throughput import remembered
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.done import Done

FOUR = "name: four\nfixed: {data: mnist1d, width: 16}\ngrid: {label_noise: [0, 0.4], seed: [0, 1], epochs: [EPOCHS]}\n"
STOPPED = "early_stopping: {scheduler: asha, metric: test_accuracy}\n"


def planned(text: str, workers: int = 2) -> Plan:
    return Plan.of(parse_sweep(text, "four.yaml"), local_resources(workers).packing(workers, None))


def test_four_points_of_five_epochs_train_in_this_process():
    on_ray = planned(FOUR.replace("EPOCHS", "5"))
    here = packed_for_this_process(on_ray)
    assert here is not None
    assert here.packing.workers == 1
    assert predicted_seconds(here) < predicted_seconds(on_ray)
    assert here.trainings == on_ray.trainings


def test_a_long_plan_trains_on_ray():
    assert packed_for_this_process(planned(FOUR.replace("EPOCHS", "5000"))) is None


@pytest.mark.parametrize(("startup", "inline"), [(0.0, False), (1000.0, True)])
def test_the_measured_start_of_ray_decides(startup, inline):
    on_ray = planned(FOUR.replace("EPOCHS", "200"))
    on_ray = replace(on_ray, packing=replace(on_ray.packing, startup_seconds=startup))
    assert (packed_for_this_process(on_ray) is not None) == inline


def test_a_slow_start_in_this_process_does_not_send_the_next_short_plan_to_ray():
    """The first run on a machine makes its data set."""
    device = local_resources(1, "inline").packing(1, None).speed.table.device
    remembered(device).with_startup("inline", 60.0).save()
    assert packed_for_this_process(planned(FOUR.replace("EPOCHS", "5"))) is not None


def test_early_stopping_and_a_plan_with_nothing_to_train_are_left_as_they_are():
    text = FOUR.replace("EPOCHS", "5")
    assert packed_for_this_process(planned(text + STOPPED)) is None
    assert packed_for_this_process(replace(planned(text), missing=()).without(Done())) is None


def test_the_limit_on_stacks_stays():
    on_ray = Plan.of(parse_sweep(FOUR.replace("EPOCHS", "5"), "x"), local_resources(2).packing(None, 1))
    here = packed_for_this_process(on_ray)
    assert here is not None
    assert [len(cohort.members) for cohort in here.cohorts] == [1] * 4
