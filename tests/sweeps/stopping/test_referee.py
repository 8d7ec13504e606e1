"""Tests of Ray's schedulers over members on small cases whose rungs, brackets and medians are computed by hand."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from sweeps.spec.stopping import SCHEDULERS, EarlyStopping, Plateau, StopWhen
from sweeps.stopping.referee import Referee, Status, Verdict

ASHA = EarlyStopping("asha", "score", "max")
HYPERBAND = EarlyStopping("hyperband", "score", "max")
MEDIAN = EarlyStopping("median", "score", "max", min_samples=2)
GO, PAUSE, STOP = Verdict


def running(settings: EarlyStopping, horizon: int, *ids: str) -> Referee:
    referee = Referee(settings, horizon)
    for member in ids:
        referee.add(member)
    for member in ids:
        referee.start(member)
    return referee


def told(referee: Referee, member: str, *scores: float | None, first: int = 1) -> list[Verdict]:
    return [referee.report(member, epoch, {"score": score}) for epoch, score in enumerate(scores, start=first)]


def test_the_words_are_rays():
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import TrialScheduler

    assert {status.value for status in Status} == {
        Trial.PENDING, Trial.RUNNING, Trial.PAUSED, Trial.TERMINATED, Trial.ERROR,
    }  # fmt: skip
    assert {verdict.value for verdict in Verdict} == {
        TrialScheduler.CONTINUE, TrialScheduler.PAUSE, TrialScheduler.STOP,
    }  # fmt: skip


@pytest.mark.parametrize("settings", [ASHA, HYPERBAND, MEDIAN, EarlyStopping()])
def test_the_scheduler_is_rays_own_and_travels(settings):
    from ray import cloudpickle, tune

    made = cloudpickle.loads(cloudpickle.dumps(SCHEDULERS[settings.scheduler].scheduler(settings, 27)))
    assert isinstance(made, tune.schedulers.TrialScheduler)
    rays = next(kind for kind in type(made).__mro__ if kind.__module__.startswith("ray.tune.schedulers."))
    for decides in ("on_trial_add", "on_trial_result", "on_trial_complete", "on_trial_remove", "choose_trial_to_run"):
        assert getattr(type(made), decides) is getattr(rays, decides)
    assert made.metric == settings.metric


class TestAsha:
    def test_compares_with_what_was_recorded_before(self):
        """The rungs are 1, 3 and 9. The first member is kept; a later one is stopped if it is not in the best third."""
        referee = running(ASHA, 9, *"abcd")
        assert told(referee, "a", 0.5) == [GO]
        assert told(referee, "b", 0.4) == [STOP]
        assert told(referee, "c", 0.6) == [GO]
        assert told(referee, "d", 0.52) == [STOP]  # numpy's percentile of 0.4, 0.5, 0.6 at 2/3 is 0.533...
        assert told(referee, "a", 0.1, 0.1, first=2) == [GO, GO]  # epoch 2 is no rung, and a is the first at rung 3
        assert told(referee, "c", 0.0, 0.0, first=2) == [GO, STOP]

    def test_the_horizon_ends_a_member_and_the_verdict_is_stop(self):
        referee = running(ASHA, 3, "a")
        assert told(referee, "a", 1, 2, 3) == [GO, GO, STOP]
        assert referee.status("a") == Status.TERMINATED
        assert referee.ended() == []

    def test_low_is_good_where_the_mode_is_min(self):
        referee = running(EarlyStopping("asha", "score", "min"), 9, *"ab")
        assert [*told(referee, "a", 0.5), *told(referee, "b", 0.4)] == [GO, GO]

    def test_brackets_are_drawn_by_id_and_seed_alone_and_numpy_is_left_as_it_was(self):
        settings = EarlyStopping("asha", "score", "max", brackets=3)
        ids = [f"m{i}" for i in range(40)]

        def stopped(order: Iterable[str], seed: int) -> set[str]:
            """Add members in an order, and return those that report a low score and have a bracket with rung 1."""
            referee = Referee(settings, 27, seed)
            for member in order:
                referee.add(member)
            for member in ids:
                referee.start(member)
            return {m for i, m in enumerate(ids) if told(referee, m, -i) == [STOP]}

        np.random.seed(1)
        before = np.random.get_state()[1].copy()
        once = stopped(ids, 0)
        assert (np.random.get_state()[1] == before).all()
        np.random.seed(2)
        assert once == stopped(reversed(ids), 0)
        assert once != stopped(ids, 1)
        assert 0 < len(once) < 39


class TestHyperBand:
    def test_pauses_halves_and_takes_up_again(self):
        """For 9 epochs and factor 3, the first bracket runs 3 members to the end. The second has room for 5 members,
        judges them at epoch 3 and continues 2 of them. The third has room for 9 and judges them at epoch 1."""
        ids = [f"m{i}" for i in range(8)]
        referee = running(HYPERBAND, 9, *ids)
        assert told(referee, "m0", *[0.0] * 9) == [GO] * 8 + [STOP]
        for i in (3, 4, 5, 6):
            assert told(referee, f"m{i}", i, i, i) == [GO, GO, PAUSE]
            assert referee.choose() is None
        assert told(referee, "m7", 0, 0, 0) == [GO, GO, STOP]
        assert referee.ended() == ["m3", "m4"]
        assert referee.ended() == []
        assert referee.choose() == "m5"
        referee.start("m5")
        assert referee.choose() == "m6"
        assert referee.waiting()
        assert told(referee, "m5", *[0.0] * 6, first=4) == [GO] * 5 + [STOP]
        assert [referee.status(m) for m in ids] == [
            "TERMINATED", "RUNNING", "RUNNING", "TERMINATED", "TERMINATED", "TERMINATED", "PAUSED", "TERMINATED",
        ]  # fmt: skip

    def test_the_last_one_may_go_on_at_once(self):
        referee = running(HYPERBAND, 9, *[f"m{i}" for i in range(8)])
        for i in (3, 4, 5, 6):
            told(referee, f"m{i}", i, i, i)
        assert told(referee, "m7", 9, 9, 9) == [GO, GO, GO]
        assert referee.ended() == ["m3", "m4", "m5"]
        assert referee.choose() == "m6"

    def test_a_failure_wakes_those_that_waited_for_it(self):
        referee = running(HYPERBAND, 9, *[f"m{i}" for i in range(8)])
        for i in (3, 4, 5, 6):
            told(referee, f"m{i}", i, i, i)
        assert not referee.waiting()
        referee.fail("m7")
        assert referee.status("m7") == Status.ERROR
        assert referee.ended() == ["m3", "m4"]
        assert referee.choose() == "m5"

    def test_those_that_ray_forgets_are_stopped(self):
        """In a later round, Ray halves a bracket only on a result. If the last running member fails, the paused ones
        would wait forever. For 27 epochs, the third bracket has 12 members up to epoch 3, 4 up to 9 and 2 up to 27."""
        ids = [f"m{i:02}" for i in range(4 + 6 + 12)]
        referee = running(HYPERBAND, 27, *ids)
        for member in ids[:10]:
            referee.fail(member)
        for i, member in enumerate(ids[10:]):
            told(referee, member, *[i] * 3)
        four = ids[-4:]
        assert len(referee.ended()) == 8
        for member in four[:-1]:
            referee.start(member)
        for member in four[:-1]:
            assert told(referee, member, *[1] * 6, first=4) == [GO] * 5 + [PAUSE]
        assert referee.ended() == []
        referee.fail(four[-1])
        assert referee.choose() is None
        assert referee.ended() == four[:-1]
        assert {referee.status(member) for member in four[:-1]} == {Status.TERMINATED}

    def test_among_is_in_its_own_order(self):
        referee = Referee(HYPERBAND, 9)
        for i in range(8):
            referee.add(f"m{i}")
        assert referee.choose() == "m0"
        assert referee.choose({"m4", "m7"}) == "m4"
        assert referee.choose(["m7"]) == "m7"
        assert referee.choose([]) is None
        assert {referee.status(f"m{i}") for i in range(8)} == {Status.PENDING}


class TestMedian:
    def test_compares_the_best_with_the_median_of_means(self):
        referee = running(MEDIAN, 9, *"abc")
        assert told(referee, "a", 0, 4) == [GO, GO]  # no other member to compare with
        assert told(referee, "b", 6, 6) == [GO, GO]  # one other member is too few
        assert told(referee, "c", 3) == [GO]  # the median of means 0 and 6
        assert told(referee, "c", 3, first=2) == [STOP]  # the median of means 2 and 6
        assert told(referee, "b", 0, first=3) == [GO]  # no other member has reached epoch 3

    def test_never_yields_its_place_to_those_that_wait(self):
        referee = Referee(MEDIAN, 9)
        for member in "abc":
            referee.add(member)
        referee.start("a")
        assert told(referee, "a", *[1] * 9) == [GO] * 8 + [STOP]


class TestOrder:
    @pytest.mark.parametrize("settings", [ASHA, MEDIAN, EarlyStopping()])
    def test_first_come_first_served(self, settings):
        referee = Referee(settings, 9)
        for member in "abc":
            referee.add(member)
        referee.add("a")
        assert referee.choose() == "a"
        assert referee.choose({"c", "b"}) == "b"
        for member in "bac":
            referee.start(member)
        assert not referee.waiting()
        assert referee.choose({"a"}) is None

    def test_who_runs_is_not_started_again(self):
        referee = running(ASHA, 9, "a")
        with pytest.raises(ValueError, match="a is RUNNING; a member that starts is PENDING or PAUSED"):
            referee.start("a")

    def test_who_waits_does_not_report(self):
        referee = Referee(ASHA, 9)
        referee.add("a")
        with pytest.raises(ValueError, match="a reports epoch 1 but is PENDING; start it first"):
            told(referee, "a", 1)


class TestRepetition:
    def test_an_epoch_heard_before_is_not_told_again(self):
        """If the repeated reports of a, whose lane was lost, counted twice, c would be stopped."""
        referee = running(ASHA, 9, *"abc")
        assert told(referee, "a", 0.5, 0.5) == [GO, GO]
        assert told(referee, "a", 9.0, 9.0) == [GO, GO]
        assert told(referee, "b", 0.4) == told(referee, "b", 0.4) == [STOP]
        assert told(referee, "c", 0.5, 0.5, 0.5) == [GO] * 3
        assert told(referee, "c", 0.5, 0.5, 0.5) == [GO] * 3

    def test_a_paused_member_that_is_repeated_pauses_where_it_paused(self):
        referee = running(HYPERBAND, 9, *[f"m{i}" for i in range(8)])
        assert told(referee, "m3", 1, 1, 1) == told(referee, "m3", 1, 1, 1) == [GO, GO, PAUSE]
        with pytest.raises(ValueError, match="is PAUSED"):
            told(referee, "m3", 1, first=4)

    def test_epoch_0_says_nothing_unless_it_is_the_last(self):
        assert running(ASHA, 9, "a").report("a", 0, {"score": 1}) is GO
        assert Referee(ASHA, {"a": 0, "b": 9}).settings is ASHA
        both = Referee(ASHA, {"a": 0, "b": 9})
        both.add("a")
        both.start("a")
        assert both.report("a", 0, {"score": 1}) is STOP


class TestMissing:
    @pytest.mark.parametrize("settings", [ASHA, HYPERBAND, MEDIAN])
    def test_a_result_without_the_metric_is_not_judged(self, settings):
        referee = running(settings, 3, *"abcd")
        for member in "abcd":
            assert told(referee, member, None, None, None) == [GO, GO, STOP]


class TestRules:
    def test_stop_a_member_before_the_scheduler_hears_of_it(self):
        settings = EarlyStopping("asha", "score", "max", stop_when=StopWhen(plateau=Plateau("score", "max", 1)))
        referee = running(settings, 9, "a", "b")
        assert told(referee, "a", 0.5, 0.4) == [GO, STOP]
        assert referee.status("a") == Status.TERMINATED
        assert told(referee, "b", 0.6, 0.7, 0.8, 0.9) == [GO] * 4


class TestRecall:
    def test_rungs_know_what_an_earlier_run_recorded(self):
        referee = Referee(ASHA, 9)
        referee.recall("old", [(1, {"score": 0.5}), (2, {"score": 0.5})], over=True)
        referee.recall("half", [(1, {"score": 0.3})])
        referee.add("new")
        assert referee.choose() == "half"  # continues, although its recorded score would stop it
        referee.start("half")
        referee.start("new")
        assert told(referee, "half", 0.3, 0.9) == [GO, GO]
        assert told(referee, "new", 0.4) == [STOP]
        assert referee.status("old") == Status.TERMINATED
        assert referee.report("old", 2, {"score": 0.5}) is STOP

    def test_a_run_that_goes_on_equals_one_that_was_never_interrupted(self):
        """After a recall of the first epochs of three members, the verdicts on all other epochs are the same."""
        rng = np.random.default_rng(5)
        scores = {member: rng.random(9) for member in "abcdef"}
        for settings in (ASHA, MEDIAN):
            whole = running(settings, 9, *"abcdef")
            first = {m: told(whole, m, *scores[m][:4]) for m in "abc"}
            over = {m: STOP in first[m] for m in first}
            rest = {m: told(whole, m, *scores[m][4:], first=5) for m in "abc" if not over[m]}
            rest |= {m: told(whole, m, *scores[m]) for m in "def"}
            resumed = Referee(settings, 9)
            for m in "abc":
                last = first[m].index(STOP) + 1 if over[m] else 4
                resumed.recall(m, [(e, {"score": scores[m][e - 1]}) for e in range(1, last + 1)], over[m])
            for m in "def":
                resumed.add(m)
            while chosen := resumed.choose():
                resumed.start(chosen)
            again = {m: told(resumed, m, *scores[m])[4:] for m in "abc" if not over[m]}
            again |= {m: told(resumed, m, *scores[m]) for m in "def"}
            assert again == rest
            assert any(STOP in verdicts[:-1] for verdicts in rest.values())

    def test_hyperband_waits_for_whom_it_has(self):
        referee = Referee(HYPERBAND, 9)
        referee.recall("old", [(1, {"score": 0.5})], over=True)
        for i in range(8):
            referee.recall(f"m{i}", [(1, {"score": 0.5}), (2, {"score": 0.5})])
            referee.start(f"m{i}")
        for i in (3, 4, 5, 6):
            assert told(referee, f"m{i}", i, first=3) == [PAUSE]
        assert told(referee, "m7", 0, first=3) == [STOP]
        assert referee.status("old") == Status.TERMINATED
