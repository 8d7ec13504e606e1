"""Fixtures for sweeps that tests interrupt or kill, and for Ray clusters of several nodes on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memsweep.cli import app
from typer.testing import CliRunner

from analysis.tables.points import points_table
from sweeps.execution.inline import Inline
from sweeps.execution.supervision import FIRST_WORKER
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import load_sweep
from sweeps.store.store import Store

PATIENCE = 240
"""Seconds after which a process is assumed to hang. The machine that runs the tests may be busy."""

SWEEP = """
name: disturbed
fixed: {data: digits, dataset_size: 400, depth: 1, batch_size: 20, precision: float64}
grid:
  width: [6, 8, 10, 12]
  label_noise: [0, 0.5]
  seed: [0, 1]
  epochs: [4, 12]
"""


LOGGING_MODEL = """
import json, math, os, time
from torch import nn

def log():
    import ray
    node = gpus = None
    if ray.is_initialized():
        context = ray.get_runtime_context()
        node, gpus = context.get_node_id(), context.get_accelerator_ids().get("GPU")
    line = {{"pid": os.getpid(), "node": node, "gpus": gpus, "at": time.monotonic()}}
    with open({log!r}, "a") as file:
        file.write(json.dumps(line) + "\\n")

class Logged(nn.Linear):
    def forward(self, x):
        if x.device.type != "meta" and self.training:
            log()
            time.sleep({sleep})
        return super().forward(x.flatten(1))

def make(shape, classes):
    return Logged(math.prod(shape), classes)
