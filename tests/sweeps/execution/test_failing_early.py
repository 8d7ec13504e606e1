"""What all trainings have in common fails a few of them and not all, and what trains is never left out for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.tables.points import failures, points_table
from lightning_modules.training.entry import Entry
from lightning_modules.training.train import CohortResult, train_cohort
from sweeps.execution.defaults import FEWEST_FAILURES, SAME_REASON
from sweeps.execution.halving import kind_of, most_failures
from sweeps.execution.inline import Inline
from sweeps.execution.on_ray.executor import RayTune
from sweeps.execution.protocol import CohortEnded, Event
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.store import Store

STOPPING = "early_stopping: {scheduler: asha, metric: test_accuracy}"


def planned(trainings: int, max_cohort: int | None = None, more: str = "", model: str = "linear") -> Plan:
    fixed = f"{{data: digits, dataset_size: 20, batch_size: 20, epochs: 2, model: {model}}}"
    text = f"name: broken\nfixed: {fixed}\ngrid: {{seed: {list(range(trainings))}}}\n{more}"
    return Plan.of(parse_sweep(text, "broken.yaml"), Packing(max_cohort=max_cohort))


@dataclass
class Broken:
    """A `train_cohort` that raises if a stack has one of the seeds `bad`, and records the seeds of all stacks."""

    bad: Collection[int]
    stacks: list[list[int]] = field(default_factory=list)
    reason: Callable[[int], str] = lambda seed: f"shapes [{seed}, 40] and [50, 8] do not fit"

    def __call__(self, entries: Sequence[Entry], *more: Any, **options: Any) -> CohortResult:
        self.stacks.append([entry.settings.seed for entry in entries])
        for seed in self.stacks[-1]:
            if seed in self.bad:
                raise ValueError(self.reason(seed))
        return train_cohort(entries, *more, **options)


def outcomes(plan: Plan, store: Store) -> dict[int, str]:
    rows = points_table(plan, store.read()).to_pylist()
    return {row["seed"]: row["outcome"] for row in rows}


def executed(plan: Plan, store: Store, train: Broken, max_failures: int | None = None) -> list[CohortEnded]:
    events: list[Event] = []
    Inline(train=train, max_failures=max_failures).execute(plan, store, events.append)
    return [event for event in events if isinstance(event, CohortEnded)]


def test_a_cohort_of_which_all_fail_for_one_reason_is_not_halved_to_the_end(tmp_path):
    plan, store, train = planned(64), Store(tmp_path / "store"), Broken(range(64))
    (ended,) = executed(plan, store, train)
    assert Counter(outcomes(plan, store).values()) == {"failed": SAME_REASON, "missing": 64 - SAME_REASON}
    assert ended.untried == 64 - SAME_REASON
    assert [failure.outcome for failure in ended.failures] == ["failed"] * SAME_REASON
    assert sorted(map(len, train.stacks), reverse=True)[:4] == [64, 32, 16, 8]
    assert len(train.stacks) == 3 + 2 * SAME_REASON - 1
    tried = [stack[0] for stack in train.stacks if len(stack) == 1]
    assert tried != sorted(tried), "the members that are tried are a sample, not neighbours"


def test_reasons_that_differ_are_found_member_by_member(tmp_path):
    plan, store = planned(16), Store(tmp_path / "store")
    train = Broken(range(16), reason=lambda seed: "odd" if seed % 2 else "even")
    (ended,) = executed(plan, store, train, max_failures=None)
    assert ended.untried == 0
    assert Counter(outcomes(plan, store).values()) == {"failed": 16}


def test_as_many_are_tried_as_the_user_lets_fail(tmp_path):
    plan, store = planned(16), Store(tmp_path / "store")
    (ended,) = executed(plan, store, Broken(range(16)), max_failures=100)
    assert ended.untried == 0
    assert outcomes(plan, store) == dict.fromkeys(range(16), "failed")


@settings(max_examples=12, deadline=None)
@given(bad=st.sets(st.integers(0, 15)), max_failures=st.none() | st.integers(1, 20))
def test_who_fails_does_so_alone_and_who_trains_is_never_recorded_as_failed(bad, max_failures):
    with TemporaryDirectory() as folder:
        plan, store, train = planned(16), Store(Path(folder) / "store"), Broken(bad)
        (ended,) = executed(plan, store, train, max_failures)
        found = outcomes(plan, store)
        by = {outcome: {seed for seed in found if found[seed] == outcome} for outcome in {*found.values()}}
        assert by.get("failed", set()) <= bad
        assert by.get("finished", set()) <= {*range(16)} - bad
        assert by.get("failed", set()) <= {stack[0] for stack in train.stacks if len(stack) == 1}
        assert ended.untried == len(by.get("missing", ()))
        if ended.untried:
            assert "finished" not in by
            assert len(by["failed"]) == (max_failures or SAME_REASON)


@pytest.mark.parametrize("stopping", ["", STOPPING])
@pytest.mark.parametrize(("max_failures", "failed"), [(3, 3), (None, FEWEST_FAILURES), (1000, 24)])
def test_a_run_starts_nothing_more_after_so_many_failures(tmp_path, stopping, max_failures, failed):
    model = '"memsweep.testing.networks:failing"'
    plan, store, events = planned(24, 1, stopping, model), Store(tmp_path / "store"), []
    Inline(max_failures=max_failures).execute(plan, store, events.append)
    found = Counter(outcomes(plan, store).values())
    assert found["failed"] == failed
    assert found["missing"] == 24 - failed
    assert sum(len(event.failures) for event in events if isinstance(event, CohortEnded)) == failed


def test_a_lane_of_which_all_fail_for_one_reason_tries_a_few(tmp_path):
    plan = planned(32, None, STOPPING, '"memsweep.testing.networks:failing"')
    store, events = Store(tmp_path / "store"), []
    Inline().execute(plan, store, events.append)
    found = Counter(outcomes(plan, store).values())
    assert found == {"failed": SAME_REASON, "missing": 32 - SAME_REASON}
    ended = [event for event in events if isinstance(event, CohortEnded)]
    assert sum(event.untried for event in ended) == 32 - SAME_REASON
    assert len(failures(plan, store.read(["reason"]))) == SAME_REASON


def test_the_next_run_tries_what_was_not_tried_and_leaves_the_failed(tmp_path):
    plan, store, train = planned(16), Store(tmp_path / "store"), Broken(range(16))
    executed(plan, store, train)
    left = plan.without(store.done())
    assert len(left.trainings) == 16 - SAME_REASON
    executed(left, store, Broken(()))
    assert Counter(outcomes(plan, store).values()) == {"failed": SAME_REASON, "finished": 16 - SAME_REASON}


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize(("stopping", "max_cohort"), [("", 2), (STOPPING, 2), (STOPPING, 1)])
def test_a_run_on_ray_starts_nothing_more_after_so_many_failures(ray_on_two_cores, tmp_path, stopping, max_cohort):
    model = '"memsweep.testing.networks:failing"'
    plan, store, events = planned(60, max_cohort, stopping, model), Store(tmp_path / "store"), []
    RayTune(max_failures=6).execute(plan, store, events.append)
    found = Counter(outcomes(plan, store).values())
    assert {*found} == {"failed", "missing"}
    assert 6 <= found["failed"] <= 20, "those in training end, and no others start"
    assert sum(len(event.failures) for event in events if isinstance(event, CohortEnded)) == found["failed"]
    RayTune(max_failures=1000).execute(plan.without(store.done()), store, events.append)
    assert Counter(outcomes(plan, store).values()) == {"failed": 60}


def test_the_default_is_a_share_of_the_trainings():
    assert [most_failures(trainings, None) for trainings in (1, 100, 101, 500)] == [10, 10, 11, 50]
    assert most_failures(500, 3) == 3


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("RuntimeError: mat1 (20x64) and mat2 (65x8)\ntrace", "RuntimeError: mat1 (10x64) and mat2 (65x8)", True),
        ("TypeError: <Net at 0x7fa1>", "TypeError: <Net at 0x7fb2>", True),
        ("TypeError: no", "ValueError: no", False),
        ("", "", True),
    ],
)
def test_reasons_are_compared_without_their_numbers(one, other, same):
    assert (kind_of(one) == kind_of(other)) == same
