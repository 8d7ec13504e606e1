"""The throughput benchmark runs on a tiny grid, and its contenders' accuracies agree. The rates mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("throughput.py")


@pytest.mark.slow
def test_quick_run_measures_every_contender(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--json", str(out)], capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stdout + run.stderr  # 1: the contenders' accuracies disagree
    content = json.loads(out.read_text())
    assert list(content["summary"]) == ["memsweep", "folded", "tune", "tune+reuse", "bare"]
    (only,) = content["rounds"]
    assert {name: figures["points"] for name, figures in only.items()} == {
        "memsweep": 36,
        "folded": 36,
        "tune": 9,
        "tune+reuse": 9,
        "bare": 36,
    }
    ours = content["summary"]["memsweep"]
    for name, row in content["summary"].items():
        assert row["points_per_second"] == pytest.approx(only[name]["points"] / only[name]["seconds"])
        assert row["memsweep_is_times_faster"] == pytest.approx(ours["points_per_second"] / row["points_per_second"])
        assert name in run.stdout