"""


@dataclass(frozen=True)
class Study:
    """A folder with a sweep file and its store, and the table `whole` of an undisturbed run of the sweep."""

    folder: Path
    whole: pa.Table
    max_cohort: int = 2

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    @property
    def plan(self) -> Plan:
        return Plan.of(load_sweep(str(self.folder / "sweep.yaml")))

    def started(self, *options: str) -> subprocess.Popen[str]:
        """Start `memsweep run` in a process of its own, which a test may kill."""
        words = ["run", "sweep.yaml", "--store", "store", "--max-cohort", str(self.max_cohort), *options]
        return self.process([sys.executable, "-m", "memsweep", *words])

    def forked(self, fork: Callable[..., Any]) -> Any:
        """Start a run as `started` does with --inline, but without the seconds that the imports take."""
        words = ["memsweep", "run", "sweep.yaml", "--store", "store", "--max-cohort", str(self.max_cohort), "--inline"]
        return fork("from memsweep.guard import main; main()", words, self.folder)

    def process(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )

    def run(self, *options: str, sweep: str = "sweep.yaml") -> str:
        """Run `memsweep run` to its end in this process, and return its output."""
        store = str(self.folder / "store")
        arguments = ["run", str(self.folder / sweep), "--store", store, "--max-cohort", str(self.max_cohort)]
        result = CliRunner().invoke(app, [*arguments, "--inline", *options])
        assert result.exit_code == 0, result.output
        return result.output

    def updates(self) -> list[dict[str, Any]]:
        """Return the updates of all stacks that the logging model has logged."""
        path = self.folder / "log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def parts(self) -> int:
        return len(self._parts())

    def points(self) -> int:
        """Return the number of finished points, after a check that no part is damaged."""
        assert self.store.read().damaged == {}
        return self.table()["outcome"].to_pylist().count("finished")

    def table(self) -> pa.Table:
        return points_table(self.plan, self.store.read())

    def wait_for_parts(self, process: subprocess.Popen[str], stored: int) -> None:
        """Wait until the store has this many parts or the process has ended."""
        while process.poll() is None and self.parts() < stored:
            time.sleep(0.01)

    def is_whole(self) -> bool:
        """Return whether the table equals that of the undisturbed run, after a check for damaged or duplicate rows."""
        assert self.store.read().damaged == {}
        assert self.twice() == {}
        return self.table().equals(self.whole)

    def twice(self) -> dict[tuple[str, int], int]:
        """Return the number of parts of every (trajectory_id, epoch) that is in more than one part."""
        rows: Counter[tuple[str, int]] = Counter()
        for path in self._parts():
            table = pq.read_table(path, columns=["trajectory_id", "epoch"])
            rows.update(zip(table["trajectory_id"].to_pylist(), table["epoch"].to_pylist(), strict=True))
        return {row: count for row, count in rows.items() if count > 1}

    def stack_sizes(self) -> list[int]:
        """Return the number of members of the stack that each part is from, in ascending order."""
        sizes = [set(pq.read_table(path, columns=["cohort_size"])["cohort_size"].to_pylist()) for path in self._parts()]
        return sorted(size for (size,) in sizes)

    def _parts(self) -> list[Path]:
        return list((self.folder / "store" / "parts").glob("*.parquet"))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Plan], pa.Table]:
    """Return a function that trains a plan in this process, once for all tests, and returns its table."""
    tables: dict[tuple[str, ...], pa.Table] = {}

    def table(plan: Plan) -> pa.Table:
        key = tuple(sorted(cell.point.id for cell in plan.cells))
        if key not in tables:
            store = Store(tmp_path_factory.mktemp("undisturbed"))
            Inline().execute(plan, store, lambda event: None)
            tables[key] = points_table(plan, store.read())
            assert set(tables[key]["outcome"].to_pylist()) == {"finished"}
        return tables[key]

    return table


@pytest.fixture
def make_study(
    tmp_path: Path, undisturbed: Callable[[Plan], pa.Table], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Study]:
    """Return a function that makes a study. MODEL in `text` becomes a model that logs each update and then sleeps."""

    def make(
        text: str = SWEEP, max_cohort: int = 2, name: str = "study", sleep: float = 0.0, shorten: int = 1,
        epochs: int = 12,
    ) -> Study:  # fmt: skip
        text = text.replace("dataset_size: 400", f"dataset_size: {400 // shorten}")
        text = text.replace("epochs: [4, 12]", f"epochs: [4, {epochs}]")
        folder = tmp_path / name
        folder.mkdir()
        model = f"logging_model_{uuid4().hex}"
        (folder / f"{model}.py").write_text(LOGGING_MODEL.format(log=str(folder / "log"), sleep=sleep))
        monkeypatch.syspath_prepend(str(folder))
        (folder / "sweep.yaml").write_text(text.replace("MODEL", f'"{model}:make"'))
        whole = undisturbed(Plan.of(load_sweep(str(folder / "sweep.yaml"))))
        (folder / "log").unlink(missing_ok=True)
        return Study(folder, whole, max_cohort)

    return make


@pytest.fixture
def study(make_study: Callable[..., Study]) -> Study:
    """Make a study of 32 points in 16 trainings of 4 shapes, which are stored in 8 parts with cohorts of 2."""
    return make_study()


class Processes:
    """Functions that list, kill and wait for the processes of a run."""

    @staticmethod
    def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
        """Return the running descendants of a process, except those that have lost their parent."""
        return psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []

    @classmethod
    def workers(cls, process: subprocess.Popen[str]) -> list[psutil.Process]:
        """Return the Ray workers of a run that train or are about to train."""
        # Tune's names for trials that are functions and for trials that are classes.
        return [each for each in cls.family(process) if _says(each, "ImplicitFunc") or _says(each, "ResourceTrainable")]

    @staticmethod
    def is_kind(process: psutil.Process, kind: str) -> bool:
        """Return whether a process is a server of Ray with the name `kind`, or a "first worker" that is starting."""
        if kind == "first worker":
            return _says(process, FIRST_WORKER) and not _says(process, "raylet/raylet")
        try:
            return process.name() == kind
        except psutil.Error:
            return False

    @classmethod
    def kill_all(cls, process: subprocess.Popen[str]) -> None:
        """Send SIGKILL to a process and everything that it has started."""
        family = cls.family(process)
        process.kill()
        for each in family:
            if each.is_running():
                each.kill()
        process.communicate(timeout=PATIENCE)

    @staticmethod
    def ended(process: subprocess.Popen[str]) -> str:
        """Wait for the end of a process, check that it succeeded, and return its output."""
        try:
            output, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            Processes.kill_all(process)
            raise
        assert process.returncode == 0, output
        return output


def _says(process: psutil.Process, word: str) -> bool:
    try:
        return word in " ".join(process.cmdline())
    except psutil.Error:
        return False


@pytest.fixture
def processes() -> type[Processes]:
    return Processes


class Nodes:
    """A Ray cluster on this machine with a head without CPUs, and nodes that tests add and kill."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        # Notice a lost node within about a second, since no node is behind a slow network.
        notice = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 250, "health_check_timeout_ms": 5000,
                  "health_check_failure_threshold": 3}  # fmt: skip
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": notice}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address: str = self._cluster.address
        self._came: list[Any] = []
        self._headless: list[Any] = []

    def add(self, cpus: int = 2, gpus: int = 0) -> Any:
        self._came.append(self._cluster.add_node(num_cpus=cpus, num_gpus=gpus))
        return self._came[-1]

    def kill(self, node: Any) -> None:
        """Send SIGKILL to the raylet of a node and all processes that belong to it."""
        self._cluster.remove_node(node, allow_graceful=False)

    def kill_raylet(self, node: Any) -> None:
        """Send SIGKILL only to the raylet of a node. The node's workers notice that it is gone."""
        node.kill_raylet(check_alive=False)
        self._headless.append(node)
        self._cluster.worker_nodes.remove(node)

    @property
    def all(self) -> list[Any]:
        """The living nodes except the head, in the order in which they were added."""
        return [node for node in self._came if node in self._cluster.worker_nodes]

    def kill_all(self) -> None:
        """Kill all nodes except the head."""
        for node in self.all:
            self.kill(node)
        for node in self._headless:
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        self._came, self._headless = [], []

    def shut_down(self) -> None:
        # Cluster.shutdown would reset the state of another Ray that this process may be connected to.
        self.kill_all()
        self.kill(self._cluster.head_node)


@pytest.fixture(scope="session")
def head() -> Iterator[Nodes]:
    cluster = Nodes()
    yield cluster
    cluster.shut_down()


@pytest.fixture
def nodes(head: Nodes) -> Iterator[Nodes]:
    yield head
    head.kill_all()
