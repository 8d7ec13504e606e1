"""Tests of a worker with a cohort that may exceed its memory, or that a lost worker has already stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from analysis.tables.points import points_table
from lightning_modules.data import sources
from lightning_modules.training.entry import Entry
from lightning_modules.training.train import CohortResult, train_cohort
from sweeps.execution.inline import Inline
from sweeps.execution.worker import Worker, train_and_store
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.leases import Run
from sweeps.store.store import Store

SWEEP = """
name: large
fixed: {data: digits, dataset_size: 40, width: 300, depth: 2, epochs: 20}
grid: {seed: [0, 1, 2, 3, 4, 5, 6, 7]}
"""


def planned(text: str = SWEEP) -> Plan:
    return Plan.of(parse_sweep(text, "large.yaml"), Packing())


@dataclass
class Recorder:
    """A `train_cohort` that records the numbers of members and epochs of each stack."""

    stacks: list[tuple[int, int]] = field(default_factory=list)
    error: Exception | None = None
    """The error to raise for stacks of one epoch, whose memory is being measured, or None."""

    def __call__(self, entries: Sequence[Entry], *more: Any, **options: Any) -> CohortResult:
        if entries[0].settings.epochs == 1 and self.error:
            raise self.error
        self.stacks.append((len(entries), entries[0].settings.epochs))
        return train_cohort(entries, *more, **options)


def trained(store: Store, plan: Plan, train: Recorder, **more: Any) -> Any:
    (cohort,) = plan.cohorts
    worker = Worker(Run.begin(store.location), train=train, **more)
    return train_and_store(cohort, sources.load("digits"), store, worker, lambda epoch: None)


def test_a_cohort_above_its_workers_memory_is_measured_and_trained_in_parts(tmp_path, undisturbed):
    plan, store, train = planned(), Store(tmp_path / "store"), Recorder()
    whole = undisturbed(plan)
    room = int(3.5 * plan.trainings[0].cost.bytes)
    assert trained(store, plan, train, bytes=room).failures == ()
    stacks = train.stacks
    assert stacks[:2] == [(2, 1), (4, 1)], "the probe"
    assert all(1 <= members <= 6 and epochs == 20 for members, epochs in stacks[2:])
    assert sum(members for members, _ in stacks[2:]) == 8
    assert points_table(plan, store.read()).equals(whole)


@pytest.mark.parametrize(("room", "epochs"), [(0, 20), (100, 20), (0.5, 2)])
def test_it_is_not_measured_where_that_is_not_worth_it(tmp_path, room, epochs):
    """The cases are unknown memory, plenty of memory, and a training that is hardly longer than the measurement."""
    plan, store = planned(SWEEP.replace("epochs: 20", f"epochs: {epochs}")), Store(tmp_path / "store")
    train = Recorder()
    trained(store, plan, train, bytes=int(room * plan.cohorts[0].cost.bytes))
    assert train.stacks == [(8, epochs)]


def test_a_probe_that_raises_is_no_failure(tmp_path):
    plan, store, train = planned(), Store(tmp_path / "store"), Recorder(error=RuntimeError("cannot be measured"))
    assert trained(store, plan, train, bytes=1).failures == ()
    assert train.stacks == [(8, 20)]


def test_what_a_lost_worker_had_stored_is_not_trained_again(tmp_path: Path):
    plan, store = planned(), Store(tmp_path / "store")
    Inline().execute(plan, store, lambda event: None)
    other = Store(tmp_path / "other")
    part = next((tmp_path / "store" / "parts").glob("*.parquet"))
    other.prepare()
    (tmp_path / "other" / "parts" / part.name).write_bytes(part.read_bytes())
    train = Recorder()
    assert trained(other, plan, train, again=True).failures == ()
    assert train.stacks == []
