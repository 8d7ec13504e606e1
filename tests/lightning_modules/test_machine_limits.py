"""What a container, a batch scheduler or macOS leave a process of its machine, by files as the kernel writes them."""

import os
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_modules import machine_limits
from lightning_modules.machine_limits import available_bytes, usable_cores

GIB = 2**30
MACHINE_CORES, MACHINE_BYTES = 16, 64 * GIB

STAT = "anon 100\ninactive_file {cache}\nactive_file 7\ntotal_inactive_file {cache}\n"

UNLIMITED_1 = "9223372036854771712"

LIMITED = {
    "version 2, seen from inside of a container": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "300000 100000",
         "sys/fs/cgroup/memory.max": str(3 * GIB),
         "sys/fs/cgroup/memory.current": str(2 * GIB), "sys/fs/cgroup/memory.stat": STAT.format(cache=GIB)},
        3, 2 * GIB,
    ),
    "version 2, a step of a batch job below its limited job": (
        {"proc/self/cgroup": "0::/system.slice/job_7/step_0\n",
         "sys/fs/cgroup/system.slice/job_7/step_0/cpu.max": "max 100000",
         "sys/fs/cgroup/system.slice/job_7/step_0/memory.max": "max",
         "sys/fs/cgroup/system.slice/job_7/step_0/memory.current": "5",
         "sys/fs/cgroup/system.slice/job_7/cpu.max": "400000 100000",
         "sys/fs/cgroup/system.slice/job_7/memory.max": str(8 * GIB),
         "sys/fs/cgroup/system.slice/job_7/memory.current": str(GIB),
         "sys/fs/cgroup/system.slice/job_7/memory.stat": STAT.format(cache=0)},
        4, 7 * GIB,
    ),
    "version 1, with the path of the host in a container": (
        {"proc/self/cgroup": "4:memory:/docker/f00\n3:cpu,cpuacct:/docker/f00\n0::/\n",
         "sys/fs/cgroup/unified/cgroup.procs": "", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000",
         "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
         "sys/fs/cgroup/memory/memory.limit_in_bytes": str(3 * GIB),
         "sys/fs/cgroup/memory/memory.usage_in_bytes": str(3 * GIB),
         "sys/fs/cgroup/memory/memory.stat": STAT.format(cache=GIB // 2)},
        2, GIB // 2,
    ),
    "version 1, the limit of an outer group": (
        {"proc/self/cgroup": "9:memory:/a/b\n2:cpu:/a/b\n", "sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us": "-1",
         "sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us": "100000", "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "20000",
         "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000",
         "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": UNLIMITED_1,
         "sys/fs/cgroup/memory/a/b/memory.usage_in_bytes": "7",
         "sys/fs/cgroup/memory/a/memory.limit_in_bytes": str(GIB),
         "sys/fs/cgroup/memory/a/memory.usage_in_bytes": str(2 * GIB)},
        1, 0,
    ),
    "no limits": (
        {"proc/self/cgroup": "9:memory:/\n2:cpu:/\n0::/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
         "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000", "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED_1,
         "sys/fs/cgroup/memory/memory.usage_in_bytes": "7"},
        MACHINE_CORES, MACHINE_BYTES,
    ),
    "larger than the machine": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "9900000 100000",
         "sys/fs/cgroup/memory.max": str(900 * GIB), "sys/fs/cgroup/memory.current": "0"},
        MACHINE_CORES, MACHINE_BYTES,
    ),
    "no control groups": ({}, MACHINE_CORES, MACHINE_BYTES),
}  # fmt: skip


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Simulate a machine of MACHINE_CORES and MACHINE_BYTES, and return the folder of its `proc` and `sys`."""
    memory = psutil.virtual_memory()._replace(available=MACHINE_BYTES)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(MACHINE_CORES)), raising=False)
    monkeypatch.setattr(machine_limits, "ROOT", tmp_path)
    return tmp_path


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("case", LIMITED)
def test_control_groups_limit_cores_and_memory(case: str, machine: Path):
    files, cores, memory = LIMITED[case]
    write(machine, files)
    assert (usable_cores(), available_bytes()) == (cores, memory)


FILES = sorted({name for files, *_ in LIMITED.values() for name in files})


@given(texts=st.tuples(*(st.text() for _ in FILES)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_of_the_kernel_is_believed_beyond_what_it_can_mean(texts: tuple[str, ...], machine: Path):
    """The control groups are those of the machine of the case "version 1, the limit of an outer group"."""
    write(machine, dict(zip(FILES, texts, strict=True)) | {"proc/self/cgroup": "9:memory:/a/b\n2:cpu:/a/b\n0::/\n"})
    assert 1 <= usable_cores() <= MACHINE_CORES
    assert 0 <= available_bytes() <= MACHINE_BYTES


def test_cores_count_where_processes_cannot_be_bound(machine: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert usable_cores() == 10
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


def test_this_machine_has_cores_and_memory():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    assert 2**20 < available_bytes() < 2**50
