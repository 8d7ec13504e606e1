"""Baselines for memsweep: a Tune trial with a Lightning Trainer for each point, and a bare PyTorch loop.

Both baselines train one network at a time, as an experienced user of the libraries would write it, and neither uses
memsweep. Every choice favours the baselines: one thread per process, no checkpoints, no result files, no sanity check,
the test set as one validation batch, and measures of the test set alone.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Training inputs [n, *shape], training labels [n], test inputs and test labels."""

Setting = Mapping[str, Any]
"""The values of SETTING by name."""

SETTING = (
    "model", "width", "epochs", "label_noise", "dropout", "weight_decay", "learning_rate", "momentum", "batch_size",
    "seed",
)  # fmt: skip
"""The fields of a point that the baselines read. `model` is mlp or convnet."""

RAY_NICENESS = 15
"""Niceness of Ray's workers. The bare loop's processes get the same, to be comparable on a machine that is not idle."""


@dataclass(frozen=True)
class Timing:
    """Seconds that all settings took together, and of each setting the test accuracy and its own seconds."""

    seconds: float
    accuracies: list[float]
    each: list[float]


def network(inputs: int, classes: int, setting: Setting) -> nn.Sequential:
    """Return an MLP of two hidden layers, or a convnet of three for signals of one channel, with ReLU and dropout."""
    width, dropout = setting["width"], setting["dropout"]
    if setting["model"] == "convnet":
        layers: list[nn.Module] = []
        for channels, kernel in ((1, 5), (width, 3), (width, 3)):
            layers += [nn.Conv1d(channels, width, kernel, stride=2, padding=1), nn.ReLU(), nn.Dropout(dropout)]
            inputs = (inputs + 2 - kernel) // 2 + 1
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * width, classes))
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout)),
        *(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout)),
        nn.Linear(width, classes),
    )


