"""Tests of the inspection of users' networks: what it remembers, and that it leaves no trace."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_modules.data.dataset import Dataset
from lightning_modules.errors import ModelError
from lightning_modules.models import families
from lightning_modules.settings import Settings
from lightning_modules.training.inspection import inspect as module
from lightning_modules.training.inspection.inspect import inspect

SOUND = """
from torch import nn

def make(classes, width=5):
    return nn.Sequential(nn.Linear(6, width), nn.Dropout(), nn.ReLU(), nn.BatchNorm1d(width), nn.Linear(width, classes))
"""
UNSOUND = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.out = nn.Linear(6, classes)

    def forward(self, x):
        return self.out(x - x.mean(0))

def make(classes):
    return Net(classes)
"""
AT_IMPORT = {
    "parameter": "drawn = torch.rand(3, 6)\nnet.weight.data.copy_(drawn)",
    "logits": "drawn = torch.rand(6)\nnet.register_forward_pre_hook(lambda module, given: (given[0] * drawn,))",
    "numpy": "drawn = torch.tensor(np.random.default_rng().random((3, 6)))\nnet.weight.data.copy_(drawn)",
    "python": "drawn = random.random()\nnet.register_forward_hook(lambda module, given, out: out * drawn)",
    "time": "drawn = time.time_ns() % 1_000_003\nnet.bias.data.fill_(drawn)",
    "size": "drawn = uuid.uuid4().int % 2**20\nnet.register_buffer('extra', torch.zeros(drawn))",
    "fixed": "drawn = torch.rand(3, 6, generator=torch.Generator().manual_seed(0))\nnet.weight.data.copy_(drawn)",
    "seeded": "np.random.seed(3); drawn = torch.tensor(np.random.random((3, 6)))\nnet.weight.data.copy_(drawn)",
    "unused": "drawn = uuid.uuid4()\nnet.bias.data.zero_()",
    "once": "assert not hasattr(nn, 'NAME'); drawn = nn.NAME = 1\nnet.bias.data.zero_()",
}
"""Case -> what a user's file draws when it is imported, and, on the next line, what a network does with it."""
SWEEP = """
name: mine
fixed: {data: digits, dataset_size: 20, epochs: 1, model: "MODEL:make"}
grid: {seed: [0, 1], learning_rate: [0.1, 0.2]}
"""


@pytest.fixture
def dataset() -> Dataset:
    draw = np.random.default_rng(0)
    return Dataset.of(draw.normal(size=(3, 6)), np.arange(3), draw.normal(size=(3, 6)), np.arange(3), classes=3)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Settings]:
    """Return a function that writes a user's module and returns a training of its model."""
    monkeypatch.setenv("MEMSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_passed", set())
    monkeypatch.syspath_prepend(str(tmp_path))

    def settings(name: str, source: str) -> Settings:
        (tmp_path / f"{name}.py").write_text(source)
        return Settings(data="x", model=f"{name}:make", model_digest=families.digest(f"{name}:make"))

    return settings


def test_a_network_is_run_once_per_code_size_and_precision(write, dataset, monkeypatch):
    settings = write("inspected_once", SOUND)
    assert inspect(settings, lambda: dataset)
    assert not inspect(settings, lambda: pytest.fail("loads the data"))
    monkeypatch.setattr(module, "_passed", set())  # as in another process
    assert not inspect(settings, lambda: pytest.fail("loads the data"))
    for change in ({"width": 3}, {"precision": "float64"}, {"model_digest": "edited"}, {"data_digest": "other data"}):
        assert inspect(settings.model_copy(update=change), lambda: dataset)
    for inert in ({"seed": 4}, {"learning_rate": 0.5}, {"dropout": 0.2}, {"label_noise": 0.3}):
        assert not inspect(settings.model_copy(update=inert), lambda: dataset)


def test_without_source_nothing_is_remembered(write, dataset):
    settings = write("inspected_twice", SOUND).model_copy(update={"model_digest": ""})
    assert inspect(settings, lambda: dataset)
    assert inspect(settings, lambda: dataset)


def test_a_refusal_is_not_remembered_and_names_the_class(write, dataset):
    settings = write("inspected_refused", UNSOUND)
    for _ in range(2):
        with pytest.raises(ModelError, match=r"^inspected_refused:make \(Net\) gives an example other logits beside"):
            inspect(settings, lambda: dataset)


@pytest.mark.parametrize("source", [SOUND, UNSOUND])
def test_it_leaves_generators_threads_and_modes_as_they_were(write, dataset, source):
    settings = write(f"inspected_quietly_{source is SOUND}", source)
    np.random.seed(3)

    def state() -> tuple[object, ...]:
        return (
            torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate(),
            torch.get_num_threads(), torch.get_deterministic_debug_mode(), torch.get_default_dtype(),
        )  # fmt: skip

    torch.set_num_threads(2)
    before = state()
    try:
        inspect(settings, lambda: dataset)
    except ModelError:
        assert source is UNSOUND
    after = state()
    torch.set_num_threads(1)
    assert after == before


@pytest.mark.parametrize(
    ("case", "kept_in"),
    [*((case, "the file of the model") for case in AT_IMPORT), ("parameter", "a helper"), ("fixed", "a helper")],
)
def test_a_network_that_depends_on_what_its_files_draw_at_import_is_refused(
    write, dataset, tmp_path, monkeypatch, case, kept_in
):
    """In one process two networks of a seed are equal; in two processes they are not."""
    name = f"imported_{case}_{kept_in.split()[-1]}"
    drawn, used = AT_IMPORT[case].replace("NAME", name).split("\n")
    start = f"import random, time, uuid\nimport numpy as np\nimport torch\nfrom torch import nn\n{drawn}\n"
    if kept_in == "a helper":
        (tmp_path / f"{name}_helper.py").write_text(start)
        start = f"import torch\nfrom torch import nn\nfrom {name}_helper import drawn\n"
    monkeypatch.setattr(torch.nn, name, None, raising=False)
    monkeypatch.delattr(torch.nn, name)
    settings = write(name, f"{start}def make(classes):\n    net = nn.Linear(6, classes)\n    {used}\n    return net\n")
    before = {module: sys.modules.get(module) for module in (name, f"{name}_helper")}
    if case in ("fixed", "seeded", "unused", "once"):
        assert inspect(settings, lambda: dataset)
    else:
        words = f"^{name}:make .*another network each time that its files are imported, in .*draw it where"
        with pytest.raises(ModelError, match=words):
            inspect(settings, lambda: dataset)
    assert {module: sys.modules.get(module) for module in before} == before


@pytest.mark.parametrize("command", ["plan", "run"])
def test_the_command_line_refuses_it_with_one_sentence(write, tmp_path, monkeypatch, command):
    from memsweep import cli
    from typer.testing import CliRunner

    images = UNSOUND.replace("nn.Linear(6,", "nn.Linear(64,").replace("x - x.mean(0)", "(x - x.mean(0)).flatten(1)")
    write(f"inspected_by_{command}", images)
    (tmp_path / "s.yaml").write_text(SWEEP.replace("MODEL", f"inspected_by_{command}"))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.app, [command, "s.yaml"])
    words = " ".join((str(result.exception or "") + result.output).split())
    assert result.exit_code != 0
    assert f"s.yaml: model: inspected_by_{command}:make (Net) gives an example other logits beside" in words
    assert not (tmp_path / "results").exists()


def test_a_plan_of_memsweeps_own_families_inspects_nothing():
    program = (
        "import sys, memsweep as ms\n"
        "from sweeps.planning.inspection import inspect_networks\n"
        "ms.plan('quickstart')\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
