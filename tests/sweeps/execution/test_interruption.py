"""Nothing is trained twice and nothing is lost, whatever is killed and whenever."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.export import points_table
from sweeps.plan import Plan
from sweeps.store import Store
from sweeps.sweep_file import load_sweep

SWEEP = """
name: interrupted
fixed: {data: digits, dataset_size: 400, depth: 1, batch_size: 20, precision: float64}
grid:
  width: [6, 8, 10, 12]
  label_noise: [0, 0.5]
  seed: [0, 1]
  epochs: [4, 12]
"""
COHORTS = 8
POINTS = 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    return tmp_path


def started(folder: Path, *options: str) -> subprocess.Popen[str]:
    """`memsweep run` in a process of its own, to be killed."""
    command = [
        sys.executable,
        "-m",
        "memsweep",
        "run",
        "sweep.yaml",
        "--store",
        "killed",
        "--max-cohort",
        "2",
        *options,
    ]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(folder: Path, store: str = "killed", sweep: str = "sweep.yaml", *options: str) -> str:
    """`memsweep run` to its end, in this process."""
    arguments = ["run", str(folder / sweep), "--store", str(folder / store), "--max-cohort", "2", "--inline", *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def table(folder: Path, store: str) -> pa.Table:
    return points_table(Plan.of(load_sweep(str(folder / "sweep.yaml"))), Store(folder / store).read())


def equals_an_undisturbed_run(folder: Path) -> bool:
    run(folder, "whole")
    whole = table(folder, "whole")
    return set(whole["outcome"].to_pylist()) == {"finished"} and table(folder, "killed").equals(whole)


def parts(folder: Path) -> int:
    return len(list((folder / "killed" / "parts").glob("*.parquet")))


def wait_for_parts(process: subprocess.Popen[str], folder: Path, stored: int) -> None:
    while process.poll() is None and parts(folder) < stored:
        time.sleep(0.01)


def kill_family(process: subprocess.Popen[str]) -> None:
    """SIGKILL the driver and everything that it started."""
    family = [*psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
    process.kill()
    for each in family:
        if each.is_running():
            each.kill()
    process.communicate(timeout=60)


def survives(folder: Path, moments: list[tuple[int, float]], *options: str) -> None:
    for stored, delay in moments:
        process = started(folder, *options)
        wait_for_parts(process, folder, stored)
        time.sleep(delay)
        kill_family(process)
    before = parts(folder)
    assert 0 < before < COHORTS, "the moments do not test an interruption"
    output = run(folder)
    assert f"{POINTS} points, {4 * before} done, {POINTS - 4 * before} to train" in output
    assert parts(folder) == COHORTS
    assert equals_an_undisturbed_run(folder)
    assert "nothing to train" in run(folder)
    assert parts(folder) == COHORTS


def test_killed_in_one_process_and_run_again(folder):
    survives(folder, [(1, 0.0), (5, 0.02)], "--inline")


@pytest.mark.xdist_group("ray")
def test_killed_on_ray_with_its_workers_and_run_again(folder):
    survives(folder, [(2, 0.02)], "--workers", "2")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_killed_on_ray_at_a_random_moment(folder, seed):
    chance = random.Random(seed)
    survives(folder, [(1, chance.uniform(0, 0.1)), (chance.randint(2, 6), chance.uniform(0, 0.1))], "--workers", "2")


@pytest.mark.xdist_group("ray")
def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(folder):
    process = started(folder, "--workers", "2")
    wait_for_parts(process, folder, 2)
    workers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "ImplicitFunc" in " ".join(child.cmdline())
    ]
    assert workers
    workers[0].kill()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert equals_an_undisturbed_run(folder)


def test_ctrl_c_leaves_a_valid_store_and_says_how_to_go_on(folder):
    process = started(folder, "--inline")
    wait_for_parts(process, folder, 2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "interrupted" in output
    assert "Traceback" not in output
    assert 2 <= parts(folder) < COHORTS
    run(folder)
    assert equals_an_undisturbed_run(folder)


def test_a_longer_axis_trains_only_what_is_new(folder):
    run(folder)
    assert "48 points, 32 done, 16 to train" in run(folder, "killed", "sweep.yaml", "--set", "seed=[0, 1, 2]")


def test_more_epochs_than_were_trained_are_still_to_train(folder):
    run(folder)
    output = run(folder, "killed", "sweep.yaml", "--set", "epochs=[4, 12, 16]", "--set", "width=6")
    assert "12 points, 8 done, 4 to train" in output


def test_sweeps_that_share_points_train_them_once(folder):
    run(folder)
    (folder / "other.yaml").write_text(SWEEP.replace("interrupted", "other").replace("[6, 8, 10, 12]", "[12, 14]"))
    assert "16 points, 8 done, 8 to train" in run(folder, "killed", "other.yaml")
