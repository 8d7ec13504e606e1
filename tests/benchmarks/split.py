"""Measure where the time of `memsweep run` goes, and when its first result is stored. `make bench-split` runs it.

    python tests/benchmarks/split.py [--quick] [--json FILE | --save]

The runs are the reference grid of `throughput.py` without folding (the schedule is cosine, so that every point is a
training of its own), and four points of width 16 and 5 epochs in this process and under Ray. Each is the real command
in a process of its own with an empty store. `sections/sitecustomize.py` counts the CPU seconds of each section in every
Python process, and this script follows the CPU seconds of all processes of the run. What no section contains is listed
as Python's and Ray's own. Seconds until the first result, which is a part in the store, and until the end are wall
time. The small runs are repeated in alternation, and medians are shown. The whole takes about three minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import instruments
import psutil
import yaml
from instruments import CONSOLE
from rich.table import Table
from throughput import reference_grid

SECTIONS = Path(__file__).parent / "sections"
ROUNDS = 3
POLL_SECONDS = 0.1

RUNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "four points, inline": ("four points", ("--inline",)),
    "four points, Ray": ("four points", ("--ray",)),
    "reference grid": ("reference grid", ("--ray",)),
}
"""Run -> its sweep, and the options of `memsweep run`."""

COMMANDS = (("--help",), ("plan", "quickstart"))
OTHER = "Python's and Ray's own"


def sweep_file(name: str, quick: bool) -> str:
    if name == "four points":
        fixed: dict[str, Any] = {"data": "mnist1d", "model": "mlp", "width": 16, "epochs": 5}
        grid: dict[str, Any] = {"label_noise": [0.0, 0.5], "seed": [0, 1]}
    else:
        sweep = reference_grid(quick)
        fixed, (axes,) = {**sweep.fixed, "lr_schedule": "cosine"}, sweep.grids
        grid = {field: [*values] for field, values in axes.items()}
    return yaml.safe_dump({"name": "split", "fixed": fixed, "grid": grid})


class Processes:
    """The CPU seconds of a process and of everything that it has started, also of processes that have ended."""

    def __init__(self, root: int) -> None:
        self._root = psutil.Process(root)
        self.seconds: dict[int, float] = {}

    def look(self) -> None:
        try:
            tree = [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in tree:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            self.seconds[process.pid] = times.user + times.system


def run(sweep: str, options: Sequence[str]) -> dict[str, Any]:
    """Run a sweep file; return wall seconds, and CPU seconds by kind of process and section."""
    with tempfile.TemporaryDirectory(prefix="split-") as name:
        folder = Path(name)
        (folder / "sweep.yaml").write_text(sweep)
        (folder / "sections").mkdir()
        path = os.pathsep.join(filter(None, (str(SECTIONS), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "memsweep", "run", "sweep.yaml", "--store", "store", *options]
        environment = {**os.environ, "PYTHONPATH": path, "MEMSWEEP_SECTIONS": str(folder / "sections")}
        start = time.time()
        with (folder / "output").open("w") as output:
            driver = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        processes, first = Processes(driver.pid), None
        while driver.poll() is None:
            processes.look()
            if first is None and any((folder / "store" / "parts").glob("*.parquet")):
                first = time.time() - start
            time.sleep(POLL_SECONDS)
        seconds = time.time() - start
        if driver.returncode or first is None:
            raise RuntimeError(f"{' '.join(command)} ended with {driver.returncode}: {(folder / 'output').read_text()}")
        told = {int(file.stem): json.loads(file.read_text()) for file in (folder / "sections").glob("*.json")}
    kinds: dict[str, dict[str, float]] = {"driver": {}, "workers": {}, "Ray": {}}
    imports: dict[str, dict[str, float]] = {kind: {} for kind in kinds}
    starts: dict[str, float] = {}
    for pid, cpu in processes.seconds.items():
        seen = told.get(pid, {"cpu": {}, "imports": {}, "first": {}})
        kind = "driver" if pid == driver.pid else "workers" if "building stacks" in seen["cpu"] else "Ray"
        sections = seen["cpu"] if kind != "Ray" else {}
        for section, spent in {**sections, OTHER: max(0.0, cpu - sum(sections.values()))}.items():
            kinds[kind][section] = kinds[kind].get(section, 0.0) + spent
        for package, spent in seen["imports"].items():
            imports[kind][package] = imports[kind].get(package, 0.0) + spent
        for section, at in seen["first"].items() if kind != "Ray" else ():
            starts[section] = min(starts.get(section, at - start), at - start)
    return {
        "seconds": seconds,
        "first_result": first,
        "cpu_seconds": sum(processes.seconds.values()),
        "workers": sum("building stacks" in seen["cpu"] for seen in told.values()),
        "sections": kinds,
        "imports": {kind: dict(sorted(of.items(), key=lambda item: -item[1])[:8]) for kind, of in imports.items()},
        "starts": dict(sorted(starts.items(), key=lambda item: item[1])),
    }


def middle(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the run with the median of CPU seconds, with the medians of the wall times."""
    run = sorted(runs, key=lambda each: each["cpu_seconds"])[len(runs) // 2]
    return {**run, **{name: median(each[name] for each in runs) for name in ("seconds", "first_result")}}


def commands(rounds: int) -> dict[str, dict[str, float]]:
    """Return the median wall and CPU seconds of commands that train nothing."""
    found = {}
    for words in COMMANDS:
        wall, cpu = [], []
        for _ in range(rounds):
            before, start = os.times(), time.perf_counter()
            subprocess.run([sys.executable, "-m", "memsweep", *words], stdout=subprocess.DEVNULL, check=True)
            wall.append(time.perf_counter() - start)
            after = os.times()
            cpu.append(after.children_user + after.children_system - before.children_user - before.children_system)
        found[" ".join(("memsweep", *words))] = {"seconds": median(wall), "cpu_seconds": median(cpu)}
    return found


def table_of(run: dict[str, Any]) -> Table:
    kinds = run["sections"]
    totals: dict[str, float] = {}
    for sections in kinds.values():
        for section, spent in sections.items():
            totals[section] = totals.get(section, 0.0) + spent
    rows = [
        (section, *(f"{of.get(section, 0.0):.2f}" if section in of else "" for of in kinds.values()), f"{spent:.2f}",
         f"{spent / run['cpu_seconds']:.0%}")
        for section, spent in sorted(totals.items(), key=lambda item: -item[1])
    ]  # fmt: skip
    return instruments.table(("CPU seconds", *kinds, "together", "share"), rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = instruments.Parser(__file__, __doc__, "four points in this process, once")
    options = parser.parse_args(arguments)
    described = instruments.machine()
    names = ["four points, inline"] if options.quick else [*RUNS]
    rounds = 1 if options.quick else ROUNDS
    order = [name for number in range(rounds) for name in names if name != "reference grid" or number == 0]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for name in instruments.progress(order):
        sweep, words = RUNS[name]
        runs[name].append(run(sweep_file(sweep, options.quick), words))
    found = {name: middle(each) for name, each in runs.items()}
    for name, each in found.items():
        CONSOLE.print(
            f"\n{name}: {each['seconds']:.1f} s, first result after {each['first_result']:.1f} s, "
            f"{each['cpu_seconds']:.1f} CPU seconds, {each['workers']} workers"
        )
        CONSOLE.print(table_of(each))
    starts = commands(rounds)
    rows = [(name, f"{each['seconds']:.2f}", f"{each['cpu_seconds']:.2f}") for name, each in starts.items()]
    CONSOLE.print(instruments.table(("command", "seconds", "CPU seconds"), rows))
    instruments.write(options.json, described, {"runs": found, "commands": starts})
    return 0


if __name__ == "__main__":
    sys.exit(main())
