"""Tests of estimated times: in their direction of change, and against what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.planning.plan import resolved
from sweeps.planning.speed import GPU, REFERENCE, REFERENCE_CALL, REFERENCE_RATE, Speed
from sweeps.planning.throughput import Measured, Throughput
from sweeps.planning.work import Work, effort_of_measures, slowdown_of_measures, work_of
from sweeps.spec.point import Point

BASE = {"data": "mnist1d", "model": "mlp", "width": 64, "depth": 2, "batch_size": 100, "dataset_size": 1000}
MORE = {"width": (64, 65), "depth": (2, 3), "dataset_size": (1000, 1100), "dropout": (0.0, 0.2),
        "augment_noise": (0.0, 0.1), "optimizer": ("sgd", "adamw"), "precision": ("float32", "float64")}  # fmt: skip


def work(**fields: object) -> Work:
    return work_of(resolved(Point(**{**BASE, **fields})))


def after(*stacks: Measured) -> Speed:
    return Speed(Throughput("core", stacks))


@pytest.mark.parametrize(("name", "values"), MORE.items())
def test_more_work_takes_longer(name, values):
    less, more = (Speed().epoch(work(**{name: value}), 8) for value in values)
    assert less < more


@pytest.mark.parametrize("coefficients", [REFERENCE, GPU])
@given(members=st.integers(1, 300), width=st.integers(1, 300))
def test_more_members_take_longer_and_share_what_is_fixed(coefficients, members, width):
    speed, shape = Speed(coefficients=coefficients), work(width=width)
    for time in (speed.epoch, speed.evaluation, speed.fixed):
        assert 0 < time(shape, members) <= time(shape, members + 1)
    assert speed.epoch(shape, 2) < 2 * speed.epoch(shape, 1)


def test_stacks_beyond_the_cache_cost_more_per_member():
    small, large = (Speed(cache_bytes=size * 2**20).epoch(work(width=512), 12) for size in (64, 4))
    assert small < large


def test_convolutions_are_counted_apart():
    network = work(model="convnet", width=25, depth=3)
    assert 0 < network.columns < network.flops
    assert work().columns == 0


def test_a_faster_core_takes_less_time():
    fast = Speed(Throughput("core", core_rate=2 * REFERENCE_RATE, call_seconds=REFERENCE_CALL / 2))
    assert fast.epoch(work(), 8) == pytest.approx(Speed().epoch(work(), 8) / 2)


def test_a_cohort_is_its_parts():
    speed, shape = Speed(), work()
    parts = speed.fixed(shape, 8) + 20 * speed.epoch(shape, 8) + 5 * speed.evaluation(shape, 8)
    assert speed.cohort(shape, 8, epochs=20, evaluations=5) == pytest.approx(parts)


class TestAfterTraining:
    @given(factor=st.floats(0.2, 5.0), members=st.sampled_from([1, 4, 24]))
    def test_what_was_measured_is_estimated_as_measured(self, factor, members):
        default, shape = Speed(), work()
        epoch, evaluation, fixed = (
            factor * time(shape, members) for time in (default.epoch, default.evaluation, default.fixed)
        )
        speed = after(Measured(shape, members, fixed, epoch, epoch + evaluation))
        assert speed.epoch(shape, members) == pytest.approx(epoch, rel=0.05)
        assert speed.evaluation(shape, members) == pytest.approx(evaluation, rel=0.05)
        assert speed.fixed(shape, members) == pytest.approx(fixed, rel=0.05)

    def test_epochs_that_are_all_evaluated_correct_both_parts_alike(self):
        default, shape = Speed(), work()
        whole = 2 * (default.epoch(shape, 8) + default.evaluation(shape, 8))
        speed = after(Measured(shape, 8, evaluated_epoch=whole))
        assert speed.epoch(shape, 8) + speed.evaluation(shape, 8) == pytest.approx(whole, rel=0.05)

    def test_stacks_that_are_alike_are_corrected_and_others_hardly(self):
        default, shape = Speed(), work()
        speed = after(Measured(shape, 8, epoch=3 * default.epoch(shape, 8)))

        def correction(other: Work, members: int) -> float:
            return speed.epoch(other, members) / default.epoch(other, members)

        far = [(work(model="convnet", width=25, depth=3), 8), (work(precision="float64", optimizer="adamw"), 64)]
        for near in [(work(width=70), 8), (shape, 10), (work(dataset_size=900), 8)]:
            assert 2.5 < correction(*near) <= 3.0
        for other in far:
            assert 1.0 <= correction(*other) < 1.3

    def test_a_slow_size_is_avoided(self):
        """A stack of 24 that turned out slow leaves the estimates of small stacks nearly as they were."""
        default, shape = Speed(), work()
        speed = after(Measured(shape, 24, epoch=4 * default.epoch(shape, 24)))
        assert speed.epoch(shape, 4) < 1.5 * default.epoch(shape, 4)
        assert speed.epoch(shape, 24) > 3.8 * default.epoch(shape, 24)

    def test_one_tiny_sweep_does_not_mislead_about_large_ones(self):
        """Fixed costs dominate a tiny sweep, so its operations per second say nothing about larger networks."""
        tiny = work(width=2, depth=1, dataset_size=20, batch_size=20)
        default = Speed()
        speed = after(Measured(tiny, 4, default.fixed(tiny, 4), default.epoch(tiny, 4), None))
        large = work(width=100)
        assert speed.cohort(large, 15, 60, 12) == pytest.approx(default.cohort(large, 15, 60, 12))

    def test_a_table_of_stacks_that_were_not_timed_corrects_nothing(self):
        assert after(Measured(work(), 8)).epoch(work(), 8) == Speed().epoch(work(), 8)

    def test_the_work_on_tables_is_that_of_the_shape_alone(self):
        assert work(seed=5, learning_rate=0.3, label_noise=0.5) == work()
        assert replace(work(), batch=50) != work()


def test_measures_on_demand_take_their_time():
    shape = work(dataset_size=1000, batch_size=100)
    assert slowdown_of_measures({5: ("forgetting",), 10: ("forgetting",)}) == pytest.approx(1.0)
    assert slowdown_of_measures({10: ("example_correctness",)}) == 0.0
    assert effort_of_measures({10: ("example_correctness", "forgetting")}, shape) == 0.0
    once, twice = (effort_of_measures(dict.fromkeys(at, ("critical_sample_ratio",)), shape) for at in ([3], [3, 5]))
    assert 0 < 2 * once == twice
    short, long = (effort_of_measures({epoch: ("loss_sensitivity",)}, shape) for epoch in (2, 4))
    assert 0 < 4 * short == long, "as the square of the updates"
    speed, both = Speed(), {4: ("loss_sensitivity", "forgetting")}
    assert speed.measures(shape, 8, {}) == 0.0
    assert speed.measures(shape, 8, both) == pytest.approx((long + 0.4) * speed.epoch(shape, 8))


def test_measurements_are_estimated_as_they_were_measured():
    default, shape = Speed(), work()
    searched, unrolled = ({4: (name,)} for name in ("critical_sample_ratio", "loss_sensitivity"))
    speed = after(Measured(shape, 8, measures=("critical_sample_ratio",), effort=3 * default.epoch(shape, 8)))
    assert speed.measures(shape, 8, searched) == pytest.approx(3 * default.measures(shape, 8, searched), rel=0.05)
    assert speed.measures(shape, 8, unrolled) == default.measures(shape, 8, unrolled)
    assert speed.epoch(shape, 8) == default.epoch(shape, 8)
