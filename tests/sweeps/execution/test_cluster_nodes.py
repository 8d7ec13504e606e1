"""Tests with real raylets on one machine: nodes that are lost and added, shared GPUs, and killed drivers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

SLOW = """
name: slow
fixed: {data: digits, dataset_size: 100, batch_size: 100, precision: float64, model: MODEL}
grid:
  label_noise: [0, 0.2, 0.4, 0.6]
  seed: [0, 1, 2, 3]
  epochs: [6, 12]
"""
"""A sweep file that gives, with cohorts of 2 members, 8 cohorts of 12 updates each."""
COHORTS, EPOCHS = 8, 12

ON_LOGICAL_GPUS = """
import json, sys
from sweeps.execution import resources
from sweeps.execution.resources import Resources
from sweeps.execution.on_ray.executor import RayTune
from sweeps.planning.plan import Plan
from sweeps.store.store import Store
from sweeps.spec.sweep_file import load_sweep

sys.path.append(".")
resources.GPU_OVERHEAD = 0  # CUDA's, which a logical GPU has not
address, device = sys.argv[1:]
executor = RayTune(address=address, device=device, on_gpu="cpu", checkpoint_seconds=0)
grants = Resources.grants

def noted(self, cohorts):
    given = grants(self, cohorts)
    with open("grants.json", "w") as file:
        json.dump([dict(grant.resources) for grant in given], file)
    return given

Resources.grants = noted
with executor.resources(None, print) as resources:
    plan, store = Plan.of(load_sweep("sweep.yaml"), resources.packing(None, 2)), Store("store")
    executor.execute(plan.without(store.done()), store, lambda event: None)
"""


@pytest.fixture
def slow(make_study: Callable[..., Any]) -> Any:
    return make_study(SLOW, sleep=0.1)


def wait_for(condition: Callable[[], object], process: Any) -> None:
    while process.poll() is None and not condition():
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()[0]


def test_a_node_is_lost_in_the_middle_and_another_one_comes(slow, nodes, processes):
    first, _ = nodes.add(), nodes.add()
    process = slow.started("--address", nodes.address, "--checkpoint-every", "0")
    wait_for(lambda: slow.parts() >= 1, process)
    nodes.kill(first)
    nodes.add()
    processes.ended(process)
    assert slow.is_whole()
    assert slow.parts() == COHORTS
    # Two cohorts were running. Each resumed from its last checkpoint, perhaps while its old worker was still training.
    assert COHORTS * EPOCHS <= len(slow.updates()) <= COHORTS * EPOCHS + 2 * 4


def test_cohorts_share_logical_gpus_and_survive_their_nodes(slow, nodes, processes):
    first, _ = nodes.add(gpus=1), nodes.add(gpus=1)
    process = slow.process([sys.executable, "-c", ON_LOGICAL_GPUS, nodes.address, "cuda"])
    wait_for(lambda: slow.parts() >= 1, process)
    nodes.kill(first)
    nodes.add(gpus=1)
    processes.ended(process)
    assert slow.is_whole()
    grants = json.loads((slow.folder / "grants.json").read_text())
    assert grants == [{"CPU": 1.0, "GPU": 1 / 8}] * COHORTS
    assert at_once_on_one_gpu(slow.updates()) == 2


def at_once_on_one_gpu(updates: list[dict[str, Any]]) -> int:
    """Return the most processes that logged an update between two updates of a process on the same GPU and node."""
    most = 0
    own: dict[int, list[dict[str, Any]]] = {}
    for update in updates:
        assert update["gpus"], "trained without a GPU"
        own.setdefault(update["pid"], []).append(update)
    for mine in own.values():
        for before, after in pairwise(mine):
            beside = {
                each["pid"] for each in updates
                if before["at"] <= each["at"] <= after["at"]
                and (each["node"], each["gpus"]) == (before["node"], before["gpus"])
            }  # fmt: skip
            most = max(most, len(beside))
    return most


def test_gpus_and_the_cores_of_nodes_without_are_both_used(slow, nodes, processes):
    with_gpu, without = nodes.add(gpus=1), nodes.add(cpus=1)
    processes.ended(slow.process([sys.executable, "-c", ON_LOGICAL_GPUS, nodes.address, "auto"]))
    assert slow.is_whole()
    grants = json.loads((slow.folder / "grants.json").read_text())
    kinds = {tuple(sorted(grant.items())) for grant in grants}
    assert kinds == {(("CPU", 1.0), ("GPU", 1 / 8)), (("CPU", 1.0),)}
    used = {(update["node"], bool(update["gpus"])) for update in slow.updates()}
    assert (with_gpu.node_id, True) in used
    assert (without.node_id, False) in used


def test_the_driver_is_killed_and_the_cluster_lives_on(slow, nodes, processes):
    nodes.add()
    process = slow.started("--address", nodes.address, "--checkpoint-every", "0")
    wait_for(lambda: slow.parts() >= 2, process)
    process.kill()
    process.communicate()
    stored = slow.parts()
    output = processes.ended(slow.started("--address", nodes.address, "--checkpoint-every", "0"))
    assert slow.is_whole()
    assert f"{4 * stored} done" in output or slow.parts() > stored, output
    # A cohort that was running repeats at most the epoch that its last checkpoint lacks.
    assert COHORTS * EPOCHS <= len(slow.updates()) <= COHORTS * EPOCHS + 2 * 2
