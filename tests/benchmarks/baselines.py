"""What memsweep is measured against: a Tune trial with a Lightning Trainer for each point, and a bare PyTorch loop.

Both are written as somebody who knows the libraries would write them for one training at a time, and neither uses
memsweep. Where there was a choice it was made in their favour: one thread a process, no checkpoints, no result files,
no sanity check, the test set as one validation batch, and measures of the test set alone.
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
"""Training inputs [n, *shape] and labels [n], test inputs and labels."""

Setting = Mapping[str, Any]
"""width, epochs, label_noise, dropout, weight_decay, learning_rate, momentum, batch_size, seed."""


RAY_NICENESS = 15
"""Ray's workers yield to other processes; on a machine that is not idle the bare loop's have to do so as well."""


@dataclass(frozen=True)
class Timing:
    """Seconds for all settings, and the test accuracy that each reached."""

    seconds: float
    accuracies: list[float]


def network(inputs: int, classes: int, setting: Setting) -> nn.Sequential:
    """Two hidden ReLU layers with dropout."""
    width, dropout = setting["width"], setting["dropout"]
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout)),
        *(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout)),
        nn.Linear(width, classes),
    )


def tensors(arrays: Arrays, setting: Setting) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The data with a fraction `label_noise` of the training labels redrawn uniformly."""
    inputs, labels, test_inputs, test_labels = arrays
    rng = np.random.default_rng(setting["seed"])
    chosen = rng.permutation(len(labels))[: int(setting["label_noise"] * len(labels))]
    noisy = labels.copy()
    noisy[chosen] = rng.integers(labels.max() + 1, size=len(chosen))
    copies = (np.array(array) for array in (inputs, noisy, test_inputs, test_labels))
    x, y, test_x, test_y = (torch.from_numpy(array) for array in copies)
    return x.float(), y.long(), test_x.float(), test_y.long()


def tune_and_lightning(arrays: Arrays, settings: Sequence[Setting], workers: int, reuse_actors: bool) -> Timing:
    """One Tune trial a setting, `workers` at a time; Ray has to be running. Raises RuntimeError if a trial failed."""
    from ray import tune

    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # no table on the terminal
    with tempfile.TemporaryDirectory(prefix="baseline-") as scratch:
        start = time.perf_counter()
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(lightning_trial, arrays=arrays), {"cpu": 1}),
            param_space={"setting": tune.grid_search([dict(setting) for setting in settings])},
            tune_config=tune.TuneConfig(max_concurrent_trials=workers, reuse_actors=reuse_actors),
            run_config=tune.RunConfig(storage_path=scratch, verbose=0),
        )
        results = tuner.fit()
        seconds = time.perf_counter() - start
    if results.errors:
        raise RuntimeError(f"{len(results.errors)} of {len(settings)} trials failed; the first: {results.errors[0]}")
    return Timing(seconds, [(results[i].metrics or {})["accuracy"] for i in range(len(results))])


def lightning_trial(config: Mapping[str, Any], arrays: Arrays) -> None:
    """The function that a user would hand to Tune."""
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
    torch.manual_seed(setting["seed"])
    x, y, test_x, test_y = tensors(arrays, setting)
    trainer = pl.Trainer(
        max_epochs=setting["epochs"],
        accelerator="cpu",
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
    """One process a core, each with torch imported and the data in memory, waiting for settings to train.

    `startup_seconds` is what that took.
    """

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
        accuracies = self._pool.map(_train_here, [dict(setting) for setting in settings], chunksize=1)
        return Timing(time.perf_counter() - start, accuracies)


_arrays: list[Arrays] = []


def _prepare(arrays: Arrays, ready: Any) -> None:
    os.nice(RAY_NICENESS)
    torch.set_num_threads(1)
    _arrays.append(arrays)
    bare_loop(arrays, {**_WARM_UP, "epochs": 1})
    ready.wait()


_WARM_UP: Setting = {
    "width": 8, "label_noise": 0.0, "dropout": 0.0, "weight_decay": 0.0, "learning_rate": 0.01, "momentum": 0.9,
    "batch_size": 128, "seed": 0,
}  # fmt: skip


def _train_here(setting: Setting) -> float:
    return bare_loop(_arrays[0], setting)


def bare_loop(arrays: Arrays, setting: Setting) -> float:
    """Plain PyTorch: a permutation an epoch, a slice a batch; the test accuracy at the end is all that is measured."""
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
        return float((model(test_x).argmax(1) == test_y).float().mean())
