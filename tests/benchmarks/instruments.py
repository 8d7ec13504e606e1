"""What all benchmarks share: the description of the machine, interleaved timing, their options, results and tables.

Times are CPU seconds of this process where one thread does the work, because other programs on the machine disturb
them least. Contenders are timed in alternation, and compared as medians and as medians of the ratios within a round.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
from rich.console import Console
from rich.table import Table
from speed_tables import RESULTS

from sweeps.planning.cost import core_rate
from sweeps.planning.machine import processor

CONSOLE = Console(highlight=False, soft_wrap=True, width=130)

cpu_seconds = time.process_time

Item = TypeVar("Item")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def machine() -> dict[str, Any]:
    """Describe the machine and the software. Call it before the benchmark, so that `load` is that of other programs."""
    import torch

    root = Path(__file__).parent
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": _output("git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"),
        "cpu": processor(),
        "cores": cores(),
        "caches": _caches(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load": os.getloadavg()[0],
        "gflops_per_core": round(core_rate() / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _output(*command: str) -> str:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown"


def _caches(folder: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> dict[str, str]:
    """Return the sizes of the caches that the first core uses, such as {"L2": "512K"}, as far as they are known."""
    sizes = {}
    for cache in sorted(folder.glob("index*")):
        with suppress(OSError):  # some virtual and ARM machines do not tell every size
            level, kind, size = ((cache / name).read_text().strip() for name in ("level", "type", "size"))
            sizes[f"L{level}{'' if kind == 'Unified' else kind[0].lower()}"] = size
    return sizes


class Parser(argparse.ArgumentParser):
    """A parser with the options of all benchmarks.

    Args:
        script: the benchmark's `__file__`; a saved result has its name.
        description: the benchmark's `__doc__`.
        quick: what --quick changes.
    """

    def __init__(self, script: str, description: str | None, quick: str) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        self._saved = RESULTS / f"{Path(script).stem}.json"
        self.add_argument("--quick", action="store_true", help=f"{quick}: shows that it runs, measures nothing")
        self.add_argument("--json", type=Path, metavar="FILE", help="write the results to a file")
        self.add_argument(
            "--save", dest="json", action="store_const", const=self._saved,
            help="write them where README.md and docs/ are generated from",
        )  # fmt: skip

    def parse_args(self, *given: Any, **named: Any) -> Any:
        options = super().parse_args(*given, **named)
        if options.quick and options.json == self._saved:
            self.error("--save: a quick run measures nothing")
        return options


def write(path: Path | None, described: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """Write the machine's description and the results of a benchmark, unless `path` is None."""
    if path:
        path.parent.mkdir(exist_ok=True)
        content = {"machine": described, **results}
        path.write_text(json.dumps(_rounded(content), indent=1) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    """Round every number to five significant digits, which is more than any timing has."""
    match value:
        case float():
            return float(f"{value:.5g}")
        case Mapping():
            return {str(key): _rounded(item) for key, item in value.items()}
        case list() | tuple():
            return [_rounded(item) for item in value]
    return value


def progress(items: Sequence[Item], label: Callable[[Item], str] = str) -> Iterator[Item]:
    """Iterate over the parts of a benchmark, and announce each on standard error."""
    start = time.perf_counter()
    for number, item in enumerate(items, 1):
        print(f"{time.perf_counter() - start:5.0f} s  [{number}/{len(items)}] {label(item)}", file=sys.stderr)
        yield item


def interleaved(
    contenders: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = cpu_seconds
) -> dict[str, list[float]]:
    """Call each contender once per round, and return the seconds that each call took."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return seconds


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median over rounds of the ratio of two contenders' seconds."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> Table:
    """Return a table whose first `left` columns are aligned to the left."""
    result = Table(box=None, pad_edge=False)
    for number, head in enumerate(heads):
        result.add_column(head, justify="left" if number < left else "right")
    for row in rows:
        result.add_row(*map(str, row))
    return result
