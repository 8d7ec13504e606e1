"""A folder as the store of a cluster. Other machines are raylets with a host name, and perhaps a disk, of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sweeps.errors import StoreError
from sweeps.execution.on_ray.shared_folder import check_here
from sweeps.store.leases import Run
from sweeps.store.store import Store

UNSHARE = ["unshare", "--uts", "--mount"]

needs_namespaces = pytest.mark.skipif(
    subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode != 0,
    reason="a host name of its own for a process takes rights that this user has not",
)

SWEEP = """
name: shared
fixed: {data: digits, dataset_size: 100, batch_size: 100, precision: float64, model: MODEL}
grid: {label_noise: [0, 0.2, 0.4, 0.6], seed: [0, 1, 2, 3], epochs: [6, 12]}
"""


def test_a_folder_of_the_same_name_elsewhere_is_no_shared_folder(tmp_path: Path):
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    run = Run.begin(here.location)
    Run.begin(there.location)
    check_here(here, run)
    with pytest.raises(StoreError, match=r"there: workers on \S+ do not see the folder .* s3://BUCKET/PATH"):
        check_here(there, run)


class Machines:
    """Raylets with host names of their own on this machine, which join a cluster."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._started: list[subprocess.Popen[bytes]] = []

    def add(self, name: str, own_folder: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a raylet. `own_folder` is a folder in place of which it sees an empty one."""
        mount = f"mount -t tmpfs none '{own_folder}' && " if own_folder else ""
        ray = f"exec '{sys.executable}' -m ray.scripts.scripts start --address={self._address} --num-cpus=2 --block"
        command = [*UNSHARE, "sh", "-c", f"hostname {name} && {mount}{ray}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._started.append(subprocess.Popen(command, start_new_session=True, **quiet))  # type: ignore[call-overload]
        return self._started[-1]

    @staticmethod
    def kill(machine: subprocess.Popen[bytes]) -> None:
        """Send SIGKILL to all processes of a machine."""
        with suppress(ProcessLookupError):
            os.killpg(machine.pid, signal.SIGKILL)
        machine.wait()

    def kill_all(self) -> None:
        for machine in self._started:
            self.kill(machine)


@pytest.fixture
def machines(nodes: Any) -> Iterator[Machines]:
    cluster = Machines(nodes.address)
    yield cluster
    cluster.kill_all()


@pytest.fixture
def shared(make_study: Callable[..., Any]) -> Any:
    return make_study(SWEEP, sleep=0.1)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@needs_namespaces
def test_nodes_with_other_names_train_in_a_shared_folder_and_one_of_them_is_lost(shared, nodes, machines, processes):
    first, _ = machines.add("first"), machines.add("second")
    process = shared.started("--address", nodes.address, "--checkpoint-every", "0")
    shared.wait_for_parts(process, 1)
    machines.kill(first)
    machines.add("third")
    processes.ended(process)
    assert shared.is_whole()
    assert len({update["node"] for update in shared.updates()}) >= 2


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@needs_namespaces
def test_a_node_with_a_disk_of_its_own_is_refused_by_name(shared, nodes, machines):
    (shared.folder / "store").mkdir()
    machines.add("lonely", own_folder=shared.folder / "store")
    process = shared.started("--address", nodes.address)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 2
    assert "workers on lonely do not see the folder that the driver on this machine sees" in " ".join(output.split())
    assert shared.parts() == 0
