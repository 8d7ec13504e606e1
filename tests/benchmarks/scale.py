"""Measure what 1,000, 10,000 and 100,000 points cost besides training. `make bench-scale` runs it.

    python tests/benchmarks/scale.py [--quick] [--points N [N ...]] [--folder DIR] [--json FILE | --save]

Planning, Ray Tune, the workers' parts, the store and the commands are real. Only `train_cohort` is a stub, which each
worker process of Ray installs as it starts (Ray's `worker_process_setup_hook`). The stub returns plausible measures of
all 30 epochs at once, so that 100,000 points produce 3 million rows. Seconds are the time that a user waits for a whole
command in a process of its own, including the start of Python. The exceptions are:

    run         RayTune.execute alone, including the start of the first workers; its time per point is what memsweep,
                Tune and the store add to the training of a point
    driver      peak memory of the process that planned and ran the sweep, and the growth of its memory between a tenth
                of the cohorts and all of them
    heatmap     from the store to the image file, in a process that has already planned and drawn: of each point's last
                epoch, of one earlier epoch, and over all epochs (x: epoch), which uses every row of the curves

The exit code is 1 if a quantity exceeds its limit at 100,000 points.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import instruments
from instruments import CONSOLE
from rich.console import Console
from rich.table import Table

EPOCHS = 30
CELLS = 100
SIZES = (1_000, 10_000, 100_000)
WORKERS = 2

ROWS: dict[str, tuple[str, str, float | None]] = {
    "plan": ("plan, nothing done", "s", 5.0),
    "plan_mib": ("  its memory", "MiB", 1024.0),
    "run": ("run", "s", None),
    "ms_a_point": ("  a point", "ms", 1.0),
    "cohorts": ("  cohorts", "", None),
    "driver_mib": ("  driver's memory", "MiB", 1024.0),
    "driver_growth_mib": ("  its growth", "MiB", None),
    "parts": ("store, parts", "", None),
    "megabytes": ("  size", "MB", None),
    "rows": ("  rows", "", None),
    "plan_again": ("plan, all done", "s", 5.0),
    "plan_again_mib": ("  its memory", "MiB", 1024.0),
    "status": ("status", "s", 5.0),
    "export": ("export", "s", None),
    "export_mib": ("  its memory", "MiB", None),
    "heatmap_last": ("heatmap, last epochs", "s", 3.0),
    "heatmap_epoch": ("heatmap, one epoch", "s", 3.0),
    "heatmap_epochs": ("heatmap, all epochs", "s", 3.0),
    "compact": ("compact", "s", None),
    "compacted_parts": ("  parts after it", "", None),
    "compacted_status": ("  status", "s", 5.0),
    "compacted_plan_again": ("  plan, all done", "s", 5.0),
    "compacted_heatmap_last": ("  heatmap, last epochs", "s", 3.0),
    "compacted_heatmap_epoch": ("  heatmap, one epoch", "s", 3.0),
    "compacted_heatmap_epochs": ("  heatmap, all epochs", "s", 3.0),
    "load": ("others' load on the machine", "", None),
}
"""Quantity -> its label, its unit, and its limit at 100,000 points or None."""


def sweep_file(points: int) -> str:
    """Return a sweep file with a grid of `points` trainings that are evaluated after every epoch."""
    return f"""\
