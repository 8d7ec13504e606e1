"""Tests of runs that are submitted to a cluster as a job, by a process that does not train."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from memsweep.cli import app
from typer.testing import CliRunner

from analysis.tables.points import points_table
from sweeps.errors import ExecutionError
from sweeps.execution.protocol import is_job_address
from sweeps.store.store import Store

SWEEP = """
name: handed-over
fixed: {data: digits, dataset_size: 100, precision: float64, model: MODEL}
grid: {seed: [0, 1], epochs: [1, 2]}
"""
TOKEN = "f1" * 32
BROKEN = SWEEP.replace("seed: [0, 1]", "seed: [0, x]")


@pytest.mark.parametrize(
    ("address", "is_one"),
    [("http://127.0.0.1:8265", True), ("https://head:443", True), ("auto", False), ("head:6379", False), (None, False)],
)
def test_where_jobs_are_taken(address, is_one):
    assert is_job_address(address) is is_one


def test_a_local_store_is_refused_before_anything_is_submitted(monkeypatch, tmp_path):
    def unreachable(*given: Any) -> bool:
        raise AssertionError("submitted")

    monkeypatch.setattr("sweeps.execution.on_ray.jobs.submit", unreachable)
    arguments = ["run", "quickstart", "--store", str(tmp_path), "--address", "http://127.0.0.1:1"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ExecutionError)
    assert (
        str(result.exception) == f"--store {tmp_path}: a folder of this machine; valid on a cluster: s3://BUCKET/PATH"
    )


def test_the_job_is_the_same_run_on_the_cluster(monkeypatch, tmp_path):
    submitted: list[tuple[Any, ...]] = []
    monkeypatch.setattr("sweeps.execution.on_ray.jobs.submit", lambda *given: submitted.append(given) or True)
    monkeypatch.chdir(tmp_path)
    options = [
        "--set",
        "seed=[0, 1]",
        "--set",
        "width=4",
        "--store",
        "s3://bucket/x?region=us-east-1",
        "--workers",
        "3",
    ]
    options += ["--device", "cuda", "--retry-failed"]
    given = ["run", "quickstart", *options, "--address", "http://head:8265"]
    assert CliRunner().invoke(app, given).exit_code == 0
    assert CliRunner().invoke(app, [*given, "--set", "model=mine:network"]).exit_code == 0
    (address, command, folder, _), (_, _, with_own_model, _) = submitted
    assert (address, folder, with_own_model) == ("http://head:8265", None, str(tmp_path))
    assert command[:3] == ["memsweep", "run", "quickstart"]
    assert command[command.index("--address") + 1] == "auto"
    assert "--workers 3 --device cuda --checkpoint-every 120.0 --retries" in " ".join(command)
    assert command[-1] == "--retry-failed"
    at = command.index("--set")
    assert command[at : at + 6] == options[:6]


def test_the_folder_of_a_sweep_file_that_lies_elsewhere_is_uploaded(monkeypatch, tmp_path):
    submitted: list[tuple[Any, ...]] = []
    monkeypatch.setattr("sweeps.execution.on_ray.jobs.submit", lambda *given: submitted.append(given) or True)
    for name in ("here/inside", "there"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "my.yaml").write_text(SWEEP.replace("MODEL", "mlp"))
    monkeypatch.chdir(tmp_path / "here")
    for file in ("inside/my.yaml", "../there/my.yaml"):
        given = ["run", file, "--store", "s3://bucket/x", "--address", "http://head:8265"]
        assert CliRunner().invoke(app, given).exit_code == 0
    assert [(command[2], folder) for _, command, folder, _ in submitted] == [
        ("inside/my.yaml", str(tmp_path / "here")),
        ("my.yaml", "../there"),
    ]


def test_secrets_and_hidden_files_are_not_uploaded(tmp_path):
    from ray._private.runtime_env.packaging import create_package

    from sweeps.execution.on_ray.jobs import NOT_UPLOADED

    needed = {"my.yaml", "my_models.py", "helpers/noise.py", "data/train.parquet"}
    secret = {".env", ".git/config", ".aws/credentials", "helpers/.env", "server.pem", "keys/id.key",
              "helpers/__pycache__/noise.pyc", "ignored.txt"}  # fmt: skip
    for name in needed | secret:
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_text(name)
    (tmp_path / "folder" / ".gitignore").write_text("ignored.txt")
    package = tmp_path / "package.zip"
    create_package(str(tmp_path / "folder"), package, include_gitignore=True, excludes=[*NOT_UPLOADED])
    with zipfile.ZipFile(package) as zipped:
        assert {name for name in zipped.namelist() if not name.endswith("/")} == needed


def test_a_job_that_failed_is_1(monkeypatch):
    monkeypatch.setattr("sweeps.execution.on_ray.jobs.submit", lambda *given: False)
    given = ["run", "quickstart", "--store", "s3://bucket/x?region=us-east-1", "--address", "http://head:8265"]
    assert CliRunner().invoke(app, given).exit_code == 1


@pytest.mark.slow
def test_where_nothing_listens_it_is_one_sentence_and_2(tmp_path):
    command = [sys.executable, "-m", "memsweep", "run", "quickstart", "--store", "s3://bucket/x?region=us-east-1"]
    process = subprocess.run(
        [*command, "--address", "http://127.0.0.1:1"], capture_output=True, text=True, cwd=tmp_path, timeout=240
    )
    assert process.returncode == 2, process.stderr
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: --address http://127.0.0.1:1: the job cannot be submitted: Failed to connect to Ray")


@pytest.fixture(scope="module")
def dashboard(s3: str) -> Iterator[str]:
    """Start a separate Ray that accepts jobs, and yield the address of its dashboard."""
    bin_folder = Path(sys.executable).parent
    head, page, agent, client = free_ports(4)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="memsweep-jobs-") as folder:  # socket paths must be short
        command = [str(bin_folder / "ray"), "start", "--head", "--block", "--num-cpus=2", f"--port={head}"]
        command += ["--include-dashboard=true", f"--dashboard-port={page}", f"--dashboard-agent-listen-port={agent}"]
        command += [f"--ray-client-server-port={client}", f"--temp-dir={folder}", "--disable-usage-stats"]
        with pytest.MonkeyPatch.context() as patch, open(Path(folder) / "said", "w") as said:
            patch.setenv("PATH", str(bin_folder), prepend=os.pathsep)  # a job runs the command `memsweep`
            patch.setenv("RAY_AUTH_MODE", "token")
            patch.setenv("RAY_AUTH_TOKEN", TOKEN)
            process = subprocess.Popen(command, stdout=said, stderr=said)
            try:
                wait_for_jobs(f"http://127.0.0.1:{page}", process, Path(folder) / "said")
                yield f"http://127.0.0.1:{page}"
            finally:
                family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                for each in family:
                    if each.is_running():
                        each.kill()
                process.wait()
                psutil.wait_procs(family, timeout=30)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for_jobs(address: str, process: subprocess.Popen[bytes], said: Path) -> None:
    request = urllib.request.Request(f"{address}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"})
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(request, timeout=10).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(said.read_text())


def memsweep(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "memsweep", "run", "sweep.yaml", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=480)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_job_trains_a_sweep_with_a_model_of_the_users_own(make_study: Callable[..., Any], dashboard, s3):
    study = make_study(SWEEP)
    uri = f"s3://bucket/handed-over/store?endpoint_override={s3}&scheme=http&region=us-east-1"
    options = ("--address", dashboard, "--store", uri, "--workers", "2")
    process = memsweep(study.folder, *options)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "trained 2 of 2 trainings (4 points)" in process.stdout
    assert points_table(study.plan, Store(uri).read()).equals(study.whole)
    again = memsweep(study.folder, *options)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "nothing to train" in again.stdout


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_job_that_fails_is_told_and_not_0(tmp_path, dashboard):
    (tmp_path / "sweep.yaml").write_text(BROKEN.replace("MODEL", "linear"))
    process = memsweep(tmp_path, "--address", dashboard, "--store", "s3://bucket/failing?region=us-east-1")
    assert process.returncode == 1, process.stdout + process.stderr
    assert "error: sweep.yaml: grid.seed" in process.stdout


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_without_the_clusters_token_it_is_one_sentence_and_2(tmp_path, dashboard, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    process = memsweep(tmp_path, "--address", dashboard, "--store", "s3://bucket/x?region=us-east-1")
    assert process.returncode == 2, process.stdout + process.stderr
    (line,) = process.stderr.splitlines()
    assert line.startswith(f"error: --address {dashboard}: Authentication required: ")
    assert line.endswith("; valid: RAY_AUTH_MODE=token and the cluster's token")
