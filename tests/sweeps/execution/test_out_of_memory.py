"""A stack that does not fit is split until its parts fit. Only a member that does not fit alone is a failure."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis.tables.points import failures, points_table
from lightning_modules.training.entry import Entry
from lightning_modules.training.train import CohortResult, train_cohort
from sweeps.execution.inline import Inline
from sweeps.execution.on_ray.executor import RayTune
from sweeps.execution.protocol import CohortEnded
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.store import Store

SWEEP = """
name: large
fixed: {data: digits, dataset_size: 100, width: 6, precision: float64, epochs: 2}
grid: {label_noise: [0, 0.5], seed: [0, 1, 2, 3, 4, 5]}
"""
ERRORS = {
    "host, Python": MemoryError(),
    "host, torch": RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
                                "memory: you tried to allocate 9000000000000 bytes."),
    "CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB."),
}  # fmt: skip


def planned(text: str = SWEEP, **packing: int) -> Plan:
    return Plan.of(parse_sweep(text, "large.yaml"), Packing(**packing))


@dataclass
class Limited:
    """A `train_cohort` that raises an error for stacks that do not fit, and records the sizes of all stacks."""

    error: Exception
    fits: Callable[[Sequence[Entry]], bool]
    sizes: list[int] = field(default_factory=list)

    def __call__(self, entries: Sequence[Entry], *more: Any, **options: Any) -> CohortResult:
        self.sizes.append(len(entries))
        if not self.fits(entries):
            raise self.error
        return train_cohort(entries, *more, **options)


@pytest.mark.parametrize("kind", ERRORS)
def test_a_cohort_splits_until_it_fits(kind, tmp_path, undisturbed, caplog):
    whole = undisturbed(planned())
    caplog.set_level(logging.INFO, "memsweep")
    train = Limited(ERRORS[kind], lambda entries: len(entries) <= 3)
    plan, store, events = planned(), Store(tmp_path / "store"), []
    Inline(train=train).execute(plan, store, events.append)
    assert train.sizes == [12, 6, 3, 3, 6, 3, 3]
    first, *others = caplog.messages
    assert first.startswith(f"cohort 0 ({plan.trainings[0].id} and 11 more): {type(ERRORS[kind]).__name__}: ")
    assert [re.findall(r"and (\d+) more", message) for message in others] == [["5"], ["5"]]
    assert all(message.endswith("; training it again as two halves") for message in caplog.messages)
    assert points_table(plan, store.read()).equals(whole)
    assert [event.failures for event in events if isinstance(event, CohortEnded)] == [()]


@pytest.mark.parametrize("kind", ERRORS)
def test_a_member_that_does_not_fit_alone_is_failed_with_the_numbers(kind, tmp_path, undisturbed):
    whole = undisturbed(planned()).to_pylist()
    train = Limited(
        ERRORS[kind], lambda entries: all((e.settings.seed, e.settings.label_noise) != (4, 0.5) for e in entries)
    )
    plan, store = planned(), Store(tmp_path / "store")
    Inline(train=train).execute(plan, store, lambda event: None)
    rows = points_table(plan, store.read()).to_pylist()
    assert Counter(row["outcome"] for row in rows) == {"finished": 11, "failed": 1}
    assert all(row == its for row, its in zip(rows, whole, strict=True) if row["outcome"] == "finished")
    (failure,) = failures(plan, store.read(["reason"]))
    said, _, trace = failure["reason"].partition("\n\n")
    estimate = plan.trainings[0].cost.bytes / 2**30
    assert f"(a stack of 1 is estimated at {estimate:.2g} GiB besides the data; " in said
    assert said.endswith(" GiB were free on cpu)")
    assert trace.startswith("Traceback")


REAL = """
import json, resource, sys
import psutil, torch
from lightning_modules.training.train import train_cohort
from sweeps.execution.inline import Inline
from analysis.tables.points import points_table
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.store.store import Store
from sweeps.spec.sweep_file import parse_sweep

def plan(width):
    text = f"name: wide\\nfixed: {{data: digits, dataset_size: 20, width: {width}, depth: 2, precision: float64, "
    text += "epochs: 1}\\ngrid: {seed: [0, 1, 2, 3, 4, 5, 6, 7]}"
    return Plan.of(parse_sweep(text, "wide.yaml"), Packing(bytes_per_worker=2**40))

tried = []

def noting(members, *more, **options):
    tried.append([len(members), True])
    result = train_cohort(members, *more, **options)
    tried[-1][1] = False
    return result

store = Store(sys.argv[1])
Inline().execute(plan(4), store, lambda event: None)  # libraries and threads take their address space now
tried.clear()
wide = plan(1800)
room = psutil.Process().memory_info().vms + int(3.5 * wide.trainings[0].cost.bytes)
resource.setrlimit(resource.RLIMIT_AS, (room, room))
Inline(train=noting).execute(wide, store, lambda event: None)
rows = points_table(wide, store.read(["reason"]))
print(json.dumps([tried, rows["outcome"].to_pylist()]))
"""


@pytest.mark.slow
def test_a_real_allocation_that_is_refused(tmp_path: Path):
    """Eight networks of about 130 MiB each train in an address space with room for about three."""
    command = [sys.executable, "-c", REAL, str(tmp_path / "store")]
    process = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert process.returncode == 0, process.stderr
    tried, outcomes = json.loads(process.stdout.splitlines()[-1])
    assert tried[0] == [8, True], "was not refused"
    assert any(refused is False for _, refused in tried)
    assert outcomes == ["finished"] * 8


CROWDED_MODEL = """
import math, os
import torch
from torch import nn

made = 0

class Crowded(nn.Linear):
    def forward(self, x):
        global made
        if x.device.type != "meta":
            made = 0
        return super().forward(x.flatten(1))

def make(shape, classes):
    global made
    if torch.get_default_device().type != "meta":
        made += 1
        if made > 3:
            os._exit(137)  # what the system's killer looks like to Ray
    return Crowded(math.prod(shape), classes)
"""


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_cohort_that_takes_its_worker_with_it_is_cut_and_tried_again(ray_on_two_cores, tmp_path, monkeypatch):
    (tmp_path / "crowded_model.py").write_text(CROWDED_MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    plan = planned(SWEEP.replace("width: 6", 'model: "crowded_model:make"').replace("[0, 0.5]", "[0.5]"), workers=2)
    assert [len(cohort.members) for cohort in plan.cohorts] == [6]
    store, events = Store(tmp_path / "store"), []
    RayTune(retries=0).execute(plan, store, events.append)
    assert [event for event in events if isinstance(event, CohortEnded)] == [CohortEnded(0, ())]
    assert points_table(plan, store.read())["outcome"].to_pylist() == ["finished"] * 6
    sizes = store.read(["cohort_size"]).table["cohort_size"].to_pylist()
    assert set(sizes) == {3}
