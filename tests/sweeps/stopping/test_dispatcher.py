"""Tests of the dispatcher of a running sweep: where members train, which members join, and what a lost lane causes."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan, Training
from sweeps.spec.sweep_file import parse_sweep
from sweeps.stopping.dispatcher import LocalDispatcher, Report
from sweeps.stopping.referee import Verdict

SWEEP = """
name: judged
fixed: {data: digits, dataset_size: 120, validation_fraction: 0.25, model: mlp, depth: 1, epochs: 9}
grid: {width: [8, 9], label_noise: [0, 0.5], seed: [0, 1, 2]}
evaluate: every
early_stopping: {scheduler: SCHEDULER, metric: validation_loss}
"""


def planned(scheduler: str = "asha") -> Plan:
    return Plan.of(parse_sweep(SWEEP.replace("SCHEDULER", scheduler), "judged.yaml"), Packing(max_cohort=3))


def live(plan: Plan, **more) -> LocalDispatcher:
    assert plan.early_stopping
    return LocalDispatcher(plan.early_stopping, plan.trainings, **more)


def ids(members: Sequence[Training]) -> list[str]:
    return [member.id for member in members]


def wanted(plan: Plan, width: int) -> list[list[str]]:
    """Return the ids of the members of the two cohorts of a width."""
    return [ids(cohort.members) for cohort in plan.cohorts if cohort.members[0].settings.width == width]


def reports(members: Sequence[Training], epoch: int, losses: Sequence[float] = (0, 1, 2)) -> list[Report]:
    return [Report(member.id, epoch, {"validation_loss": loss}) for member, loss in zip(members, losses, strict=False)]


def test_places_are_filled_with_members_of_the_same_shape_in_the_plan_s_order():
    plan = planned()
    dispatcher, (first, second) = live(plan), wanted(plan, 8)
    begun = dispatcher.assign("0", first, 3)
    assert ids(begun) == first
    answer = dispatcher.report("0", reports(begun, 1), first[0], 0)
    assert answer.verdicts == (Verdict.CONTINUE, Verdict.STOP, Verdict.STOP)
    assert ids(answer.joining) == second[:2]
    assert ids(dispatcher.assign("1", second, 3)) == second[2:]
    assert dispatcher.report("1", [], second[0], 3).joining == ()
    assert dispatcher.assign("2", second, 3) == ()
    assert set(ids(dispatcher.assign("3", wanted(plan, 9)[0], 3))) == set(wanted(plan, 9)[0])


def test_nobody_joins_where_nobody_may():
    plan = planned()
    dispatcher, (first, _) = live(plan), wanted(plan, 8)
    assert dispatcher.report("0", reports(dispatcher.assign("0", first, 3), 1), first[0], None).joining == ()


def test_a_lane_that_was_lost_gets_its_members_again_and_hears_the_same():
    plan = planned()
    dispatcher, (first, second) = live(plan), wanted(plan, 8)
    begun = dispatcher.assign("0", first, 3)
    answer = dispatcher.report("0", reports(begun, 1), first[0], 0)
    assert ids(dispatcher.assign("1", second, 3)) == second[2:]
    # The members that the lane had stopped were not stored. They are trained again, at most as many as it has places.
    again = dispatcher.assign("0", first, 3)
    assert ids(again) == first
    repeated = dispatcher.report("0", reports(again, 1), first[0], 0)
    assert repeated.verdicts == answer.verdicts
    assert ids(repeated.joining) == ids(answer.joining)
    dispatcher.release(first[1:])
    assert dispatcher.report("0", [], first[0], 1).joining == ()


def test_what_a_lane_leaves_for_good_goes_to_others_of_its_shape():
    plan = planned()
    dispatcher, (first, second) = live(plan), wanted(plan, 8)
    dispatcher.assign("0", first, 3)
    dispatcher.assign("1", second, 3)
    assert ids(dispatcher.open_members("0", first[0])) == first
    assert ids(dispatcher.assign("0.0", first[:1], 1)) == first[:1]
    assert ids(dispatcher.report("1", [], second[0], 9).joining) == first[1:]
    assert dispatcher.open_members("2", first[0]) == ()
    assert {*ids(dispatcher.open_members("1", first[0]))} == {*first[1:], *second}


def test_what_another_run_trains_goes_to_who_asks_for_it_by_name():
    plan = planned()
    dispatcher, (first, second) = live(plan), wanted(plan, 8)
    dispatcher.assign("0", first, 3)
    dispatcher.defer(first[:2])
    assert set(ids(dispatcher.report("0", [], first[0], 9).joining)) == set(second)
    assert ids(dispatcher.open_members("1", first[0])) == first[:2]
    assert ids(dispatcher.assign("2", first[:2], 2)) == first[:2]
    dispatcher.defer(first[:2])
    dispatcher.mark_done_elsewhere(dict.fromkeys(first[:2], ()))
    assert dispatcher.open_members("1", first[0]) == ()


class Lanes:
    """Stand-ins for workers that train by counting, and that lose their members with probability `losses`."""

    def __init__(self, plan: Plan, draw: random.Random, losses: float) -> None:
        self.dispatcher = live(plan)
        self.draw = draw
        self.losses = losses
        self.training: dict[str, dict[str, int]] = {}
        """Lane -> member id -> number of epochs trained."""
        self.kept: dict[str, int] = {}
        self.stored: dict[str, int] = {}
        self.wanted = {str(lane): ids(cohort.members) for lane, cohort in enumerate(plan.cohorts)}

    def run(self) -> dict[str, int]:
        """Train all members, and return the last epoch of each member."""
        while self.wanted:
            lane = self.draw.choice(sorted(self.wanted))
            if lane in self.training and self.draw.random() < self.losses:
                del self.training[lane]
            elif lane not in self.training:
                self.training[lane] = {}
                self.join(lane, self.dispatcher.assign(lane, self.wanted[lane], 3))
            else:
                self.step(lane)
        return self.stored

    def step(self, lane: str) -> None:
        mine = self.training[lane]
        mine.update({member: epoch + 1 for member, epoch in mine.items()})
        told = [Report(member, epoch, {"validation_loss": loss(member, epoch)}) for member, epoch in mine.items()]
        answer = self.dispatcher.report(lane, told, self.wanted[lane][0], 3 - len(mine))
        for report, verdict in zip(told, answer.verdicts, strict=True):
            if verdict is Verdict.PAUSE:
                self.kept[report.member] = mine.pop(report.member)
                self.dispatcher.release([report.member])
            elif verdict is Verdict.STOP:
                self.store(report.member, mine.pop(report.member))
        self.join(lane, answer.joining)
        if not mine:
            left = self.dispatcher.open_members(lane, self.wanted[lane][0])
            del self.training[lane]
            if left:
                self.wanted[lane] = ids(left)
            else:
                del self.wanted[lane]

    def join(self, lane: str, members: Sequence[Training]) -> None:
        for member in ids(members):
            assert not any(member in others for others in self.training.values())
            assert len(self.training[lane]) < 3
            begun = self.kept.get(member, 0)
            curve = [(epoch, {"validation_loss": loss(member, epoch)}) for epoch in range(1, begun + 1)]
            if self.dispatcher.restore(member, curve):
                self.training[lane][member] = begun
            elif begun:
                self.store(member, begun)
            else:  # the member had ended when its lane was lost: train it again to get the same verdict
                self.training[lane][member] = 0

    def store(self, member: str, epoch: int) -> None:
        assert member not in self.stored
        self.stored[member] = epoch
        self.dispatcher.release([member])


def loss(member: str, epoch: int) -> float:
    return int(hashlib.blake2b(f"{member}{epoch}".encode(), digest_size=4).hexdigest(), 16) / 2**32


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.3]))
def test_every_member_is_over_once_whoever_comes_first_and_whatever_is_lost(scheduler, seed, losses):
    plan = planned(scheduler)
    stored = Lanes(plan, random.Random(seed), losses).run()
    assert set(stored) == {member.id for member in plan.trainings}
    if scheduler == "hyperband":  # waits for all members before it judges
        assert stored == Lanes(plan, random.Random(0), 0.0).run()
        assert sorted(set(stored.values())) == [1, 3, 9]


@pytest.mark.parametrize("value", [0.0, 10.0])
def test_those_of_an_earlier_run_are_what_new_ones_are_compared_with(value):
    plan = planned()
    first, _ = wanted(plan, 8)
    settled = {f"earlier {i}": [(1, {"validation_loss": value}), (9, {"validation_loss": value})] for i in range(9)}
    dispatcher = live(plan, settled=settled)
    answer = dispatcher.report("0", reports(dispatcher.assign("0", first, 1), 1, [5.0]), first[0], None)
    assert answer.verdicts == (Verdict.STOP if value < 5 else Verdict.CONTINUE,)


@pytest.mark.parametrize("scheduler", ["asha", "median", "hyperband"])
@pytest.mark.parametrize("value", [0.0, 10.0])
def test_those_that_another_run_ends_meanwhile_are_what_later_ones_are_compared_with(scheduler, value):
    plan = planned(scheduler)
    dispatcher, (first, _), (elsewhere, others) = live(plan), wanted(plan, 8), wanted(plan, 9)
    dispatcher.assign("1", elsewhere, 3)  # a lane is about to train them when it finds them in the store
    curve = [(epoch, {"validation_loss": value}) for epoch in (1, 3, 9)]
    dispatcher.mark_done_elsewhere({**dict.fromkeys(elsewhere, curve), others[0]: (), others[1]: curve})
    assert ids(dispatcher.open_members("1", elsewhere[0])) == others[2:]
    (begun, *_) = dispatcher.assign("0", first, 3)
    answer = dispatcher.report("0", reports([begun], 3, [5.0]), first[0], None)
    if scheduler == "hyperband":
        assert answer.verdicts != (Verdict.STOP,), "which waits for all members of a bracket"
    else:
        assert answer.verdicts == (Verdict.STOP if value < 5 else Verdict.CONTINUE,)
