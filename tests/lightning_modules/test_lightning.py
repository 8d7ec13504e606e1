"""Tests of the lean import of Lightning, in fresh processes: what it leaves out, and that all of it works later."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

DEFERRED = {"torch._dynamo", "torch._inductor", "sympy", "scipy", "matplotlib", "torchmetrics.functional"}
UNUSED = {*DEFERRED, "pandas", "seaborn", "ray"}


def run(code: str) -> list[str]:
    """Return the modules that a process has imported after running the code."""
    report = "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


TRAINED = """
import numpy as np
from lightning_modules.data.dataset import Dataset
from lightning_modules.settings import Settings
from lightning_modules.training.entry import Entry
from lightning_modules.training.train import train_cohort

draws = np.random.default_rng(0)
inputs, labels = draws.normal(size=(60, 1, 12)), np.arange(60) % 3
data = Dataset.of(inputs[:40], labels[:40], inputs[40:], labels[40:])
for model, optimizer, dropout in (("mlp", "sgd", 0.2), ("convnet", "adamw", 0.0)):
    fields = dict(model=model, optimizer=optimizer, dropout=dropout, width=4, depth=1, epochs=2)
    members = [Settings(data="given", dataset_size=40, batch_size=10, seed=seed, **fields) for seed in (0, 1)]
    result = train_cohort([Entry(str(member.seed), member, (1, 2)) for member in members], data)
    assert [len(member.rows) for member in result.members] == [2, 2]
"""


def test_a_training_imports_no_library_that_it_does_not_use():
    imported = run(TRAINED)
    assert "pytorch_lightning.trainer.trainer" in imported
    assert not UNUSED & {*imported}


USED = """
import sys
import torch
from lightning_modules.lightning import Deferred, pl

assert not DEFERRED & {*sys.modules}
import lightning_fabric.wrappers
import torchmetrics
from pytorch_lightning.utilities.compile import from_compiled, to_uncompiled
from torchmetrics import Metric, MetricCollection

class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.error = torchmetrics.MeanSquaredError()

    def training_step(self, batch):
        x, y = batch
        out = self.layer(x)
        self.error(out, y)
        self.log("error", self.error)
        self.log("loss", ((out - y) ** 2).mean())
        return ((out - y) ** 2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

assert lightning_fabric.wrappers._unwrap_compiled(torch.nn.Linear(1, 1))[1] is None  # uses the deferred class
assert "torch._dynamo" not in sys.modules
assert "matplotlib" not in sys.modules
assert torchmetrics.MeanSquaredError is __import__("torchmetrics.regression", fromlist=["*"]).MeanSquaredError
assert torchmetrics.Metric is Metric and issubclass(torchmetrics.MeanSquaredError, Metric)
assert {"Accuracy", "functional", "Metric", "__version__"} <= {*dir(torchmetrics)}
assert "__getattr__" not in vars(torchmetrics)  # the package is an ordinary one from here on
from torchmetrics.functional import accuracy
try:
    torchmetrics.Acuracy
except AttributeError as error:
    assert "Acuracy" in str(error)
else:
    raise AssertionError
module = Module()
trainer = pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                     enable_model_summary=False, accelerator="cpu")
trainer.fit(module, torch.utils.data.DataLoader([(torch.zeros(2), torch.ones(1))] * 4, batch_size=2))
assert {"error", "loss"} <= {*trainer.callback_metrics}

import scipy.signal, matplotlib.pyplot
matplotlib.use("agg")
figure, axes = MetricCollection([module.error])["MeanSquaredError"].plot(torch.tensor(1.0))
assert isinstance(figure, matplotlib.figure.Figure)

compiled = torch.compile(module, backend="eager")
import torch._dynamo
assert isinstance(compiled, torch._dynamo.OptimizedModule)
assert isinstance(compiled, lightning_fabric.wrappers.OptimizedModule)
assert not isinstance(module, lightning_fabric.wrappers.OptimizedModule)
assert from_compiled(compiled) is module and to_uncompiled(module) is module
assert torch.compiler.disable.__module__ == "torch.compiler" and __import__ is __builtins__.__import__
"""


@pytest.mark.slow
def test_what_was_deferred_is_the_real_thing_when_it_is_used():
    assert {*run(f"DEFERRED = {DEFERRED!r}{USED}")} > DEFERRED - {"torch._inductor"}


@pytest.mark.slow
def test_nothing_is_deferred_in_what_was_imported_before():
    code = """
import sys, types
for name in ("torchmetrics", "pytorch_lightning"):
    sys.modules[name] = types.ModuleType(name)
before = sys.modules["torchmetrics"], __import__
from lightning_modules.lightning import pl
assert pl is sys.modules["pytorch_lightning"] and before == (sys.modules["torchmetrics"], __import__)
assert not hasattr(before[0], "__getattr__")
"""
    run(code)
