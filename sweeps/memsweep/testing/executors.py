"""The contract of `sweeps.execution.protocol.Executor` as a pytest suite.

One small sweep is executed once per class, and every test checks its results. It contains dense, convolutional and
residual networks in both precisions, two kinds of noise, augmentation, dropout, a per-example measure, members that
diverge, and networks that raise.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memsweep.testing.networks import REASON, UNLUCKY

from analysis.tables.points import failures, points_table
from lightning_modules.streams import torch_generator
from sweeps.errors import StoreError
from sweeps.execution.inline import Inline
from sweeps.execution.protocol import CohortEnded, Executor, Progress
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.store import Store

SWEEP = """
name: contract
fixed: {data: digits, dataset_size: 120, validation_fraction: 0.1, batch_size: 32}
grid:
  - model: [mlp]
    width: [9]
    dropout: [0, 0.4]
    label_noise_kind: [uniform, pair]
    label_noise: [0.4]
    precision: [float64, float32]
    epochs: [1, 3]
  - model: [convnet]
    width: [3]
    depth: [2]
    dropout: [0.3]
    learning_rate: [0.01, 0.05]
    weight_decay: [0, 0.01]
    label_noise: [0.3]
    label_noise_kind: [symmetric]
    precision: [float32]
    epochs: [2]
  - model: [resnet]
    width: [2]
    depth: [1]
    input_noise: [0, 0.3]
    input_noise_kind: [random_pixels]
    rotation: [15]
    crop_flip: [1]
    learning_rate: [0.02, 1.0e+6]
    precision: [float64, float32]
    epochs: [2]
  - {model: ["memsweep.testing.networks:failing"], seed: [0, 1], epochs: [1]}
  - {model: ["memsweep.testing.networks:unlucky"], seed: [0, 1, 2, 3, 4], epochs: [1]}
measure: [forgetting, example_correctness]
"""
MAX_COHORT = 3


def plan_of(max_cohort: int, workers: int = 2) -> Plan:
    return Plan.of(parse_sweep(SWEEP, "contract.yaml"), Packing(workers=workers, max_cohort=max_cohort))


@dataclass
class Execution:
    """A plan, the store that holds its results, and the events that the listener received."""

    plan: Plan
    store: Store
    events: list[Progress | CohortEnded] = field(default_factory=list)
    listeners: set[tuple[int, int]] = field(default_factory=set)
    """The pairs (process id, thread id) in which the listener was called."""

    def listen(self, event: Progress | CohortEnded) -> None:
        self.events.append(event)
        self.listeners.add((os.getpid(), threading.get_ident()))

    @property
    def points(self) -> pa.Table:
        return points_table(self.plan, self.store.read())

    @property
    def examples(self) -> pa.Table:
        return self.store.read_examples({cell.trajectory_id for cell in self.plan.cells}).table

    def trainings(self, **fields: object) -> set[str]:
        """Return the ids of the trainings whose points have these field values."""
        return {
            cell.trajectory_id
            for cell in self.plan.cells
            if all(getattr(cell.point, name) == value for name, value in fields.items())
        }

    def outcomes(self) -> dict[str, str]:
        """Return the outcome of each training that did not finish."""
        return {row["trajectory_id"]: row["outcome"] for row in failures(self.plan, self.store.read(["reason"]))}


@lru_cache(maxsize=1)
def trained_one_by_one() -> tuple[pa.Table, pa.Table]:
    """Train every member of the sweep alone with the inline executor, and return the points and examples."""
    with tempfile.TemporaryDirectory() as folder:
        alone = Execution(plan_of(max_cohort=1), Store(Path(folder) / "store"))
        Inline().execute(alone.plan, alone.store, alone.listen)
        return alone.points, alone.examples


class BookkeepingSuite:
    """Tests that every executor passes, including fakes that do not train.

    Subclasses define the fixture `executor`, of scope "class", which returns the executor.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def execution(cls, executor: Executor, tmp_path_factory: pytest.TempPathFactory) -> Execution:
        execution = Execution(plan_of(MAX_COHORT), Store(tmp_path_factory.mktemp("executed") / "store"))
        executor.execute(execution.plan, execution.store, execution.listen)
        return execution

    def test_every_training_leaves_a_record_and_the_store_then_covers_the_plan(self, execution: Execution) -> None:
        assert execution.plan.without(execution.store.done()).missing == ()
        assert execution.store.read().damaged == {}
        points = execution.points
        assert "missing" not in set(points["outcome"].to_pylist())
        finished = points.filter(pa.compute.equal(points["outcome"], "finished"))
        assert finished["train_loss"].null_count == finished["test_accuracy"].null_count == 0

    def test_the_listener_hears_once_of_every_stored_cohort(self, execution: Execution) -> None:
        stored = [event.cohort for event in execution.events if isinstance(event, CohortEnded)]
        assert sorted(stored) == list(range(len(execution.plan.cohorts)))
        progress = [event for event in execution.events if isinstance(event, Progress)]
        assert all(0 < event.epochs <= execution.plan.cohorts[event.cohort].epochs for event in progress)

    def test_the_listener_hears_in_this_process_and_from_one_thread(self, execution: Execution) -> None:
        ((process, _),) = execution.listeners
        assert process == os.getpid()

    def test_the_listener_hears_of_every_training_that_did_not_finish(self, execution: Execution) -> None:
        stored = [event for event in execution.events if isinstance(event, CohortEnded)]
        reported = {failure.trajectory_id: failure.outcome for event in stored for failure in event.failures}
        assert reported == execution.outcomes()

    def test_each_cohort_is_a_part_of_its_own(self, execution: Execution) -> None:
        """A cohort that raises an error is an exception: it is stored as the halves that its retries train."""
        parts = [
            frozenset(pq.read_table(path, columns=["trajectory_id"])["trajectory_id"].to_pylist())
            for path in (Path(execution.store.uri) / "parts").glob("*.parquet")
        ]
        cohorts = [frozenset(member.id for member in cohort.members) for cohort in execution.plan.cohorts]
        failed = {training for training, outcome in execution.outcomes().items() if outcome == "failed"}
        whole = [cohort for cohort in cohorts if not cohort & failed]
        assert len(whole) >= 8
        assert Counter(parts) & Counter(whole) == Counter(whole)
        assert sum(map(len, parts)) == sum(map(len, cohorts)), "no training is in two parts"

    def test_a_store_that_cannot_be_written_ends_the_run(self, executor: Executor, tmp_path: Path) -> None:
        (tmp_path / "store").write_text("a file where the store should be")
        with pytest.raises(StoreError, match="cannot be written"):
            executor.execute(plan_of(MAX_COHORT), Store(tmp_path / "store"), lambda event: None)


