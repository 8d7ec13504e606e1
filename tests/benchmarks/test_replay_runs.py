"""The replay benchmark runs end to end on few trainings. Its timings mean nothing at that size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("replay.py")


@pytest.mark.slow
def test_quick_run_has_a_line_for_each_load() -> None:
    run = subprocess.run([sys.executable, str(SCRIPT), "--quick"], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    assert [line.split()[0] for line in run.stdout.splitlines()[2:]] == ["asha", "median", "median", "hyperband"]
