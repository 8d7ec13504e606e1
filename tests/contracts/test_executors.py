"""The contract of `sweeps.execution.protocol.Executor`, on every executor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import torch

from analysis.tables.points import failures, points_table
from lightning_modules.streams import torch_generator
from sweeps.errors import ExecutionError, StoreError
from sweeps.execution.inline import Inline
from sweeps.execution.on_ray.executor import RayTune
from sweeps.execution.protocol import CohortStored, Executor, Progress
from sweeps.planning.plan import Packing, Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.store import Store

pytestmark = pytest.mark.xdist_group("ray")

SWEEP = """
name: contract
fixed: {data: digits, dataset_size: 200, depth: 1, batch_size: 50, precision: float64}
grid:
  label_noise: [0, 0.5]
  width: [4, 9]
  seed: [0, 1]
  epochs: [1, 3]
"""

BROKEN = """
name: broken
fixed: {data: digits, dataset_size: 100, model: "broken_model:make", epochs: 1}
grid: {seed: [0, 1]}
"""

BROKEN_MODEL = """
from torch import nn

class Breaks(nn.Linear):
    def forward(self, x):
        if x.device.type == "meta":
            return super().forward(x.flatten(1))
        raise RuntimeError("the network's own words")

def make(shape, classes):
    return Breaks(64, classes)
"""

MOODY = BROKEN.replace("seed: [0, 1]", "seed: [0, 1, 2, 3, 4]")
MOODY_MODEL = """
import torch
from torch import nn

def make(shape, classes):
    if torch.get_default_device().type != "meta" and torch.rand(()) < 0.55:
        raise RuntimeError("not with these numbers")
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
"""


@pytest.fixture(params=["inline", "ray_tune"])
def executor(request: pytest.FixtureRequest) -> Executor:
    if request.param == "inline":
        return Inline()
    request.getfixturevalue("ray_on_two_cores")
    return RayTune()


@pytest.fixture
def own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module of the user's own, of a name that no other test has used, and gives the name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str) -> str:
        name = f"own_model_{uuid4().hex}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def planned(text: str, **packing: int) -> Plan:
    return Plan.of(parse_sweep(text, "test.yaml"), Packing(**{"workers": 2, **packing}))


def test_every_trajectory_leaves_a_record_and_the_store_then_covers_the_plan(executor, tmp_path):
    plan, store = planned(SWEEP), Store(tmp_path / "store")
    executor.execute(plan, store, lambda event: None)
    assert plan.minus(store.done()).missing == ()
    table = points_table(plan, store.read())
    assert table["outcome"].to_pylist() == ["finished"] * 16
    assert table["test_accuracy"].null_count == 0
    assert store.read().damaged == {}


def test_the_listener_hears_once_of_every_stored_cohort(executor, tmp_path):
    plan, events = planned(SWEEP, max_cohort=2), []
    executor.execute(plan, Store(tmp_path / "store"), events.append)
    stored = [event.cohort for event in events if isinstance(event, CohortStored)]
    assert sorted(stored) == list(range(len(plan.cohorts)))
    assert all(0 < e.epochs <= 3 for e in events if isinstance(e, Progress))


def test_each_cohort_is_a_part_of_its_own(executor, tmp_path):
    plan, store = planned(SWEEP, max_cohort=3), Store(tmp_path / "store")
    executor.execute(plan, store, lambda event: None)
    assert len(list((tmp_path / "store" / "parts").glob("*.parquet"))) == len(plan.cohorts) == 4


def test_what_raises_is_a_record_with_its_reason(executor, own_model, tmp_path):
    plan = planned(BROKEN.replace("broken_model", own_model(BROKEN_MODEL)))
    store, events = Store(tmp_path / "store"), []
    executor.execute(plan, store, events.append)
    (stored,) = [event for event in events if isinstance(event, CohortStored)]
    assert [failure.outcome for failure in stored.failures] == ["failed", "failed"]
    assert all("the network's own words" in row["reason"] for row in failures(plan, store.read(["reason"])))
    assert points_table(plan, store.read())["outcome"].to_pylist() == ["failed", "failed"]
    done = store.done()
    assert plan.minus(done).missing == ()
    assert len(plan.minus(done.without_failed()).missing) == 2


def test_a_member_that_raises_fails_alone(executor, own_model, tmp_path):
    plan = planned(MOODY.replace("broken_model", own_model(MOODY_MODEL)))
    store, events = Store(tmp_path / "store"), []
    executor.execute(plan, store, events.append)
    unlucky = {
        cell.trajectory_id
        for cell in plan.cells
        if torch.rand((), generator=torch_generator(cell.point.seed, "init")) < 0.55
    }
    assert 0 < len(unlucky) < len(plan.cells)
    found = {f["trajectory_id"]: f["outcome"] for f in failures(plan, store.read(["reason"]))}
    assert found == dict.fromkeys(unlucky, "failed")
    (stored,) = [event for event in events if isinstance(event, CohortStored)]
    assert {failure.trajectory_id for failure in stored.failures} == unlucky
    assert plan.minus(store.done()).missing == ()


def test_a_member_that_diverges_is_recorded_and_its_neighbours_are_not_disturbed(executor, tmp_path):
    text = SWEEP.replace("label_noise: [0, 0.5]", "learning_rate: [0.01, 1.0e+6]")
    plan, store = planned(text), Store(tmp_path / "store")
    executor.execute(plan, store, lambda event: None)
    wild = {cell.trajectory_id for cell in plan.cells if cell.point.learning_rate > 1}
    found = {f["trajectory_id"]: f["outcome"] for f in failures(plan, store.read())}
    assert found == dict.fromkeys(wild, "diverged")
    calm = planned(SWEEP.replace("label_noise: [0, 0.5]", "learning_rate: [0.01]"))
    alone = Store(tmp_path / "alone")
    Inline().execute(calm, alone, lambda event: None)
    beside = points_table(calm, store.read())
    assert beside.equals(points_table(calm, alone.read()))
    assert beside["outcome"].to_pylist() == ["finished"] * 8


def test_a_gpu_that_is_not_there_is_said_before_anything_is_trained(executor, tmp_path):
    with pytest.raises(ExecutionError, match=r"--device cuda: .* no GPU"):
        replace(executor, device="cuda").execute(planned(SWEEP), Store(tmp_path / "store"), lambda event: None)
    assert not (tmp_path / "store").exists()


def test_a_store_that_cannot_be_written_ends_the_run(executor, tmp_path):
    (tmp_path / "store").write_text("a file where the store should be")
    with pytest.raises(StoreError, match="cannot be written"):
        executor.execute(planned(SWEEP), Store(tmp_path / "store"), lambda event: None)