class ExecutorSuite(BookkeepingSuite):
    """Tests of the full executor contract, including the trained results. Subclasses define the fixture `executor`."""

    def test_no_bit_depends_on_the_executor_or_the_packing(self, execution: Execution) -> None:
        points, examples = trained_one_by_one()
        assert set(points["outcome"].to_pylist()) == {"finished", "diverged", "failed"}
        assert points["forgetting_events"].null_count < len(points)
        assert execution.points.equals(points)
        assert len(examples) > 1000
        assert execution.examples.equals(examples)

    def test_what_raises_is_a_record_with_its_reason(self, execution: Execution) -> None:
        broken = execution.trainings(model="memsweep.testing.networks:failing")
        assert len(broken) == 2
        reasons = {row["trajectory_id"]: row for row in failures(execution.plan, execution.store.read(["reason"]))}
        assert {reasons[training]["outcome"] for training in broken} == {"failed"}
        assert all(REASON in reasons[training]["reason"] for training in broken)

    def test_the_next_run_tries_again_what_failed(self, execution: Execution) -> None:
        failed = {training for training, outcome in execution.outcomes().items() if outcome == "failed"}
        left = execution.plan.without(execution.store.done().without_failed())
        assert {training.id for training in left.trainings} == failed

    def test_a_member_that_raises_fails_alone(self, execution: Execution) -> None:
        members = execution.trainings(model="memsweep.testing.networks:unlucky")
        unlucky = {
            cell.trajectory_id
            for cell in execution.plan.cells
            if cell.trajectory_id in members and _first_number(cell.point.seed) < UNLUCKY
        }
        assert 0 < len(unlucky) < len(members)
        outcomes = execution.outcomes()
        assert {training: outcomes[training] for training in members & set(outcomes)} == dict.fromkeys(
            unlucky, "failed"
        )

    def test_a_member_that_diverges_is_recorded(self, execution: Execution) -> None:
        """The other members of the stack are checked by `test_no_bit_depends_on_the_executor_or_the_packing`."""
        wild = execution.trainings(learning_rate=1e6)
        assert len(wild) == 4
        outcomes = execution.outcomes()
        assert {training for training, outcome in outcomes.items() if outcome == "diverged"} == wild
        cohorts = [{member.id for member in cohort.members} for cohort in execution.plan.cohorts]
        assert any(cohort & wild and cohort - wild for cohort in cohorts)


def _first_number(seed: int) -> float:
    import torch

    return torch.rand((), generator=torch_generator(seed, "init")).item()
