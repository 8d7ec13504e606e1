"""The contenders of gpu.py. Each runs in a process of its own, and writes a line of JSON per measurement.

    python tests/benchmarks/gpu_contenders.py SERIES FILE     # gpu.py calls it

SERIES is a `gpu.Series` as JSON. A line is a measurement, or {"skipped": why}, or {"error": what}.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from gpu_cases import CASES, Emit, dataset, wait_for
from gpu_updates import updates
from torch import Tensor, nn
from torch.nn import functional

from lightning_modules.data.datamodule import CohortData
from lightning_modules.data.sources import Dataset
from lightning_modules.models.seeded import build_member
from lightning_modules.settings import Settings
from lightning_modules.training.entry import Entry
from lightning_modules.training.precision import set_products
from lightning_modules.training.stack import reproducible
from lightning_modules.training.train import train_cohort

MPS = "nvidia-cuda-mps-control"
STREAMS = 8
STARTUP = 90.0
"""The most seconds until all processes of a contender are ready."""


def stack(series: Mapping[str, Any], emit: Emit) -> None:
    """Train K members as one stack, for K = 1, 4, 16, ..."""
    case, device, quick = CASES[series["case"]], series["device"], series["quick"]
    data, stop = dataset(case.data), time.monotonic() + series["seconds"]
    members = 1
    while members <= (2 if quick else case.most):
        settings = [case.settings(k, quick, **series["options"]) for k in range(members)]

        def run(epochs: int, settings: Sequence[Settings] = settings) -> float:
            some = [each.model_copy(update={"epochs": epochs}) for each in settings]
            evaluated = sorted({epoch for epoch in (5, 10, 20) if epoch < epochs} | {epochs})
            start = time.perf_counter()
            train_cohort([Entry(str(k), each, evaluated) for k, each in enumerate(some)], data, device=device)
            wait_for(device)
            return time.perf_counter() - start

        epochs = settings[0].epochs
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        try:
            first = run(1)  # loads kernels and records the update
            seconds = [run(epochs)]
            while len(seconds) < 3 and time.monotonic() + seconds[0] < stop and not quick:
                seconds.append(run(epochs))
        except torch.OutOfMemoryError as error:
            emit(members=members, error=f"out of memory: {error}".partition("\n")[0])
            return
        peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
        emit(members=members, seconds=seconds, first_epoch_seconds=first, peak_bytes=peak)
        step = 2 if quick else 4
        if time.monotonic() + step * min(seconds) > stop:
            return
        members *= step


def train_plainly(settings: Settings, data: Dataset, device: str) -> float:
    """Train one network as one would without memsweep, its data on the device; return its test accuracy."""
    examples = CohortData([settings], data, torch.device(device), torch.float32)
    x, y = examples.train.take(torch.arange(examples.train.size, device=device)[None])
    x, y = x[0], y[0]
    torch.manual_seed(settings.seed)
    network = build_member(settings, data.shape, data.classes).to(device)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = settings.dropout
    optimizer = torch.optim.SGD(
        network.parameters(), settings.learning_rate, settings.momentum, weight_decay=settings.weight_decay
    )
    network.train()
    for _ in range(settings.epochs):
        for rows in torch.randperm(len(y), device=device).split(settings.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        test = torch.from_numpy(data.test_inputs).to(device)
        logits = torch.cat([network(part) for part in test.split(512)])
    return float((logits.argmax(1).cpu() == torch.from_numpy(data.test_labels)).float().mean())


def _prepare(case: str, device: str, quick: bool, ready: Any) -> None:
    torch.set_num_threads(1)
    set_products("float32", torch.device(device))
    settings = CASES[case].settings(0, quick).model_copy(update={"epochs": 1})
    train_plainly(settings, dataset(CASES[case].data), device)  # loads kernels
    ready.wait()


def _train_here(task: tuple[str, str, bool, int]) -> float:
    case, device, quick, k = task
    return train_plainly(CASES[case].settings(k, quick), dataset(CASES[case].data), device)


def processes(series: Mapping[str, Any], emit: Emit) -> None:
    """Train networks one at a time in each of k processes that share the device, perhaps under MPS."""
    case, device, quick = series["case"], series["device"], series["quick"]
    count = min(2, series["options"]["processes"]) if quick else series["options"]["processes"]
    with mps() if series["options"].get("mps") else nothing() as problem:
        if problem:
            emit(skipped=problem)
            return
        context = multiprocessing.get_context("spawn")
        ready = context.Barrier(count + 1)
        with context.Pool(count, _prepare, (case, device, quick, ready)) as pool:
            ready.wait(STARTUP)
            trained, stop = 0, time.monotonic() + series["seconds"]
            while True:
                start = time.perf_counter()
                pool.map(_train_here, [(case, device, quick, trained + k) for k in range(count)], chunksize=1)
                seconds = time.perf_counter() - start
                trained += count
                emit(members=count, seconds=[seconds])
                if quick or trained >= 8 * count or time.monotonic() + seconds > stop:
                    return


@contextmanager
def nothing() -> Iterator[str]:
    yield ""


@contextmanager
def mps() -> Iterator[str]:
    """Run the MPS daemon of the user in the context. Yields why it cannot, or an empty string."""
    command = shutil.which(MPS)
    if command is None:
        yield f"{MPS} is not installed"
        return
    if not torch.cuda.is_available():
        yield "there is no GPU"
        return
    folder = Path(tempfile.mkdtemp(prefix="mps-", dir="/tmp"))  # short, because it holds sockets
    os.environ |= {"CUDA_MPS_PIPE_DIRECTORY": str(folder), "CUDA_MPS_LOG_DIRECTORY": str(folder)}
    try:
        started = subprocess.run([command, "-d"], capture_output=True, text=True, timeout=20, check=False)
        if started.returncode:
            yield f"{MPS} -d: {(started.stderr or started.stdout).strip()}"
            return
        try:
            yield ""
        finally:
            log = folder / "control.log"
            served = "Server" in log.read_text(errors="replace") if log.exists() else False
            subprocess.run([command], input="quit\n", capture_output=True, text=True, timeout=20, check=False)
            if not served:
                raise RuntimeError(f"{MPS} runs, but its log shows no server: the processes did not use it")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def tune(series: Mapping[str, Any], emit: Emit) -> None:
    """Run one Tune trial with a Lightning Trainer per training, on a fraction of the GPU."""
    try:
        import ray
    except ImportError:
        emit(skipped="ray is not installed")
        return
    from baselines import tune_and_lightning

    case, quick, options = CASES[series["case"]], series["quick"], series["options"]
    at_once, reuse = options["at_once"], options["reuse"]
    data = dataset(case.data)
    size = 40 if quick else len(data.train_labels)
    arrays = (data.train_inputs[:size], data.train_labels[:size], data.test_inputs, data.test_labels)
    names = ("model", "width", "depth", "epochs", "label_noise", "dropout", "weight_decay", "learning_rate", "momentum",
             "batch_size", "seed")  # fmt: skip
    gpus = 1 / at_once if series["device"] == "cuda" else 0.0
    ray.init("local", num_cpus=at_once, include_dashboard=False, log_to_driver=False)
    try:
        trials = at_once * (1 if quick else 2)
        settings = [case.settings(k, quick) for k in range(trials)]
        chosen = [{name: getattr(each, name) for name in names} for each in settings]
        timing = tune_and_lightning(arrays, chosen, at_once, reuse, gpus)
        emit(members=trials, seconds=[timing.seconds])
    finally:
        ray.shutdown()


def _grouped(x: Tensor, weights: Tensor) -> Tensor:
    members = len(x)
    together = x.transpose(0, 1).flatten(1, 2)
    out = functional.conv2d(together, weights.flatten(0, 1), padding=1, groups=members)
    return out.unflatten(1, (members, -1)).transpose(0, 1)


def _unfolded(x: Tensor, weights: Tensor) -> Tensor:
    members, batch = x.shape[:2]
    columns = functional.unfold(x.flatten(0, 1), 3, padding=1).unflatten(0, (members, batch))
    out = weights.flatten(2)[:, None] @ columns
    return out.unflatten(-1, x.shape[-2:])


def _in_streams(x: Tensor, weights: Tensor) -> Tensor:
    current = torch.cuda.current_stream()
    streams = [torch.cuda.Stream() for _ in range(STREAMS)]
    for stream in streams:
        stream.wait_stream(current)
    outputs = []
    for k, (one, kernel) in enumerate(zip(x, weights, strict=True)):
        with torch.cuda.stream(streams[k % STREAMS]):
            outputs.append(functional.conv2d(one, kernel, padding=1))
    for stream in streams:
        current.wait_stream(stream)
    return torch.stack(outputs)


CONVOLUTIONS = {"grouped": _grouped, "unfold + bmm": _unfolded, "streams": _in_streams}


def convolution(series: Mapping[str, Any], emit: Emit) -> None:
    """Time a 3 x 3 convolution of K members, forward and backward, in one of the ways of CONVOLUTIONS."""
    device, quick, options = series["device"], series["quick"], series["options"]
    way = CONVOLUTIONS[options["way"]]
    if options["way"] == "streams" and device != "cuda":
        emit(skipped="a CPU has no streams")
        return
    set_products("float32", torch.device(device))
    batch, channels, side = (4, 3, 8) if quick else (options["batch"], options["channels"], options["side"])
    for members in (1, 2) if quick else (1, 4, 16, 64):
        x = torch.randn(members, batch, channels, side, side, device=device, requires_grad=True)
        weights = torch.randn(members, channels, channels, 3, 3, device=device, requires_grad=True)

        def once(x: Tensor = x, weights: Tensor = weights) -> None:
            torch.autograd.grad(way(x, weights).sum(), (x, weights))

        try:
            for _ in range(3):
                once()
            wait_for(device)
            seconds = []
            for _ in range(3):
                start = time.perf_counter()
                for _ in range(10):
                    once()
                wait_for(device)
                seconds.append((time.perf_counter() - start) / 10)
        except torch.OutOfMemoryError as error:
            emit(members=members, error=f"out of memory: {error}".partition("\n")[0])
            return
        emit(members=members, seconds=seconds)


CONTENDERS: dict[str, Callable[[Mapping[str, Any], Emit], None]] = {
    "stack": stack, "processes": processes, "tune": tune, "convolution": convolution,
    "updates": updates,
}  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    series, path = json.loads(arguments[0]), Path(arguments[1])

    def emit(**measured: Any) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(measured) + "\n")

    reproducible(series["device"])
    try:
        CONTENDERS[series["contender"]](series, emit)
    except Exception as error:
        traceback.print_exc()
        emit(error=f"{type(error).__name__}: {error}"[-600:])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
