"""Measure the points per second on one GPU: memsweep beside what one would do instead. `make gpu` runs it.

    python tests/benchmarks/gpu.py [--quick] [--device cpu] [--minutes M] [--json FILE]

    memsweep      K trainings as one stack in one process, for K = 1, 4, 16, ..., until the time of the series is used
    processes     plain PyTorch loops, one network at a time each, in 1, 4 or 8 processes on the GPU
    under MPS     the same processes with NVIDIA's Multi-Process Service
    tune          one Ray Tune trial with a Lightning Trainer per training, on the whole GPU or on quarters of it
    updates       updates of K members with and without CUDA graphs: the time of an update, of the host, and launches
    convolution   one layer of K members as a grouped convolution, as unfold and a batched product, and in streams

Each series runs in a process of its own with a limit on its time. The file is written again after every series, so that
nothing is lost if a later one fails. Rates count whole trainings: with evaluations, without imports and kernel loading.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import instruments
from gpu_tables import rows
from instruments import CONSOLE

from sweeps.execution.gpus import visible_gpus

MINUTES = 14.0
STARTUP, GRACE = 12.0, 90.0
"""The seconds that a series takes to import and to load kernels, about and at most."""

NO_GPU = 3
"""The exit code if there is no GPU."""


@dataclass(frozen=True)
class Series:
    name: str
    contender: str
    case: str
    share: float
    """The part of the benchmark's seconds that the series may take, relative to the other series."""
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cuda"
    quick: bool = False
    seconds: float = 0.0


LAYERS = {"16 channels, 32 x 32": {"batch": 128, "channels": 16, "side": 32},
          "64 channels, 8 x 8": {"batch": 128, "channels": 64, "side": 8}}  # fmt: skip

SERIES = (
    Series("memsweep", "stack", "mlp", 5),
    Series("1 process", "processes", "mlp", 2, {"processes": 1}),
    Series("8 processes", "processes", "mlp", 2, {"processes": 8}),
    Series("8 processes under MPS", "processes", "mlp", 2, {"processes": 8, "mps": True}),
    Series("tune, one trial at a time", "tune", "mlp", 3, {"at_once": 1, "reuse": False}),
    Series("tune, one at a time, reuse_actors", "tune", "mlp", 2, {"at_once": 1, "reuse": True}),
    Series("tune, four on quarters, reuse_actors", "tune", "mlp", 2, {"at_once": 4, "reuse": True}),
    *(
        series
        for case in ("convnet", "resnet", "transformer")
        for series in (
            Series("memsweep", "stack", case, 4),
            Series("1 process", "processes", case, 2, {"processes": 1}),
            Series("4 processes", "processes", case, 2, {"processes": 4}),
        )
    ),
    Series("memsweep, tf32", "stack", "mlp", 2, {"precision": "tf32"}),
    Series("memsweep, bfloat16", "stack", "mlp", 2, {"precision": "bfloat16"}),
    *(
        Series(f"updates, {case}", "updates", "updates", 0.7, {"case": case})
        for case in ("mlp", "convnet", "resnet", "transformer")
    ),
    *(
        Series(f"{way}, {layer}", "convolution", "convolution", 0.7, {"way": way, **sizes})
        for layer, sizes in LAYERS.items()
        for way in ("grouped", "unfold + bmm", "streams")
    ),
)


def describe_gpu() -> dict[str, Any]:
    """Describe the first GPU, its driver and the libraries with which torch uses it."""
    import torch

    gpu, *_ = visible_gpus()
    query = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    return {
        **asdict(gpu),
        "memory_gib": round(gpu.bytes / 2**30, 1),
        "driver, SM clock, power limit": said,
        "torch_cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def run(series: Series, left: float) -> dict[str, Any]:
    """Run a series in a process of its own, and return what it measured until it ended or its time was over.

    Args:
        left: the seconds that are left for the benchmark.
    """
    limit = min(series.seconds + GRACE, left)
    if left < STARTUP:
        return {"name": series.name, "case": series.case, "options": dict(series.options), "points": [],
                "skipped": "no time was left"}  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="gpu-benchmark-") as folder:
        path = Path(folder) / "lines"
        script = Path(__file__).with_name("gpu_contenders.py")
        with (Path(folder) / "errors").open("w+") as errors:
            process = subprocess.Popen(
                [sys.executable, str(script), json.dumps(asdict(series)), str(path)],
                stdout=errors, stderr=errors, start_new_session=True,
            )  # fmt: skip
            try:
                code: int | None = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
            errors.seek(0)
            tail = errors.read()[-1500:]
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    result: dict[str, Any] = {"name": series.name, "case": series.case, "options": dict(series.options)}
    result["points"] = _points([line for line in lines if "seconds" in line])
    for name in ("skipped", "error"):
        said = [line[name] for line in lines if name in line]
        if said:
            result[name] = said[0]
    if code is None:
        result["error"] = f"ended after {limit:.0f} s, its limit"
    elif code and "error" not in result:
        result["error"] = f"exit code {code}: {tail}"
    return result


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and those that it started, which are all in its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _points(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Join the measurements of each number of members."""
    joined: dict[int, dict[str, Any]] = {}
    for line in lines:
        point = joined.setdefault(line["members"], {**line, "seconds": []})
        point["seconds"] += line["seconds"]
    for members, point in joined.items():
        point["points_per_second"] = members / statistics.median(point["seconds"])
    return list(joined.values())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = instruments.Parser(__file__, __doc__, "tiny networks, once")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: rehearse the benchmark")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for everything (default %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="the series, such as memsweep or mlp (default all)")
    options = parser.parse_args(arguments)
    names = {name for each in SERIES for name in (each.name, each.case)}
    if unknown := {*(options.only or ())} - names:
        parser.error(f"--only: given {', '.join(sorted(unknown))}; valid: {', '.join(sorted(names))}")
    if options.device == "cuda" and not visible_gpus():
        CONSOLE.print("no GPU: the CUDA driver finds none here")
        return NO_GPU
    start = time.perf_counter()
    described = instruments.machine() | {"gpu": describe_gpu() if options.device == "cuda" else None}
    chosen = [each for each in SERIES if not options.only or {each.name, each.case} & {*options.only}]
    chosen = [
        each for each in chosen if not (options.device == "cpu" and each.options.get("precision") == "tf32")
    ]  # a CPU has no TF32
    second = max(1.0, 60 * options.minutes - STARTUP * len(chosen)) / sum(each.share for each in chosen)
    results: list[dict[str, Any]] = []
    for each in instruments.progress(chosen, lambda series: f"{series.case}: {series.name}"):
        series = replace(each, device=options.device, quick=options.quick, seconds=max(1.0, each.share * second))
        results.append(run(series, 60 * options.minutes - (time.perf_counter() - start)))
        instruments.write(
            options.json, described,
            {"quick": options.quick, "device": options.device, "seconds": time.perf_counter() - start,
             "series": results},
        )  # fmt: skip
    heads = ("case", "contender", "members", "points/s", "memsweep is faster by")
    CONSOLE.print(instruments.table(heads, rows(results), left=2))
    failed = [each for each in results if "error" in each and not each["points"]]
    for each in failed:
        CONSOLE.print(f"{each['case']}, {each['name']}: {each['error']}", markup=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
