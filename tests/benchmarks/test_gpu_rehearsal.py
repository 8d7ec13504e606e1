"""`make gpu` and its benchmark run on the CPU, on tiny networks, to the end. The rates mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARK = Path(__file__).with_name("gpu.py")
SCRIPT = Path(__file__).parents[1] / "gpu" / "run.py"
QUICK = ("memsweep, bfloat16", "4 processes", "8 processes under MPS", "updates, mlp", "grouped, 64 channels, 8 x 8",
         "unfold + bmm, 64 channels, 8 x 8", "streams, 64 channels, 8 x 8")  # fmt: skip


def rehearsed(out: Path, *only: str) -> dict[str, dict[str, Any]]:
    command = [
        sys.executable,
        str(BENCHMARK),
        "--quick",
        "--device",
        "cpu",
        "--minutes",
        "5",
        "--json",
        str(out),
        "--only",
        *only,
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=560, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    content = json.loads(out.read_text())
    assert content["machine"]["gpu"] is None
    for name in only:
        assert name in run.stdout
    return {f"{each['case']}: {each['name']}": each for each in content["series"]}


@pytest.mark.slow
def test_every_contender_is_measured_or_says_why_not(tmp_path):
    found = rehearsed(tmp_path / "gpu.json", *QUICK)
    skipped = {name: each["skipped"] for name, each in found.items() if "skipped" in each}
    assert skipped.pop("convolution: streams, 64 channels, 8 x 8") == "a CPU has no streams"
    assert [*skipped] == ["mlp: 8 processes under MPS"]
    measured = {name: each for name, each in found.items() if "skipped" not in each}
    assert {
        "mlp: memsweep, bfloat16",
        "resnet: 4 processes",
        "updates: updates, mlp",
        "convolution: unfold + bmm, 64 channels, 8 x 8",
    } < {*measured}
    for each in measured.values():
        assert "error" not in each
        for point in each["points"]:
            assert point["points_per_second"] == pytest.approx(point["members"] / point["seconds"][0], rel=0.5)


@pytest.mark.slow
def test_tune_and_lightning_are_measured(tmp_path):
    (found,) = rehearsed(tmp_path / "gpu.json", "tune, four on quarters, reuse_actors").values()
    assert [point["members"] for point in found["points"]] == [4]


def test_without_a_gpu_it_says_so_and_exits_3():
    run = subprocess.run([sys.executable, str(BENCHMARK)], capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout) == (3, "no GPU: the CUDA driver finds none here\n")


@pytest.mark.parametrize("words", [[str(SCRIPT)], ["-S", "-I", str(SCRIPT)]], ids=["installed", "nothing installed"])
def test_make_gpu_without_a_gpu_says_so_before_it_installs_anything(words, tmp_path):
    command = [sys.executable, *words, "--folder", str(tmp_path / "out")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout == "make gpu: no GPU: the CUDA driver finds none on this machine\n"
    assert (run.returncode, run.stderr) == (3, "")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_make_gpu_runs_its_stages(tmp_path):
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--quick", "--no-setup", "--folder", str(tmp_path)]
    command += ["--only", "grouped, 64 channels, 8 x 8"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [(stage["name"], stage["outcome"]) for stage in summary["stages"]] == [
        ("set up", "passed"), ("tests", "passed"), ("benchmark", "passed"),
    ]  # fmt: skip
    assert {test["outcome"] for test in summary["tests"]} == {"passed", "skipped"}
    assert any("largest difference" in test["measured"] for test in summary["tests"])
    assert [each["name"] for each in summary["benchmark"]["series"]] == ["grouped, 64 channels, 8 x 8"]


@pytest.mark.slow
def test_a_stage_that_fails_loses_nothing_and_is_named(tmp_path):
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--quick", "--no-setup", "--folder", str(tmp_path)]
    command += ["--only", "no such series"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 1
    assert "failed: benchmark" in run.stdout
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [stage["outcome"] for stage in summary["stages"]] == ["passed", "passed", "failed"]
    assert summary["tests"]


SUMMARY = {
    "gpu": {"name": "NVIDIA T", "multiprocessors": 10, "bytes": 2**34, "cuda": "13.0"},
    "tests": [{"test": "test_a[mlp]", "outcome": "passed", "measured": {"largest difference": 2.5e-6}}],
    "benchmark": {
        "series": [
            {"case": "mlp", "name": "memsweep", "points": [{"members": 1, "points_per_second": 2.0},
                                                           {"members": 64, "points_per_second": 90.0}]},
            {"case": "mlp", "name": "1 process", "points": [{"members": 1, "points_per_second": 4.5}]},
            {"case": "mlp", "name": "8 processes under MPS", "points": [], "skipped": "not installed"},
            {"case": "updates", "name": "updates, mlp", "points": [
                {"members": 16, "points_per_second": 1.0, "ways": {
                    "graphs": {"seconds": 2e-4, "host_seconds": 5e-5, "launches": 6.0},
                    "eager": {"seconds": 4e-4, "host_seconds": 3e-4, "launches": None}}}]},
            {"case": "convolution", "name": "grouped", "points": [{"members": 4, "points_per_second": 1000.0}]},
        ]
    },
}  # fmt: skip


def test_the_document_shows_what_was_measured(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARK.parent))
    import gpu_tables

    monkeypatch.setattr(gpu_tables, "RESULTS", tmp_path)
    assert gpu_tables.throughput() == gpu_tables.NOTHING
    (tmp_path / "gpu-nvidia-t.json").write_text(json.dumps(SUMMARY))
    first, *_ = gpu_tables.throughput()
    assert first.startswith("NVIDIA T, 10 multiprocessors, 16 GiB, driver for CUDA 13.0; torch unknown")
    assert gpu_tables.throughput()[-3:] == [
        "| mlp | memsweep | 64 | 90 |  |",
        "| mlp | 1 process | 1 | 4.5 | 20 × |",
        "| mlp | 8 processes under MPS |  | not installed |  |",
    ]
    assert gpu_tables.by_members()[-2:] == ["| 1 | 2.0 |", "| 64 | 90 |"]
    assert gpu_tables.updates()[-1] == "| mlp | 16 | 200 | 400 | 50 | 300 | 6.0 |  |"
    assert gpu_tables.convolutions()[-1] == "| grouped | 4.0 |"
    assert gpu_tables.tests()[-1] == "| `test_a[mlp]` | passed | largest difference: 2.5e-06 |"
