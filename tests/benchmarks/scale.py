"""What 1,000, 10,000 and 100,000 points cost besides training. `make bench` runs it.

    python tests/benchmarks/scale.py [--points N [N ...]] [--folder DIR] [--json FILE]

Everything is real (planning, Ray Tune, the workers' parts, the store, the commands) but `train_cohort`, which each of
Ray's worker processes replaces when it starts (Ray's `worker_process_setup_hook`): it answers at once with plausible
measures of all 30 epochs. Seconds are those of a user who waits: whole commands, interpreter and imports included,
each in a process of its own whose peak memory the system reports. What is inside a command is told apart:

    plan         `memsweep plan` on an empty store; again: on the full one, which is what a second `run` begins with
    run          RayTune.execute; ms a point is what memsweep, Tune and the store add to the training of a point
    driver       peak memory of the process that runs it, and its growth between a tenth of the cohorts and all
    status       `memsweep status`
    export       `memsweep export`: a row a point, with what is derived from its curve
    compact      `memsweep compact`; what follows is measured before it and after it
    heatmap      from the store to the file, without starting Python and without planning: of each point's last epoch,
                 of one epoch of the curves, and over all epochs (x: epoch), which takes every row of the curves
"""

from __future__ import annotations

import logging
import math
import random
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

EPOCHS = 30
SIZES = (1_000, 10_000, 100_000)
SEEDS = {1_000: 1, 10_000: 5, 100_000: 50}
WORKERS = 2

LIMITS = {
    "plan_seconds": 5.0,
    "run_ms_a_point": 1.0,
    "driver_peak_mib": 1024.0,
    "status_seconds": 5.0,
    "heatmap_epochs_seconds": 3.0,
}
"""Not to be exceeded at 100,000 points."""


def sweep_file(points: int) -> str:
    """A grid of so many trainings, each evaluated after every epoch."""
    few = points < SIZES[1]
    return f"""\
name: scale-{points}
fixed: {{data: mnist1d, model: mlp, epochs: {EPOCHS}}}
grid:
  label_noise: [0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8]
  parameter_count: [1000, 2000, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 512000]
  dropout: [0, 0.1, 0.2, 0.3, 0.5]
  weight_decay: {[0, 1e-3] if few else [0, 1e-4, 1e-3, 1e-2]}
  seed: 0..{SEEDS[points] - 1}
evaluate: every
"""


def stub_training() -> None:
    """In a worker process: trainings that take no time. Nothing of memsweep's knows of it."""
    from lightning_modules import training
    from lightning_modules.training import CohortResult, MemberResult
    from sweeps.records import MEASURES

    def train_cohort(members: Sequence[Any], dataset: Any, evaluated: Sequence[Sequence[int]], *more: Any,
                     on_epoch: Callable[[int], None], **others: Any) -> CohortResult:  # fmt: skip
        results = []
        for point, epochs in zip(members, evaluated, strict=True):
            draw, noise = random.Random(point.seed).random, point.label_noise
            rows = []
            for epoch in epochs:
                learned = 1 - math.exp(-epoch / 8)
                row = {name: learned * (1 - 0.5 * noise) + 0.02 * draw() for name in MEASURES}
                if not noise:
                    row |= dict.fromkeys(("memorized_fraction", "recovered_fraction", "other_fraction"))
                rows.append((epoch, row))
            results.append(MemberResult(tuple(rows), None))
        for epoch in range(1, members[0].epochs + 1):
            on_epoch(epoch)
        return CohortResult(tuple(results), 1_000, 0.001 * len(members), "cpu")

    training.train_cohort = train_cohort


def run(sweep: Path, store: str) -> dict[str, float]:
    """What `memsweep run` does, in this process: the driver."""
    import ray

    from sweeps.execution.protocol import CohortStored
    from sweeps.execution.ray_tune import RayTune
    from sweeps.plan import Plan
    from sweeps.progress import Display
    from sweeps.store import Store
    from sweeps.sweep_file import load_sweep

    executor, place, driver = RayTune(), Store(store), psutil.Process()
    with executor.places(WORKERS, print) as places:
        plan = Plan.of(load_sweep(str(sweep)), places.packing(WORKERS, 64)).minus(place.done())
        ray.init(
            address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False,
            logging_level=logging.ERROR, runtime_env={"worker_process_setup_hook": stub_training},
        )  # fmt: skip
        memory: list[int] = []
        with Display(plan, Console(quiet=True)) as display:

            def listen(event: Any) -> None:
                display.listen(event)
                if isinstance(event, CohortStored):
                    memory.append(driver.memory_info().rss)

            start = time.perf_counter()
            executor.execute(plan, place, listen)
            seconds = time.perf_counter() - start
        ray.shutdown()
    assert display.summary()["trained"] == len(plan.trajectories), "not everything was stored"
    return {
        "cohorts": len(plan.cohorts),
        "run_seconds": seconds,
        "run_ms_a_point": 1000 * seconds / len(plan.cells),
        "driver_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
        "driver_growth_mib": (memory[-1] - memory[len(memory) // 10]) / 2**20,
    }
