"""Compare the time that early stopping saves with the epochs that it saves. `make bench-early_stopping` runs it.

    python tests/benchmarks/early_stopping.py [--quick] [--json FILE | --save]

A grid of 243 trainings on two workers, each evaluated after every epoch, of width 256 for 27 epochs and of width 128
for 81 epochs, under three regimes:

    whole     no member is stopped
    refilled  ASHA, reduction factor 3, over the members of cohorts: a stopped member leaves its stack, and a waiting
              member takes its place
    rigid     the same verdicts, but a stack does not change until its last member has ended: what packing would give
              without refilling (at the first width only)

Seconds count from the first epoch that is reported to the driver to the last stored cohort, because the start of a run
is the same for all regimes. Each time is also given as a ratio to the time that the same epochs would take at the rate
of `whole`: 1.0 if stopping 90% of the epochs saves 90% of the time. The workers' seconds by section (see
`sections/sitecustomize.py`) show what the rest is. The whole takes about six minutes.

The exit code is 1 if the median ratio of `refilled` exceeds its limit.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import instruments
from instruments import CONSOLE
from rich.table import Table

from sweeps.execution import lane
from sweeps.execution.on_ray.executor import RayTune
from sweeps.execution.protocol import CohortEnded, Progress
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.store import Store

CASES = {256: 27, 128: 81}
"""Width -> epochs."""
LIMITS = {256: 1.3, 128: 1.2}
ROUNDS = 3
WORKERS = 2
ASHA = "early_stopping: {scheduler: asha, metric: validation_accuracy, grace_period: 1, reduction_factor: 3}\n"
SECTIONS = Path(__file__).parent / "sections"


def sweep_file(width: int, epochs: int, seeds: int) -> str:
    return f"""\
name: stopping
fixed: {{data: mnist1d, dataset_size: 4000, validation_fraction: 0.2, model: mlp, width: {width}, epochs: {epochs}}}
grid:
  label_noise: [0.0, 0.2, 0.4]
  learning_rate: [0.01, 0.03, 0.1]
  weight_decay: [0.0, 0.0001, 0.001]
  seed: {[*range(seeds)]}
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


def run(text: str, setup: Callable[[], None] | None = None) -> dict[str, Any]:
    """Train a sweep file on a fresh Ray; return its seconds, its stored epochs, and the workers' seconds by section."""
    import ray

    seen: list[float] = []

    def listen(event: Progress | CohortEnded) -> None:
        seen.append(time.perf_counter())

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="stopping-") as name:
        sections, store = Path(name, "sections"), Store(str(Path(name, "store")))
        sections.mkdir()
        path = os.pathsep.join(filter(None, (str(SECTIONS), os.environ.get("PYTHONPATH"))))
        variables = {"env_vars": {"PYTHONPATH": path, "MEMSWEEP_SECTIONS": str(sections)}}
        ray.init(
            address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False,
            logging_level=logging.CRITICAL,
            runtime_env=variables | ({"worker_process_setup_hook": setup} if setup else {}),
        )  # fmt: skip
        executor = RayTune()
        try:
            with executor.resources(WORKERS, lambda line: None) as resources:
                plan = Plan.of(parse_sweep(text, "stopping.yaml"), resources.packing(WORKERS, None))
            executor.execute(plan, store, listen)
        finally:
            ray.shutdown()
        outcomes = store.read(["epoch"]).table["outcome"].to_pylist()
        told = [json.loads(file.read_text()) for file in sections.glob("*.json")]
    workers = [each for each in told if "building stacks" in each["cpu"]]
    return {
        "seconds": seen[-1] - seen[0],
        "epochs": outcomes.count("finished"),
        "cpu": _added([each["cpu"] for each in workers]),
        "wall": _added([each["wall"] for each in workers]),
    }


def _added(sections: Sequence[dict[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for each in sections:
        for section, seconds in each.items():
            total[section] = total.get(section, 0.0) + seconds
    return total


def measure(width: int, epochs: int, seeds: int, rounds: int, also_rigid: bool) -> dict[str, Any]:
    text = sweep_file(width, epochs, seeds)
    whole = run(text)
    regimes = {"refilled": [run(text + ASHA) for _ in range(rounds)]}
    if also_rigid:
        regimes["rigid"] = [run(text + ASHA, rigid)]
    for runs in regimes.values():
        for each in runs:
            each["share"] = each["epochs"] / whole["epochs"]
            each["ratio"] = each["seconds"] / (each["share"] * whole["seconds"])
    medians = {name: statistics.median(each["ratio"] for each in runs) for name, runs in regimes.items()}
    return {"width": width, "epochs": epochs, "whole": whole, **regimes, "medians": medians, "limit": LIMITS[width]}


def table_of(case: dict[str, Any]) -> Table:
    rows = [("whole", f"{case['whole']['seconds']:.1f}", f"{case['whole']['epochs']:,}", "", "")]
    for name in case["medians"]:
        rows += [
            (name, f"{each['seconds']:.1f}", f"{each['epochs']:,}", f"{each['share']:.3f}", f"{each['ratio']:.2f}")
            for each in case[name]
        ]
    return instruments.table(("", "seconds", "epochs", "share", "time / (share × whole)"), rows)


def table_of_sections(case: dict[str, Any]) -> Table:
    """Show the workers' seconds by section, beside what the trained share of `whole` would take."""
    whole, stopped = case["whole"], case["refilled"][0]
    rows = [
        (
            section,
            f"{whole['cpu'].get(section, 0.0):.2f}",
            f"{stopped['share'] * whole['cpu'].get(section, 0.0):.2f}",
            f"{spent:.2f}",
            f"{stopped['wall'][section]:.2f}",
        )
        for section, spent in sorted(stopped["cpu"].items(), key=lambda item: -item[1])
    ]
    return instruments.table(("workers", "whole, CPU s", "its share", "refilled, CPU s", "wall s"), rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = instruments.Parser(__file__, __doc__, "27 small trainings of 3 epochs")
    parser.add_argument("--widths", type=int, nargs="+", choices=[*CASES], default=[*CASES])
    options = parser.parse_args(arguments)
    described = instruments.machine()
    found = []
    for width in instruments.progress(options.widths[: 1 if options.quick else None], lambda width: f"width {width}"):
        if options.quick:
            found.append(measure(width, 3, 1, 1, also_rigid=False))
        else:
            found.append(measure(width, CASES[width], 9, ROUNDS, also_rigid=width == 256))
        CONSOLE.print(f"\nwidth {width}, {found[-1]['epochs']} epochs")
        CONSOLE.print(table_of(found[-1]))
        CONSOLE.print(table_of_sections(found[-1]))
    instruments.write(options.json, described, {"cases": found})
    over = [case for case in found if case["medians"]["refilled"] > case["limit"] and not options.quick]
    for case in over:
        CONSOLE.print(f"width {case['width']}: {case['medians']['refilled']:.2f}, at most {case['limit']}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
