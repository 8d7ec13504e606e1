"""Tests of the documentation's notebook and of runs on Ray in a real Jupyter kernel, which runs an event loop."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import psutil
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
PATIENCE = 300
"""Seconds to wait for a cell, on a machine that may be busy."""

SWEEP = """
import memsweep as ms
sweep = ms.Sweep("kernel", fixed={{"data": "digits", "dataset_size": 200, "precision": "float64", **{fixed}}},
                 grid={{"seed": range({seeds})}})
"""


@pytest.fixture(autouse=True)
def own_jupyter(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start kernels of this interpreter, without the user's settings."""
    folder = tmp_path_factory.mktemp("jupyter")
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(folder / name.lower()))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


class Cell(NamedTuple):
    status: str
    text: str
    """The printed text, the last drawing of the progress bar, and the result."""
    error: str


Run = Callable[..., Cell]


class Kernel:
    """A kernel whose working folder is `folder`."""

    def __init__(self, folder: Path) -> None:
        self._manager, self._client = start_new_kernel(kernel_name="python3", cwd=str(folder))

    @property
    def processes(self) -> dict[int, str]:
        """process id -> name of each process that the kernel has started."""
        children = psutil.Process(self._manager.provisioner.pid).children(recursive=True)
        return {child.pid: child.name() for child in children if child.status() != psutil.STATUS_ZOMBIE}

    def execute(self, code: str, while_it_runs: Callable[[], None] = lambda: None) -> Cell:
        sent = self._client.execute(code)
        while_it_runs()
        printed, drawn = [], {}
        while True:
            message = self._client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") != sent:
                continue
            content, kind = message["content"], message["msg_type"]
            if kind == "stream":
                printed.append(content["text"])
            elif kind in ("display_data", "update_display_data"):
                drawn[content["transient"].get("display_id")] = content["data"]["text/plain"]
            elif kind == "execute_result":
                printed.append(content["data"]["text/plain"])
            elif kind == "status" and content["execution_state"] == "idle":
                break
        while (reply := self._client.get_shell_msg(timeout=PATIENCE))["parent_header"].get("msg_id") != sent:
            pass
        content = reply["content"]
        return Cell(content["status"], "\n".join([*printed, *drawn.values()]), content.get("ename", ""))

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()

    def close(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    one = Kernel(tmp_path)
    yield one
    one.close()


def until(condition: Callable[[], Any]) -> None:
    stop = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < stop
        time.sleep(0.1)


@pytest.mark.slow
def test_the_notebook_of_the_documentation_runs(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    begin = time.monotonic()
    NotebookClient(notebook, timeout=PATIENCE, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert time.monotonic() - begin < PATIENCE
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = [output["data"]["text/plain"] for output in outputs if "data" in output]
    assert any(text.startswith("trained 45 of 45 trainings (45 points) in ") for text in texts)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    streams = [output for output in outputs if output["output_type"] == "stream"]
    assert {output["name"] for output in streams} <= {"stdout"}
    assert not any("\x1b" in output["text"] for output in streams)


def test_a_run_shows_one_bar_and_returns_its_sentence(kernel, tmp_path):
    kernel.execute(SWEEP.format(fixed={"epochs": 2, "width": 4}, seeds=2))
    cell = kernel.execute("ms.run(sweep, 'store', inline=True)")
    assert cell.status == "ok"
    assert cell.text.count("trained 2 of 2 trainings (2 points) in ") == 1
    assert cell.text.count("2 of 2 trainings ━") == 1
    assert "100 %" in cell.text
    assert "\x1b" not in cell.text  # a terminal's bar would contain escape codes
    again = kernel.execute("print(ms.run(sweep, 'store', inline=True, progress=False))")
    assert again == ("ok", "nothing to train\n", "")


@pytest.mark.slow
def test_runs_on_ray_follow_each_other_in_one_kernel_also_after_an_interruption(kernel, tmp_path):
    """The first run ends, the second is interrupted, and the third resumes the second."""
    kernel.execute(SWEEP.format(fixed={"epochs": 2, "width": 4}, seeds=2))
    first = kernel.execute("ms.run(sweep, 'first', workers=2)")
    assert first.status == "ok"
    assert "trained 2 of 2 trainings" in first.text
    assert kernel.processes == {}

    kernel.execute(SWEEP.format(fixed={"epochs": 2000, "width": 64}, seeds=32))
    started: dict[int, str] = {}

    def interrupt() -> None:
        until(lambda: list((tmp_path / "second").glob("checkpoints/*")))
        started.update(kernel.processes)
        kernel.interrupt()

    second = kernel.execute("ms.run(sweep, 'second', workers=2, checkpoint_every=0.5)", interrupt)
    assert (second.status, second.error) == ("error", "KeyboardInterrupt")
    assert any("raylet" in name for name in started.values())
    until(lambda: not any(psutil.pid_exists(pid) for pid in started))
    assert kernel.processes == {}

    kernel.execute(SWEEP.format(fixed={"epochs": 2, "width": 4}, seeds=3))
    third = kernel.execute("ms.run(sweep, 'first', workers=2)")
    assert third.status == "ok"
    assert "trained 1 of 1 trainings" in third.text
    assert kernel.processes == {}


@pytest.mark.slow
def test_a_ray_of_the_users_own_is_used_and_left_running(kernel):
    kernel.execute("import ray; ray.init('local', num_cpus=2, include_dashboard=False, log_to_driver=False)")
    kernel.execute(SWEEP.format(fixed={"epochs": 2, "width": 4}, seeds=2))
    assert kernel.execute("ms.run(sweep, 'store', workers=2)").status == "ok"
    assert "raylet" in kernel.processes.values()
    assert kernel.execute("ray.is_initialized()").text == "True"
