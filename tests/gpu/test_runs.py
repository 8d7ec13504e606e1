"""Runs of whole sweeps on a GPU: alone, under Ray with fractions of a GPU, without enough memory, by command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis.tables.points import points_table
from lightning_modules.training.entry import Entry
from lightning_modules.training.train import CohortResult, train_cohort
from sweeps.execution.inline import Inline
from sweeps.planning.plan import Packing, Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.store import Store
from tests.gpu.agreement import COMPARED, TOLERANCE

rehearsed_slowly = pytest.mark.parametrize(
    "device", [pytest.param("cuda", marks=pytest.mark.gpu), pytest.param("cpu", marks=pytest.mark.slow)]
)

SMALL = """
name: small
fixed: {data: digits, dataset_size: 200, depth: 1, batch_size: 40, learning_rate: 0.02, momentum: 0.5, epochs: 3}
grid: {width: [6, 8], label_noise: [0, 0.2], dropout: [0.1], seed: [0, 1]}
"""
"""Two cohorts of four members."""

WIDE = """
name: wide
fixed: {data: digits, dataset_size: 50, depth: 2, width: WIDTH, batch_size: 50, epochs: 1}
grid: {seed: [0, 1, 2, 3, 4, 5, 6, 7]}
"""


def losses(plan: Plan, store: Store) -> list[dict[str, Any]]:
    rows = points_table(plan, store.read()).to_pylist()
    assert {row["outcome"] for row in rows} == {"finished"}
    return [{name: row[name] for name in COMPARED} for row in rows]


def assert_near(found: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=TOLERANCE["float32"])


def run_here(device: str, folder: Path) -> list[dict[str, Any]]:
    plan, store = Plan.of(parse_sweep(SMALL, "small.yaml")), Store(folder)
    Inline(device).execute(plan, store, lambda event: None)
    return losses(plan, store)


@pytest.fixture
def limited(device: str) -> Iterator[Callable[[int], Callable[..., CohortResult]]]:
    """A function that limits the memory of the device and returns a function that trains a stack within it.

    On the CPU, stacks of more than three members are refused instead, because the limit of a process cannot be lifted.
    """

    def limit(room: int) -> Callable[..., CohortResult]:
        if device == "cuda":
            torch.cuda.empty_cache()
            total = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + room) / total)
            return train_cohort

        def train(entries: Sequence[Entry], *more: Any, **options: Any) -> CohortResult:
            if len(entries) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory (rehearsed)")
            return train_cohort(entries, *more, **options)

        return train

    yield limit
    if device == "cuda":
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_cohort_that_does_not_fit_is_halved_and_finishes(device, limited, tmp_path, report):
    text = WIDE.replace("WIDTH", "2500" if device == "cuda" else "20")
    plan = Plan.of(parse_sweep(text, "wide.yaml"), Packing(bytes_per_worker=2**40))
    run_here(device, tmp_path / "warm")  # loads kernels, which take memory of their own
    train = limited(int(3.5 * plan.trainings[0].cost.bytes))
    tried: list[int] = []

    def noted(entries: Sequence[Entry], *more: Any, **options: Any) -> CohortResult:
        tried.append(len(entries))
        return train(entries, *more, **options)

    store = Store(tmp_path / "store")
    Inline(device, train=noted).execute(plan, store, lambda event: None)
    report("stacks tried", len(tried))
    assert tried[0] == 8
    assert len(tried) > 1, "the memory was enough, so nothing was shown"
    losses(plan, store)


@rehearsed_slowly
@pytest.mark.xdist_group("ray")
def test_two_cohorts_share_a_gpu_under_ray(device, tmp_path, report):
    ray = pytest.importorskip("ray")
    from sweeps.execution.on_ray.executor import RayTune

    expected = run_here(device, tmp_path / "alone")
    executor = RayTune(device="cuda", on_gpu=device)  # on a CPU, Ray hands out a GPU that is not there
    ray.init("local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
    try:
        with executor.resources(2, lambda message: None) as resources:
            plan = Plan.of(parse_sweep(SMALL, "small.yaml"), resources.packing(2, 64))
            grants = resources.grants(plan.cohorts)
            store = Store(tmp_path / "store")
            executor.execute(plan, store, lambda event: None)
    finally:
        ray.shutdown()
    shares = [grant.resources["GPU"] for grant in grants]
    assert len(shares) >= 2
    report("largest share of the GPU", max(shares))
    assert max(shares) <= 0.5
    assert_near(losses(plan, store), expected)


@rehearsed_slowly
@pytest.mark.parametrize("executor", ["--inline", "--ray"])
def test_the_command_trains_a_sweep(executor, device, tmp_path):
    if executor == "--ray":
        pytest.importorskip("ray")
    (tmp_path / "small.yaml").write_text(SMALL)

    def memsweep(*words: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "memsweep", *words, "small.yaml", "--store", "store", "--json"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        return json.loads(run.stdout)

    done = memsweep("run", "--device", device, executor)
    assert (done["trained"], done["failed"]) == (8, [])
    assert memsweep("status")["missing"] == 0
    devices = set(Store(str(tmp_path / "store")).read(["device"]).table["device"].to_pylist())
    assert devices == {torch.cuda.get_device_name() if device == "cuda" else "cpu"}
