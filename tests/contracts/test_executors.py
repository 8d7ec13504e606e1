"""Tests of every executor against the contract of `sweeps.execution.protocol.Executor`, with `memsweep.testing`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from memsweep.testing import Scripted
from memsweep.testing.executors import BookkeepingSuite, ExecutorSuite, plan_of

from sweeps.errors import ExecutionError
from sweeps.execution.inline import Inline
from sweeps.execution.on_ray.executor import RayTune
from sweeps.execution.protocol import Executor
from sweeps.planning.plan import Plan
from sweeps.spec.sweep import Sweep
from sweeps.store.store import Store


@pytest.mark.xdist_group("scripted")
class TestScripted(BookkeepingSuite):
    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Executor:
        return Scripted()


class _Trains(ExecutorSuite):
    def test_a_gpu_that_is_not_there_is_said_before_anything_is_trained(self, executor: Executor, tmp_path: Path):
        with pytest.raises(ExecutionError, match=r"--device cuda: .* no GPU"):
            replace(executor, device="cuda").execute(plan_of(5), Store(tmp_path / "store"), lambda event: None)
        assert not (tmp_path / "store").exists()

    def test_tf32_is_refused_on_a_cpu_before_anything_is_trained(self, executor: Executor, tmp_path: Path):
        sweep = Sweep("tf32", "", fixed={"data": "digits", "precision": "tf32"}, grids=({"seed": (0, 1)},))
        with pytest.raises(ExecutionError, match="tf32 needs --device cuda; valid on a CPU: float32, bfloat16"):
            executor.execute(Plan.of(sweep), Store(tmp_path / "store"), lambda event: None)
        assert not (tmp_path / "store").exists()


@pytest.mark.xdist_group("ray")  # in one group, which shares the reference trainings of both classes
class TestInline(_Trains):
    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls) -> Executor:
        return Inline()


@pytest.mark.xdist_group("ray")
class TestRayTune(_Trains):
    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, ray_on_two_cores: None) -> Executor:
        return RayTune()
