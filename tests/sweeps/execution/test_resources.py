"""Tests of the placement of cohorts and of the resources that they get."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules import machine_limits
from sweeps.errors import ExecutionError
from sweeps.execution.defaults import Device
from sweeps.execution.gpus import Gpu
from sweeps.execution.inline import Inline
from sweeps.execution.on_ray import resources as on_ray
from sweeps.execution.on_ray.resources import cluster_resources
from sweeps.execution.resources import (
    GPU_OVERHEAD,
    HEADROOM,
    Kind,
    Resources,
    gpu_resources,
    gpu_share,
    local_resources,
)
from sweeps.planning.cost import Cost
from sweeps.planning.machine import gpu_speed
from sweeps.planning.plan import Cohort

GIB = 2**30
GPU = 16 * GIB


@dataclass(frozen=True)
class Sized:
    """A stand-in for a cohort, with only the attribute that placement needs."""

    cost: Cost


def sized(flops: float = 1.0, size: int = 0) -> Any:
    return Sized(Cost(flops, size))


cohorts = st.lists(st.builds(sized, st.floats(1, 1e15), st.integers(1, 2 * GPU)), min_size=1, max_size=30)
cores = st.builds(Kind, st.integers(1, 64), st.integers(2**20, 64 * GIB), st.floats(1e9, 1e12))
gpus = st.builds(Kind, st.integers(1, 8), st.integers(4 * GIB, 80 * GIB), st.floats(1e9, 1e14))


@given(st.integers(1, 200 * GIB), st.integers(4 * GIB, 80 * GIB))
def test_a_share_is_in_eighths_and_holds_the_cohort_if_any_does(size, whole):
    share = gpu_share(sized(size=size), whole)
    assert share * 8 in range(1, 9)
    needed = size + GPU_OVERHEAD
    assert share * whole >= needed or share == 1
    assert share == 1 / 8 or (share - 1 / 8) * whole < needed, "an eighth less would do"


@pytest.mark.parametrize(
    ("gib", "share"), [(0, 1 / 8), (1.25, 1 / 8), (1.26, 2 / 8), (7.25, 4 / 8), (15.25, 1), (40, 1)]
)
def test_shares_of_a_gpu_of_16_gib(gib, share):
    assert gpu_share(sized(size=int(gib * GIB)), GPU) == share


@pytest.mark.parametrize(
    ("members", "share"), [(1, 1 / 8), (16, 1 / 8), (17, 2 / 8), (66, 4 / 8), (120, 1), (132, 1), (1024, 1)]
)
def test_a_cohort_takes_the_share_of_a_gpu_that_its_members_fill(members, share):
    cohort = Cohort((None,) * members)
    cohort.__dict__["cost"] = Cost(1.0, GIB)
    assert gpu_share(cohort, 80 * GIB, 132) == share
    assert gpu_share(cohort, 80 * GIB) == 1 / 8, "only the memory is known"
    (grant,) = Resources(None, Kind(1, 80 * GIB, 1.0, multiprocessors=132)).grants([cohort])
    assert grant.resources["GPU"] == share


def test_a_gpu_of_this_machine_is_one_worker_with_its_memory(monkeypatch):
    gpu = Gpu("NVIDIA H100", 132, 80 * GIB, 50 * 2**20, (9, 0), "13.0")
    monkeypatch.setattr("sweeps.execution.inline.visible_gpus", lambda: [gpu, gpu])
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with Inline("cuda").resources(None, print) as resources:
        assert resources == gpu_resources(gpu)
        assert (resources.workers, resources.cores, resources.bytes_per_worker) == (1, None, 72 * GIB)
    with Inline("cpu").resources(None, print) as resources:
        assert resources.gpus is None


def test_a_gpu_that_torch_does_not_find_is_not_planned_for(monkeypatch):
    """Its memory would limit the stacks, which train on a core."""
    gpu = Gpu("NVIDIA H100", 132, 80 * GIB, 50 * 2**20, (9, 0), "13.0")
    monkeypatch.setattr("sweeps.execution.inline.visible_gpus", lambda: [gpu])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with Inline("auto").resources(None, print) as resources:
        assert resources.gpus is None
    with pytest.raises(ExecutionError, match="torch finds no GPU"), Inline("cuda").resources(None, print):
        pass


@given(st.integers(1, 300))
def test_a_smaller_gpu_takes_longer_to_compute_and_as_long_to_launch(multiprocessors):
    reference, other = gpu_speed("GPU", 132).coefficients, gpu_speed("GPU", multiprocessors).coefficients
    assert other["flop"] == pytest.approx(reference["flop"] * 132 / multiprocessors)
    assert other["call"] == reference["call"]
    assert gpu_speed("GPU").coefficients == reference


@given(cohorts, cores)
def test_on_cores_alone_each_takes_one(cohorts, kind):
    grants = Resources(kind, None).grants(cohorts)
    assert [(dict(grant.resources), grant.bytes) for grant in grants] == [({"CPU": 1.0}, kind.bytes)] * len(cohorts)


@given(cohorts, gpus)
def test_on_gpus_alone_each_takes_its_share_and_the_bytes_that_come_with_it(cohorts, kind):
    for cohort, grant in zip(cohorts, Resources(None, kind).grants(cohorts), strict=True):
        share = gpu_share(cohort, kind.bytes)
        assert grant.resources == {"CPU": 1.0, "GPU": share}
        assert 0 < grant.bytes == int(share * kind.bytes) - GPU_OVERHEAD
        assert cohort.cost.bytes <= grant.bytes or share == 1


@given(cohorts, cores, gpus)
def test_where_there_are_both_each_is_given_one_or_the_other_as_if_alone(cohorts, core, gpu):
    on_cores, on_gpus = Resources(core, None).grants(cohorts), Resources(None, gpu).grants(cohorts)
    grants = Resources(core, gpu).grants(cohorts)
    assert all(grant in pair for grant, pair in zip(grants, zip(on_cores, on_gpus, strict=True), strict=True))


@given(cohorts, cores, gpus)
def test_the_longest_goes_to_the_faster_kind(cohorts, core, gpu):
    grants = Resources(core, gpu).grants(cohorts)
    longest = max(range(len(cohorts)), key=lambda i: cohorts[i].cost.flops)
    assert ("GPU" in grants[longest].resources) == (gpu.flops >= core.flops)


@given(st.integers(1, 40), st.integers(1, 8))
def test_equal_cohorts_are_spread_by_the_rates_of_the_kinds(count, ratio):
    """If a GPU has `ratio` times the rate of a core, it gets about `ratio` times as many cohorts as the core."""
    resources = Resources(Kind(1, GIB, 1.0), Kind(1, GPU, float(ratio)))
    on_gpu = sum("GPU" in grant.resources for grant in resources.grants([sized()] * count))
    on_core = count - on_gpu
    assert on_core * ratio <= on_gpu + ratio
    assert on_gpu <= (on_core + 1) * ratio


@given(st.one_of(st.none(), cores), st.one_of(st.none(), gpus), st.one_of(st.none(), st.integers(1, 99)))
def test_a_plan_is_packed_for_all_places_and_the_smallest_memory(core, gpu, workers):
    if core is None and gpu is None:
        return
    packing = Resources(core, gpu).packing(workers, 17)
    kinds = [kind for kind in (core, gpu) if kind]
    assert packing.workers == (workers or sum(kind.count for kind in kinds))
    assert packing.max_cohort == 17
    assert all(packing.bytes_per_worker <= kind.bytes for kind in kinds)


def test_a_plan_for_this_process_has_one_worker():
    """`run --inline --workers 4` trains one cohort at a time, so four workers would promise a quarter of its time."""
    for resources in (local_resources(1, "inline"), gpu_resources(Gpu("T", 10, GPU, 0, (9, 0), "13.0"))):
        assert resources.packing(4, None).workers == 1


def test_a_container_limits_the_workers_and_the_memory_of_a_plan(monkeypatch, tmp_path):
    """A quota of 1.5 cores and 2 GiB of memory, of which 1 GiB is in use, as a container shows them."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/\n")
    limits = {"cpu.max": "150000 100000", "memory.max": f"{2 * 2**30}", "memory.current": f"{2**30}"}
    (tmp_path / "sys" / "fs" / "cgroup").mkdir(parents=True)
    for name, text in limits.items():
        (tmp_path / "sys" / "fs" / "cgroup" / name).write_text(text)
    monkeypatch.setattr(machine_limits, "ROOT", tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    packing = local_resources().packing(None, None)
    assert (packing.workers, packing.bytes_per_worker) == (2, int(HEADROOM * 2**29))


def test_this_machine_has_its_cores_and_their_memory():
    one, four = local_resources(1), local_resources(4)
    assert (one.workers, four.workers) == (1, 4)
    assert 0 < 3 * four.bytes_per_worker < one.bytes_per_worker < 5 * four.bytes_per_worker


def node(alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": alive, "Resources": resources}


class Cluster:
    """A cluster of given nodes with 2 GiB per core and 16 GiB per GPU. A GPU has 10 times the rate of a core."""

    def __init__(self, *nodes: dict[str, Any], coming: Sequence[dict[str, Any]] = ()) -> None:
        self.nodes = [*nodes]
        self.coming = coming

    def look(self, resources: Mapping[str, float], device: str) -> dict[str, Any]:
        self.nodes += self.coming
        return {"bytes": GPU, "flops": 10.0} if resources.get("GPU") else {"bytes": 2 * GIB, "flops": 1.0}

    def resources(self, device: Device, scales: bool = True, say: Callable[[str], None] = print) -> Resources:
        return cluster_resources(device, "cuda", scales, say, lambda: self.nodes, self.look)


CORES = {"CPU": 8, "memory": 80 * GIB}


@pytest.mark.parametrize(("device", "cores", "gpus"), [("cpu", 16, None), ("cuda", None, 3), ("auto", 8, 3)])
def test_a_cluster_of_both_kinds(device, cores, gpus):
    cluster = Cluster(node(CPU=0), node(**CORES), node(**CORES, GPU=3), node(alive=False, CPU=99, GPU=99))
    resources = cluster.resources(device)
    assert resources.cores == (cores and Kind(cores, 2 * GIB, 1.0))
    assert resources.gpus == (gpus and Kind(gpus, GPU, 10.0))


def test_auto_without_gpus_is_cores():
    assert Cluster(node(**CORES)).resources("auto") == Resources(Kind(8, 2 * GIB, 1.0), None)


def test_auto_with_gpus_everywhere_is_gpus():
    assert Cluster(node(CPU=0), node(**CORES, GPU=2)).resources("auto") == Resources(None, Kind(2, GPU, 10.0))


def test_the_smallest_nodes_memory_counts():
    cluster = Cluster(node(**CORES), node(CPU=8, memory=8 * GIB))
    assert cluster.resources("cpu").bytes_per_worker == int(on_ray.HEADROOM * GIB)


def test_a_gpu_is_waited_for_where_nodes_may_come_and_not_elsewhere():
    cluster = Cluster(node(**CORES))
    said: list[str] = []
    with pytest.raises(ExecutionError, match="--device cuda: Ray has no GPU here; valid: cpu"):
        cluster.resources("cuda", False, said.append)
    assert said == []
    cluster.resources("cuda", True, said.append)
    assert said == ["waiting for a node with a GPU, for up to 15 minutes"]


def test_a_core_is_waited_for_and_what_came_is_counted():
    cluster, said = Cluster(node(CPU=0), coming=[node(**CORES)]), []
    assert cluster.resources("cpu", True, said.append) == Resources(Kind(8, 2 * GIB, 1.0), None)
    assert said == ["waiting for a node with a CPU, for up to 15 minutes"]


@pytest.mark.xdist_group("ray")
def test_a_place_that_never_comes_is_given_up(ray_on_two_cores):
    with pytest.raises(ExecutionError, match=r"ray: no node with 1 CPU, 1 GPU free joined within 0 minutes"):
        on_ray._look({"CPU": 1, "GPU": 1}, "cuda", wait_seconds=0.5)


@pytest.mark.xdist_group("ray")
def test_a_core_is_looked_at(ray_on_two_cores):
    seen = on_ray._look({"CPU": 1}, "cpu")
    assert seen["bytes"] > 2**20
    assert seen["flops"] > 1e8


@pytest.mark.xdist_group("ray")
def test_a_core_is_looked_at_also_while_others_hold_all(ray_on_two_cores, tmp_path):
    import ray

    @ray.remote(num_cpus=2)
    def hold(begun: str, until: str) -> None:
        import pathlib
        import time

        pathlib.Path(begun).touch()
        while not pathlib.Path(until).exists():
            time.sleep(0.05)

    held = hold.remote(str(tmp_path / "begun"), str(tmp_path / "until"))
    while not (tmp_path / "begun").exists():
        time.sleep(0.05)
    assert on_ray._look({"CPU": 1}, "cpu", wait_seconds=60)["bytes"] > 2**20
    assert not ray.wait([held], timeout=0)[0]
    (tmp_path / "until").touch()
    ray.get(held)


def test_a_gpu_that_torch_does_not_find_is_said(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "Ray has given out a GPU that torch does not find" in on_ray._seen("cuda")["error"]
