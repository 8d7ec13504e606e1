"""Compare the time that early stopping saves with the epochs that it saves. `make bench` runs this benchmark.

    python tests/benchmarks/early_stopping.py [--width W] [--epochs N] [--json FILE]

A grid of 243 trainings on two workers, each evaluated after every epoch, under three regimes:

    whole     no member is stopped
    refilled  ASHA, reduction factor 3, over the members of cohorts: a stopped member leaves its stack, and a waiting
              member takes its place
    rigid     the same verdicts, but a stack does not change until its last member has ended: what packing would give
              without refilling

Seconds count from the first epoch that is reported to the driver to the last stored cohort, because the start of a run,
some ten seconds of importing torch, is the same for all regimes. Each time is also given as a ratio to the time that
the same epochs would take at the rate of `whole`: 1.0 if stopping 90% of the epochs saves 90% of the time.

The exit code is 1 if this ratio exceeds 1.3 for `refilled`.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sweeps.execution import lane
from sweeps.execution.on_ray.executor import RayTune
from sweeps.execution.protocol import CohortEnded, Progress
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.store import Store

LIMIT = 1.3
ROUNDS = 3
WORKERS = 2
ASHA = "early_stopping: {scheduler: asha, metric: validation_accuracy, grace_period: 1, reduction_factor: 3}\n"


def sweep_file(width: int, epochs: int) -> str:
    return f"""\
name: stopping
fixed: {{data: mnist1d, dataset_size: 4000, validation_fraction: 0.2, model: mlp, width: {width}, epochs: {epochs}}}
grid: {{label_noise: [0.0, 0.2, 0.4], learning_rate: [0.01, 0.03, 0.1], weight_decay: [0.0, 0.0001, 0.001], seed: 0..8}}
evaluate: every
"""


def rigid() -> None:
    """Patch a worker process so that no member leaves or joins a stack before all of its members have ended."""
    judged, change = lane.Lane._judged, lane.Lane._change

    def keep_all(self: Any, stack: Any, places: int) -> tuple[set[int], list[Any]]:
        if not hasattr(self, "over"):
            self.over = set()
        # Ended members are trained on. The dispatcher repeats that they have ended, but they must be stored only once.
        end, held = self._end, {record.trajectory_id for record in self._held}
        self._end = lambda member, *rest: None if member.id in self.over | held else end(member, *rest)
        dispatcher = self._dispatcher
        self._dispatcher = _Closed(dispatcher)
        try:
            leaving, _ = judged(self, stack, places)
        finally:
            self._end, self._dispatcher = end, dispatcher
        self.over |= {self._training[k].id for k in leaving}
        if len(self.over & {member.id for member in self._training}) < len(self._training):
            return set(), []
        return set(range(len(self._training))), []

    lane.Lane._judged = keep_all  # type: ignore[method-assign]
    lane.Lane._change = change  # type: ignore[method-assign]


class _Closed:
    """A dispatcher that assigns no members to a lane."""

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher

    def report(self, name: str, reports: Any, like: str, free: int | None) -> Any:
        return self._dispatcher.report(name, reports, like, None)


def timed(plan: Plan) -> tuple[float, int]:
    """Return the seconds from the first reported epoch to the last stored cohort, and the number of stored epochs."""
    seen: list[float] = []

    def listen(event: Progress | CohortEnded) -> None:
        seen.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        RayTune().execute(plan, store, listen)
        outcomes = store.read(["epoch"]).table["outcome"].to_pylist()
    return seen[-1] - seen[0], outcomes.count("finished")


def measured(text: str, setup: Callable[[], None] | None = None) -> tuple[float, int]:
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    hook = {"worker_process_setup_hook": setup} if setup else {}
    ray.init(
        address="local",
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
        runtime_env=hook,
    )
    try:
        return timed(Plan.of(parse_sweep(text, "stopping.yaml"), Packing(workers=WORKERS)))
    finally:
        ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    text, console = sweep_file(given.width, given.epochs), Console()
    whole = measured(text)
    rounds = {"refilled": [measured(text + ASHA) for _ in range(ROUNDS)],
              "rigid": [measured(text + ASHA, rigid)]}  # fmt: skip
    table = Table("", "seconds", "epochs", "share", "time / (share × whole)", box=None)
    table.add_row("whole", f"{whole[0]:.1f}", f"{whole[1]:,}", "", "")
    found: dict[str, Any] = {"whole": {"seconds": whole[0], "epochs": whole[1]}}
    for name, pairs in rounds.items():
        for seconds, epochs in pairs:
            share = epochs / whole[1]
            ratio = seconds / (share * whole[0])
            found.setdefault(name, []).append({"seconds": seconds, "epochs": epochs, "ratio": ratio})
            table.add_row(name, f"{seconds:.1f}", f"{epochs:,}", f"{share:.3f}", f"{ratio:.2f}")
    medians = {name: statistics.median(each["ratio"] for each in found[name]) for name in rounds}
    console.print(table)
    console.print(f"medians: {', '.join(f'{name} {ratio:.2f}' for name, ratio in medians.items())}; at most {LIMIT}")
    if given.json:
        given.json.write_text(json.dumps(found | {"medians": medians}, indent=2))
    raise SystemExit(int(medians["refilled"] > LIMIT))


if __name__ == "__main__":
    main()