def tensors(arrays: Arrays, setting: Setting) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the data as tensors, with a fraction `label_noise` of the training labels redrawn uniformly."""
    inputs, labels, test_inputs, test_labels = arrays
    rng = np.random.default_rng(setting["seed"])
    chosen = rng.permutation(len(labels))[: int(setting["label_noise"] * len(labels))]
    noisy = labels.copy()
    noisy[chosen] = rng.integers(labels.max() + 1, size=len(chosen))
    copies = (np.array(array) for array in (inputs, noisy, test_inputs, test_labels))
    x, y, test_x, test_y = (torch.from_numpy(array) for array in copies)
    return x.float(), y.long(), test_x.float(), test_y.long()


def tune_and_lightning(
    arrays: Arrays, settings: Sequence[Setting], workers: int, reuse_actors: bool, gpus: float = 0.0
) -> Timing:
    """Run one Tune trial per setting, `workers` at a time, on a running Ray. Raises RuntimeError if a trial failed.

    Args:
        gpus: the share of a GPU on which each trial trains; 0 trains on the CPU.
    """
    from ray import tune

    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # no table on the terminal
    with tempfile.TemporaryDirectory(prefix="baseline-") as scratch:
        start = time.perf_counter()
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(lightning_trial, arrays=arrays), {"cpu": 1, "gpu": gpus}),
            param_space={"setting": tune.grid_search([dict(setting) for setting in settings])},
            tune_config=tune.TuneConfig(max_concurrent_trials=workers, reuse_actors=reuse_actors),
            run_config=tune.RunConfig(storage_path=scratch, verbose=0),
        )
        results = tuner.fit()
        seconds = time.perf_counter() - start
    if results.errors:
        raise RuntimeError(f"{len(results.errors)} of {len(settings)} trials failed; the first: {results.errors[0]}")
    ends = [results[i].metrics or {} for i in range(len(results))]
    return Timing(seconds, [end["accuracy"] for end in ends], [end["time_total_s"] for end in ends])


def lightning_trial(config: Mapping[str, Any], arrays: Arrays) -> None:
    """Train one setting. A user would pass a function like this to Tune."""
    import pytorch_lightning as pl
    from ray.tune.integration.pytorch_lightning import TuneReportCheckpointCallback
    from torch.utils.data import DataLoader, TensorDataset

    class PlainMLP(pl.LightningModule):
        def __init__(self, setting: Setting, inputs: int, classes: int) -> None:
            super().__init__()
            self.setting = setting
            self.network = network(inputs, classes, setting)

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            x, y = batch
            return functional.cross_entropy(self.network(x), y)

        def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
            x, y = batch
            logits = self.network(x)
            self.log("val_loss", functional.cross_entropy(logits, y))
            self.log("val_accuracy", (logits.argmax(1) == y).float().mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(
                self.parameters(),
                lr=self.setting["learning_rate"],
                momentum=self.setting["momentum"],
                weight_decay=self.setting["weight_decay"],
            )

    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    setting = config["setting"]
    on_gpu = torch.cuda.is_available()  # Ray hides GPUs from trials that request none
    torch.manual_seed(setting["seed"])
    x, y, test_x, test_y = tensors(arrays, setting)
    trainer = pl.Trainer(
        max_epochs=setting["epochs"],
        accelerator="gpu" if on_gpu else "cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        callbacks=[
            TuneReportCheckpointCallback(
                {"loss": "val_loss", "accuracy": "val_accuracy"}, on="validation_end", save_checkpoints=False
            )
        ],
    )
    trainer.fit(
        PlainMLP(setting, x[0].numel(), int(y.max()) + 1),
        DataLoader(TensorDataset(x, y), setting["batch_size"], shuffle=True, num_workers=0),
        DataLoader(TensorDataset(test_x, test_y), len(test_y), num_workers=0),
    )


class BarePool:
    """A pool of `workers` processes that have imported torch, hold the data in memory, and wait for settings to train.
    `startup_seconds` is the time that it took to start them."""

    def __init__(self, arrays: Arrays, workers: int) -> None:
        start = time.perf_counter()
        context = multiprocessing.get_context("spawn")
        ready = context.Barrier(workers + 1)
        self._pool = context.Pool(workers, _prepare, (arrays, ready))
        ready.wait()
        self.startup_seconds = time.perf_counter() - start

    def __enter__(self) -> BarePool:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.terminate()
        self._pool.join()

    def train(self, settings: Sequence[Setting]) -> Timing:
        start = time.perf_counter()
        trained = self._pool.map(_train_here, [dict(setting) for setting in settings], chunksize=1)
        accuracies, each = zip(*trained, strict=True)
        return Timing(time.perf_counter() - start, [*accuracies], [*each])


_arrays: list[Arrays] = []


def _prepare(arrays: Arrays, ready: Any) -> None:
    os.nice(RAY_NICENESS)
    torch.set_num_threads(1)
    _arrays.append(arrays)
    bare_loop(arrays, {**_WARM_UP, "epochs": 1})
    ready.wait()


_WARM_UP: Setting = {
    "model": "mlp", "width": 8, "label_noise": 0.0, "dropout": 0.0, "weight_decay": 0.0, "learning_rate": 0.01,
    "momentum": 0.9, "batch_size": 128, "seed": 0,
}  # fmt: skip


def _train_here(setting: Setting) -> tuple[float, float]:
    start = time.perf_counter()
    accuracy = bare_loop(_arrays[0], setting)
    return accuracy, time.perf_counter() - start


def bare_loop(arrays: Arrays, setting: Setting, on_training_too: bool = False) -> float:
    """Train in plain PyTorch, with one permutation per epoch and one slice per batch; return the test accuracy.

    `on_training_too` evaluates the training set as well as the test set.
    """
    torch.manual_seed(setting["seed"])
    x, y, test_x, test_y = tensors(arrays, setting)
    model = network(x[0].numel(), int(y.max()) + 1, setting)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=setting["learning_rate"],
        momentum=setting["momentum"],
        weight_decay=setting["weight_decay"],
    )
    model.train()
    for _ in range(setting["epochs"]):
        for rows in torch.randperm(len(y)).split(setting["batch_size"]):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        for inputs, labels in ((x, y), (test_x, test_y))[0 if on_training_too else 1 :]:
            logits = model(inputs)
            float(functional.cross_entropy(logits, labels))
            accuracy = float((logits.argmax(1) == labels).float().mean())
    return accuracy
