"""Tests that the median stopping rule, which computes each running mean once, decides as Ray's own class does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune import schedulers as rays

from sweeps.execution.on_ray import schedulers
from sweeps.spec.stopping import EarlyStopping
from sweeps.stopping.referee import Referee, Status

scores = st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0, float("nan"), float("inf"), None]) | st.floats(-1, 1)
curves = st.lists(st.lists(scores, min_size=5, max_size=5), min_size=2, max_size=6)


class _Trial:
    def __init__(self, trial_id: str) -> None:
        self.trial_id, self.epoch, self.over = trial_id, 1, False


def rays_own(stopping: EarlyStopping) -> Any:
    return rays.MedianStoppingRule(
        time_attr="epoch", metric=stopping.metric, mode=stopping.mode, grace_period=stopping.grace_period,
        min_samples_required=stopping.min_samples, min_time_slice=np.inf, hard_stop=True,
    )  # fmt: skip


@settings(max_examples=40)
@given(curves, curves, st.sampled_from(["max", "min"]), st.integers(1, 3), st.integers(1, 3), st.randoms())
def test_verdicts_and_means_are_rays_in_any_order_of_arrival(past, live, mode, grace, least, order):
    """Also after curves of earlier runs, for members that fail, and for results that arrive without the metric."""
    stopping = EarlyStopping("median", "score", mode, grace_period=grace, min_samples=least)
    both = [Referee(stopping, 5), Referee(stopping, 5, scheduler=rays_own(stopping))]
    assert type(both[0].scheduler) is schedulers.MedianStoppingRule
    for referee in both:
        for i, curve in enumerate(past):
            referee.recall(f"past {i}", [(at, {"score": score}) for at, score in enumerate(curve, 1)], over=True)
        referee.add_all(f"{i}" for i in range(len(live)))
    reported = [0] * len(live)
    while waiting := [i for i in range(len(live)) if both[0].status(f"{i}") in (Status.PENDING, Status.RUNNING)]:
        i, fails = order.choice(waiting), order.random() < 0.05
        verdicts = []
        for referee in both:
            if referee.status(f"{i}") is Status.PENDING:
                referee.start(f"{i}")
            if fails:
                referee.fail(f"{i}")
            else:
                verdicts.append(referee.report(f"{i}", reported[i] + 1, {"score": live[i][reported[i]]}))
        assert len({*verdicts}) <= 1
        reported[i] += 1
        mine, theirs = (referee.scheduler for referee in both)
        for (trial, time), (_, mean) in [*mine._known.items()]:
            (other,) = (each for each in theirs._results if each.trial_id == trial.trial_id)
            np.testing.assert_equal(mine._running_mean(trial, time), theirs._running_mean(other, time))
            assert isinstance(mean, float)


def test_a_mean_is_computed_once_per_trial_and_epoch(monkeypatch: pytest.MonkeyPatch):
    """So that the time per result does not grow with the number of evaluations."""
    computed: list[tuple[str, float]] = []
    own = rays.MedianStoppingRule._running_mean

    def counting(self: Any, trial: Any, time: float) -> Any:
        computed.append((trial.trial_id, time))
        return own(self, trial, time)

    monkeypatch.setattr(rays.MedianStoppingRule, "_running_mean", counting)
    referee = Referee(EarlyStopping("median", "score", "max"), 10)
    ids = [f"{i}" for i in range(20)]
    referee.add_all(ids)
    for member in ids:
        referee.start(member)
    for epoch in range(1, 10):
        for member in ids:
            referee.report(member, epoch, {"score": 1.0})
    assert len(computed) == len({*computed}) == 20 * 9 - 9  # at each epoch, none needs the mean of the last member


calls = st.tuples(st.integers(0, 3), st.booleans(), scores.filter(lambda score: score is not None))


@settings(max_examples=40)
@given(st.lists(calls, max_size=40))
def test_a_result_that_arrives_again_counts_twice_as_with_ray(arriving):
    """As the last result of a stopped trial does, also if others were compared with the trial before."""
    stopping = EarlyStopping("median", "score", "max", min_samples=1)
    rules = schedulers.median(stopping, 9), rays_own(stopping)
    trials = [_Trial(f"{i}") for i in range(4)]
    for index, again, score in arriving:
        trial = trials[index]
        trial.epoch += not again
        result = {"epoch": trial.epoch, "score": score}
        if trial.over:
            for rule in rules:
                rule.on_trial_complete(None, trial, result)
        else:
            mine, theirs = (rule.on_trial_result(None, trial, result) for rule in rules)
            assert mine == theirs
            trial.over = mine == "STOP"
        for other in [*rules[1]._results]:
            for epoch in range(1, other.epoch + 1):
                mine, theirs = (rule._running_mean(other, epoch) for rule in rules)
                np.testing.assert_equal(mine, theirs)
