"""`make gpu`: set up, run the tests marked `gpu`, then the benchmark, in at most 25 minutes on a machine with one GPU.

    python3 tests/gpu/run.py [--wheels FOLDER] [--torch-index URL] [--minutes M]
    python3 tests/gpu/run.py --device cpu --quick --no-setup     # a rehearsal

Needs Python 3.11 and the driver of the GPU, and nothing else: this script uses the standard library alone. Everything
goes to build/gpu/: the environment, one log per stage, and summary.json, which is written again after every stage. On a
GPU, the summary is also tests/benchmarks/results/gpu-NAME.json, from which `make docs` makes the table in docs/gpu.md.
The exit code is 0, 1 if a stage failed, or 3 if there is no GPU.

The environment uses the torch of the Python that runs this script if that finds the GPU, and otherwise the one that pip
installs. With --wheels, pip installs every wheel of the folder, and nothing from the network. Packages that are missing
then, such as Ray, are named, and the tests and series that need them are skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "tests" / "benchmarks" / "results"
sys.path.insert(0, str(ROOT))

from sweeps.execution.gpus import Gpu, visible_gpus  # noqa: E402

NO_GPU = 3
SETUP_MINUTES, TESTS_MINUTES = 8.0, 6.0
TORCH_INDEX = "https://download.pytorch.org/whl/"
OLDEST_TORCH = (2, 9)

REQUIRED = (
    "torch", "pytorch_lightning", "pyarrow", "pandas", "pydantic", "yaml", "typer", "rich", "mnist1d", "sklearn",
    "psutil", "threadpoolctl", "pytest", "memsweep",
)  # fmt: skip
USED_IF_THERE = ("ray", "seaborn", "pytest_timeout")

LOOK = """
import importlib.util, json, sys
there = lambda name: importlib.util.find_spec(name) is not None
folders = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
found = {"python": sys.version.split()[0], "paths": folders}
found["missing"] = [name for name in sys.argv[1:] if not there(name)]
if there("torch"):
    import torch
    found |= {"torch": torch.__version__, "cuda": torch.version.cuda, "gpu": torch.cuda.is_available()}
