"""Whatever a data file, a part or a checkpoint contains, it is used or refused in one sentence, in time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.hostile import BYTES, LONGEST, SECONDS

ROOT = Path(__file__).parents[2]
COUNTS = {"data": (150, 1000), "parts": (60, 1500), "checkpoints": (150, 3000)}


@pytest.mark.parametrize("kind", COUNTS)
@pytest.mark.parametrize("large", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_hostile_files_are_used_or_refused(kind, large):
    count = COUNTS[kind][large]
    command = [sys.executable, "-m", "tests.contracts.hostile", kind, str(count), "0"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    found = json.loads(process.stdout.splitlines()[-1])
    assert found["faults"] == []
    assert sum(found["outcomes"].values()) == count
    assert sum(number for name, number in found["outcomes"].items() if "refused" in name) > count / 2
    assert found["longest"] <= LONGEST
    assert found["slowest"] < SECONDS
    assert found["peak"] < BYTES
