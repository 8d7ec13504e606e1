"""Tests that a worker stays as small as it was, however many cohorts it trains."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COHORTS, WARM = 500, 50
GROWTH = 50 * 2**20
"""The bytes by which a worker may grow after its first `WARM` cohorts."""

WORKER = """
import sys
from pathlib import Path

import psutil

from sweeps.execution.inline import Inline
from sweeps.execution.protocol import CohortEnded
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.store import Store

plan = Plan.of(parse_sweep(sys.argv[1], "many.yaml"), Packing(max_cohort=1))

def hear(event):
    if isinstance(event, CohortEnded):
        print(psutil.Process().memory_info().rss, flush=True)

Inline().execute(plan, Store(Path(sys.argv[2])), hear)
"""

SWEEP = """
name: many
fixed: {{data: digits, dataset_size: 64, depth: 1, epochs: 1, batch_size: 32, dropout: 0.1}}
grid: {{width: {widths}, seed: {seeds}}}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("widths", "seeds"),
    [
        pytest.param([16, 32], [*range(COHORTS // 2)], id="two shapes"),
        pytest.param([*range(4, 4 + COHORTS)], [0], id="every cohort of another shape"),
    ],
)
def test_a_worker_does_not_grow_with_the_number_of_cohorts(widths, seeds, tmp_path: Path):
    """A process of its own, because others of this process leave memory that it would use."""
    text = SWEEP.format(widths=widths, seeds=seeds)
    command = [sys.executable, "-c", WORKER, text, str(tmp_path / "store")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    sizes = [int(line) for line in output.split()]
    assert len(sizes) == COHORTS
    assert max(sizes[WARM:]) - sizes[WARM - 1] < GROWTH