print(json.dumps(found))
"""


@dataclass
class Stage:
    """What a stage came to. `outcome` is passed, failed, or skipped."""

    name: str
    outcome: str = "passed"
    seconds: float = 0.0
    message: str = ""


@dataclass
class Summary:
    """The result so far, in the form of summary.json."""

    path: Path
    gpu: Gpu | None
    stages: list[Stage] = field(default_factory=list)
    tests: list[dict[str, Any]] = field(default_factory=list)
    benchmark: dict[str, Any] = field(default_factory=dict)
    saved: Path | None = None

    def write(self) -> None:
        content = {
            "gpu": asdict(self.gpu) if self.gpu else None,
            "stages": [asdict(stage) for stage in self.stages],
            "tests": self.tests,
            "benchmark": self.benchmark,
        }
        text = json.dumps(content, indent=1) + "\n"
        for path in (self.path, self.saved if self.benchmark else None):  # an earlier result is worth more than none
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")

    def add(self, stage: Stage) -> None:
        self.stages.append(stage)
        say(f"{stage.name}: {stage.outcome} in {stage.seconds:.0f} s" + (f"; {stage.message}" if stage.message else ""))
        self.write()


def say(message: str) -> None:
    print(f"make gpu: {message}", flush=True)


def run(command: Sequence[object], log: Path, seconds: float, environment: Mapping[str, str] | None = None) -> str:
    """Run a command with its output appended to a log, and return what was wrong, or an empty string.

    A command that takes too long is ended together with the processes that it started.
    """
    words = [str(word) for word in command]
    with log.open("a", encoding="utf-8") as file:
        file.write(f"\n$ {' '.join(words)}\n")
        file.flush()
        process = subprocess.Popen(
            words, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
        try:
            code = process.wait(max(1.0, seconds))
        except subprocess.TimeoutExpired:
            return f"ended after {seconds:.0f} s, its limit"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return f"exit code {code}: {lines[-1][:300] if lines else ''}"
    return ""


def look(python: object) -> dict[str, Any]:
    """Return what an environment has: its torch, whether that finds a GPU, and the modules that are missing."""
    command = [str(python), "-c", LOOK, *REQUIRED, *USED_IF_THERE]
    seen = subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=ROOT, check=False)
    try:
        return json.loads(seen.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {"paths": [], "missing": [*REQUIRED], "error": seen.stderr[-300:]}


def can_lend(found: Mapping[str, Any]) -> bool:
    """Return whether an environment has a torch that is new enough and finds the GPU."""
    version = re.match(r"(\d+)\.(\d+)", found.get("torch", ""))
    return bool(version and found.get("gpu") and (int(version[1]), int(version[2])) >= OLDEST_TORCH)


def make_environment(folder: Path, lent: Sequence[str], log: Path, seconds: float) -> str:
    """Create a virtual environment, which also finds the packages in the folders `lent`, and return what was wrong.

    (--system-site-packages would not do: if Python is itself in a virtual environment, it skips the packages there.)
    """
    shutil.rmtree(folder, ignore_errors=True)
    problem = run([sys.executable, "-m", "venv", folder], log, seconds)
    if problem and lent:  # a Python without ensurepip; the lent packages include pip
        problem = run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], log, seconds)
    if not problem and lent:
        (site,) = folder.glob("lib/python3*/site-packages")
        (site / "lent.pth").write_text("".join(f"{path}\n" for path in lent))
    return problem


def install(python: Path, options: argparse.Namespace, lent: bool, gpu: Gpu | None, log: Path, seconds: float) -> str:
    """Install memsweep and what it needs, and return what was wrong."""
    end = time.monotonic() + seconds

    def pip(*words: object) -> str:
        quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
        return run([python, "-m", "pip", "install", *quiet, *words], log, end - time.monotonic())

    here = ("--no-index", "--no-deps", "--no-build-isolation", "-e", ".")
    if options.wheels:
        wheels = sorted(options.wheels.resolve().glob("*.whl"))
        if not wheels:
            return f"{options.wheels} has no wheels"
        return pip("--no-index", "--no-deps", *wheels) or pip(*here)
    if options.torch_index:
        problem = pip("--index-url", options.torch_index, "torch")
        if problem:
            return problem
    # The pins are for an environment of our own: they would replace most of the packages that are lent.
    pins = () if lent or options.torch_index else ("-c", "constraints.txt")
    problem = pip(*pins, "-e", ".", "pytest", "pytest-timeout")
    if problem and lent:
        say("pip cannot reach its index; going on with the packages that this Python has")
        return pip(*here)
    if not problem and not lent and gpu and not look(python).get("gpu"):
        index = TORCH_INDEX + ("cu130" if int(gpu.cuda.partition(".")[0]) >= 13 else "cu126")
        say(f"the torch that pip installed does not find the GPU; trying {index}")
        problem = pip("--index-url", index, "--force-reinstall", "--no-deps", "torch") or pip(
            "--index-url", index, "--upgrade", "torch"
        )
    return problem


def set_up(options: argparse.Namespace, gpu: Gpu | None, folder: Path) -> tuple[Path, Stage]:
    """Return the Python of the environment, and how the stage went."""
    stage, start = Stage("set up"), time.monotonic()
    log = folder / "setup.log"
    python = Path(sys.executable)
    if not options.no_setup:
        mine = look(sys.executable)
        lent = mine["paths"] if can_lend(mine) or (options.device == "cpu" and mine.get("torch")) else []
        if lent:
            say(f"using torch {mine['torch']} of {sys.executable}")
        python = folder / "venv" / "bin" / "python"
        seconds = 60 * SETUP_MINUTES
        stage.message = make_environment(folder / "venv", lent, log, seconds) or install(
            python, options, bool(lent), gpu, log, seconds - (time.monotonic() - start)
        )
    found = look(python)
    missing = [name for name in REQUIRED if name in found["missing"]]
    if missing:
        stage.message = f"missing: {', '.join(missing)}. {stage.message or found.get('error', '')}"
    elif options.device == "cuda" and not found.get("gpu"):
        stage.message = (
            f"torch {found.get('torch')} (CUDA {found.get('cuda')}) does not find the GPU, whose driver runs CUDA "
            f"{gpu.cuda if gpu else '?'}; --torch-index URL or TORCH_INDEX=URL names an index of builds for it"
        )
    if stage.message:
        stage.outcome = "failed"
    else:
        absent = [name for name in USED_IF_THERE if name in found["missing"]]
        stage.message = f"torch {found['torch']}, CUDA {found.get('cuda')}"
        stage.message += f"; not installed: {', '.join(absent)}" if absent else ""
    stage.seconds = time.monotonic() - start
    return python, stage


def run_tests(python: Path, options: argparse.Namespace, folder: Path, summary: Summary) -> Stage:
    """Run the tests and collect their results, also those before a crash."""
    stage, start = Stage("tests"), time.monotonic()
    lines = folder / "tests.jsonl"
    lines.unlink(missing_ok=True)
    marked = "gpu" if options.device == "cuda" else "not gpu and not slow"
    command: list[object] = [
        python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marked, "--confcutdir", "tests/gpu", "-o",
        "addopts=--import-mode=importlib", "-o", "filterwarnings=default", "tests/gpu",
    ]  # fmt: skip
    if "pytest_timeout" not in look(python)["missing"]:
        command += ["--timeout", "180"]
    environment = {"MEMSWEEP_GPU_RESULTS": str(lines), "MEMSWEEP_CACHE": str(folder / "cache")}
    problem = run(command, folder / "tests.log", 60 * TESTS_MINUTES, environment)
    if lines.exists():
        summary.tests = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    counts = {
        outcome: sum(test["outcome"] == outcome for test in summary.tests)
        for outcome in ("passed", "failed", "skipped")
    }
    stage.message = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    if problem or not summary.tests:
        stage.outcome = "failed"
        stage.message = f"{stage.message or 'no test ran'}; {problem}; see {folder / 'tests.log'}"
    stage.seconds = time.monotonic() - start
    return stage


def run_benchmark(
    python: Path, options: argparse.Namespace, folder: Path, summary: Summary, minutes: float
) -> Stage:  # fmt: skip
    """Run the benchmark and collect the series that it has finished, also those before a crash."""
    stage, start = Stage("benchmark"), time.monotonic()
    path = folder / "benchmark.json"
    path.unlink(missing_ok=True)
    command: list[object] = [python, "tests/benchmarks/gpu.py", "--device", options.device, "--json", path]
    command += ["--minutes", f"{minutes:.2f}", *(["--quick"] if options.quick else [])]
    command += ["--only", *options.only] if options.only else []
    environment = {"MEMSWEEP_CACHE": str(folder / "cache")}
    problem = run(command, folder / "benchmark.log", 60 * minutes + 60, environment)
    if path.exists():
        summary.benchmark = json.loads(path.read_text(encoding="utf-8"))
    stage.message = f"{len(summary.benchmark.get('series', ()))} series"
    if problem:
        stage.outcome = "failed"
        stage.message += f"; {problem}; see {folder / 'benchmark.log'}"
    stage.seconds = time.monotonic() - start
    return stage


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="install these wheels, without the network")
    parser.add_argument("--torch-index", metavar="URL", default=os.environ.get("TORCH_INDEX"), help="of torch's builds")
    parser.add_argument("--minutes", type=float, default=25.0, help="for everything (default %(default)s)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: rehearse")
    parser.add_argument("--quick", action="store_true", help="a benchmark that measures nothing")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="the series of the benchmark (default all)")
    parser.add_argument("--no-setup", action="store_true", help="use this Python as it is")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "gpu", help="for the results and logs")
    options = parser.parse_args(arguments)
    end = time.monotonic() + 60 * options.minutes
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    gpu = next(iter(visible_gpus()), None)
    if options.device == "cuda" and gpu is None:
        say("no GPU: the CUDA driver finds none on this machine")
        return NO_GPU
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for log in folder.glob("*.log"):
        log.unlink()
    summary = Summary(folder / "summary.json", gpu)
    if gpu and options.device == "cuda":
        say(f"{gpu.name}, {gpu.multiprocessors} multiprocessors, {gpu.bytes / 2**30:.0f} GiB, CUDA {gpu.cuda}")
        if not options.quick:
            name = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
            summary.saved = RESULTS / f"gpu-{name}.json"
    python, stage = set_up(options, gpu, folder)
    summary.add(stage)
    if stage.outcome == "passed":
        summary.add(run_tests(python, options, folder, summary))
        left = (end - time.monotonic()) / 60 - 1.5
        summary.add(run_benchmark(python, options, folder, summary, max(1.0, left)))
    if summary.saved and summary.benchmark:
        start = time.monotonic()
        problem = run([python, "-P", "tests/documents.py", "--write"], folder / "documents.log", 60)
        outcome = "failed" if problem else "passed"
        summary.add(Stage("docs/gpu.md", outcome, time.monotonic() - start, problem))
    failed = [stage.name for stage in summary.stages if stage.outcome == "failed"]
    said = f"failed: {', '.join(failed)}" if failed else "everything passed"
    say(f"{said}; results: {summary.saved or summary.path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