name: scale
fixed: {{data: mnist1d, model: mlp, epochs: {EPOCHS}}}
grid:
  label_noise: {[round(0.04 * step, 2) for step in range(25)]}
  parameter_count: {[1000 * 8**step for step in range(4)]}
  seed: 0..{points // CELLS - 1}
evaluate: every
"""


def stub_training() -> None:
    """Replace `train_cohort` in a worker process by a stub that takes no time, without any hook in memsweep."""
    from lightning_modules.measures.catalogue import MEASURES
    from lightning_modules.training import train as training
    from lightning_modules.training.entry import Entry
    from lightning_modules.training.train import CohortResult, MemberResult

    def train_cohort(
        entries: Sequence[Entry], dataset: Any, *, on_epoch: Callable[[int], None], **more: Any
    ) -> CohortResult:
        results = []
        for entry in entries:
            draw, noise, rows = random.Random(entry.settings.seed).random, entry.settings.label_noise, []
            for epoch in entry.evaluated:
                level = (1 - math.exp(-epoch / 8)) * (1 - 0.5 * noise)
                row: dict[str, float | None] = {name: level + 0.02 * draw() for name in MEASURES}
                if not noise:
                    row |= dict.fromkeys(("memorized_fraction", "recovered_fraction", "other_fraction"))
                rows.append((epoch, row))
            results.append(MemberResult(tuple(rows), None, seconds=0.001))
        for epoch in range(1, entries[0].settings.epochs + 1):
            on_epoch(epoch)
        return CohortResult(tuple(results), 1_000, "cpu")

    training.train_cohort = train_cohort


def run(sweep: str, store: str) -> dict[str, float]:
    """Do in this process, the driver, what `memsweep run` does."""
    import psutil
    import ray
    from memsweep.progress import Display

    from sweeps.execution.on_ray.executor import RayTune
    from sweeps.execution.protocol import CohortEnded
    from sweeps.planning.plan import Plan
    from sweeps.spec.sweep_file import load_sweep
    from sweeps.store.store import Store

    executor, place, driver = RayTune(), Store(store), psutil.Process()
    with executor.resources(WORKERS, print) as resources:
        plan = Plan.of(load_sweep(sweep), resources.packing(WORKERS, 64)).without(place.done())
        ray.init(
            address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False,
            logging_level=logging.ERROR, runtime_env={"worker_process_setup_hook": stub_training},
        )  # fmt: skip
        memory: list[int] = []
        with Display(plan, Console(quiet=True)) as display:

            def listen(event: Any) -> None:
                display.listen(event)
                if isinstance(event, CohortEnded):
                    memory.append(driver.memory_info().rss)

            start = time.perf_counter()
            executor.execute(plan, place, listen)
            seconds = time.perf_counter() - start
        ray.shutdown()
    if display.summary()["trained"] != len(plan.trainings):
        raise RuntimeError(f"{display.summary()['trained']} of {len(plan.trainings)} trainings were stored")
    return {
        "cohorts": len(plan.cohorts),
        "run": seconds,
        "ms_a_point": 1000 * seconds / len(plan.cells),
        "driver_growth_mib": (memory[-1] - memory[len(memory) // 10]) / 2**20,
    }


def heatmaps(sweep: str, store: str) -> dict[str, float]:
    """Return the seconds it takes to draw each heatmap from the store."""
    from analysis.figures.kinds import FigureSpec
    from analysis.report.study import draw_heatmap
    from sweeps.planning.plan import Plan
    from sweeps.spec.sweep_file import load_sweep
    from sweeps.store.store import Store

    plan = Plan.of(load_sweep(sweep))
    maps = {
        "heatmap_last": FigureSpec("heatmap", "label_noise", "parameter_count", "memorized_fraction"),
        "heatmap_epoch": FigureSpec(
            "heatmap", "label_noise", "parameter_count", "memorized_fraction", epoch=EPOCHS // 2
        ),
        "heatmap_epochs": FigureSpec("heatmap", "epoch", "label_noise", "memorized_fraction", ("parameter_count",)),
    }
    few = Plan.of(load_sweep(sweep, ["seed=0"]))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for planned in (few, plan):  # the first drawing in a process searches for fonts and compiles
            for name, spec in maps.items():
                start = time.perf_counter()
                draw_heatmap(planned, spec.needs.read(planned, Store(store)), Path(folder, "map.png"), spec)
                found[name] = time.perf_counter() - start
    return found


def child(*command: str) -> tuple[float, float, str]:
    """Run a Python command and return its seconds, peak MiB and output. Raises RuntimeError if the command fails."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([sys.executable, *command], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        out.seek(0)
        said = out.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {said}")
    return seconds, usage.ru_maxrss / 2**10, said


def measure(points: int, folder: Path) -> dict[str, float]:
    """Measure all quantities for a number of points, in an empty folder."""
    sweep, store = folder / "sweep.yaml", folder / "store"
    sweep.write_text(sweep_file(points))
    options = (str(sweep), "--store", str(store))
    found: dict[str, float] = {"load": os.getloadavg()[0]}

    def command(name: str, *words: str) -> None:
        found[name], found[f"{name}_mib"], _ = child("-m", "memsweep", *words)

    def own(part: str) -> tuple[float, dict[str, float]]:
        _, mebibytes, said = child(__file__, "--part", part, *map(str, (sweep, store)))
        return mebibytes, json.loads(said.splitlines()[-1])

    def from_store(prefix: str) -> None:
        command(f"{prefix}status", "status", *options)
        command(f"{prefix}plan_again", "plan", *options)
        found.update({prefix + name: seconds for name, seconds in own("heatmaps")[1].items()})

    def parts() -> list[Path]:
        return [*(store / "parts").iterdir()]

    command("plan", "plan", *options)
    found["driver_mib"], figures = own("run")
    found |= figures
    found |= {"parts": len(parts()), "megabytes": sum(part.stat().st_size for part in parts()) / 1e6}
    found["rows"] = points * EPOCHS
    from_store("")
    command("export", "export", *options, "--out", str(folder / "points.parquet"))
    command("compact", "compact", "--store", str(store))
    found["compacted_parts"] = len(parts())
    from_store("compacted_")
    return found


def table_of(found: dict[int, dict[str, float]]) -> Table:
    rows = []
    for name, (words, unit, limit) in ROWS.items():
        values = [f"{figures[name]:,.{0 if figures[name] >= 100 else 2}f}" for figures in found.values()]
        values = [value.removesuffix(".00") for value in values] if not unit else values
        rows.append((f"{words} ({unit})" if unit else words, *values, f"{limit:,g}" if limit else ""))
    return instruments.table(("", *(f"{points:,} points" for points in found), "at most"), rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = instruments.Parser(__file__, __doc__, f"{2 * CELLS} points")
    parser.add_argument("--points", type=int, nargs="+", default=SIZES, help=f"multiples of {CELLS} (default: all)")
    parser.add_argument("--folder", type=Path, help="where the stores are written (default: a temporary folder)")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        part, sweep, store = options.part
        print(json.dumps({"run": run, "heatmaps": heatmaps}[part](sweep, store)))
        return 0
    described, found = instruments.machine(), {}
    sizes = [2 * CELLS] if options.quick else options.points
    for points in instruments.progress(sizes, lambda points: f"{points:,} points"):
        with tempfile.TemporaryDirectory(prefix="scale-", dir=options.folder) as folder:
            found[points] = measure(points, Path(folder))
    CONSOLE.print(table_of(found))
    instruments.write(options.json, described, {"points": found})
    over = [
        f"{words.strip()}: {found[SIZES[-1]][name]:.2f} {unit}, more than {limit:g}"
        for name, (words, unit, limit) in ROWS.items()
        if SIZES[-1] in found and limit and found[SIZES[-1]][name] > limit
    ]
    for line in over:
        CONSOLE.print(line)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
