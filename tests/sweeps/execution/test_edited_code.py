"""Runs whose code or data are edited: before a plan, between the plan and the training, and during the training."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.errors import ExecutionError
from sweeps.execution.identity import planned_files
from sweeps.execution.inline import Inline
from sweeps.execution.worker import Worker
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import load_sweep
from sweeps.store.leases import Run
from sweeps.store.store import Store

pytestmark = pytest.mark.xdist_group("forks")

SWEEP = """
name: edited
fixed: {data: digits, dataset_size: 40, model: "MODEL:make", epochs: 1}
grid: {width: [3, 4], seed: [0, 1]}
"""
MODEL = """
from torch import nn
from HELPER import activation

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), activation(), nn.Linear(width, 10))

    def forward(self, x):
        if x.device.type != "meta":
            import LATE
        return self.layers(x)

def make(width):
    return Net(width)
"""
HELPER = """
from torch import nn

def activation():
    return nn.ReLU()
"""
DATA = """
import numpy as np
from HELPER import shift

def make():
    numbers = np.random.default_rng(0).normal(size=(60, 64)) + shift
    return numbers[:40], np.arange(40) % 2, numbers[40:], np.arange(20) % 2
"""


class Folder:
    """A folder with a sweep, a model, its helper and a module that the model imports in training."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.model, self.helper, self.late = path, f"{name}_model", f"{name}_helper", f"{name}_late"
        self.store = Store(path / "results")
        self.write(f"{self.helper}.py", HELPER)
        self.write(f"{self.late}.py", "NUMBER = 1\n")
        self.write(f"{self.model}.py", MODEL)
        self.write("my.yaml", SWEEP)

    def write(self, file: str, text: str) -> None:
        path = self.path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        names = {"HELPER": self.helper, "LATE": self.late, "MODEL": self.model}
        for word, name in names.items():
            text = text.replace(word, name)
        path.write_text(text)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.path / f"{file}.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Folder:
    """A folder whose modules have names of their own, because this process imports them."""
    return Folder(tmp_path / "proj", f"m{abs(hash(request.node.nodeid)):x}")


@pytest.fixture
def importable(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(folder.path))
    before = {*sys.modules}
    yield
    for name in {*sys.modules} - before:
        if name.startswith(folder.model.removesuffix("model")):
            del sys.modules[name]


@pytest.fixture
def memsweep(fork: Callable[..., Any]) -> Callable[..., str]:
    """Return a function that runs a command of memsweep in a process of its own and returns its output."""

    def run(at: Path, *words: str, code: int = 0) -> str:
        process = fork("from memsweep.guard import main; main()", ["memsweep", *words], at)
        output, _ = process.communicate(120)
        assert process.returncode == code, output
        return str(output)

    return run


def first_lines(output: str) -> list[str]:
    return output.splitlines()[:2]


def test_an_edited_helper_of_a_model_is_another_model_and_plan_names_it(folder: Folder, memsweep) -> None:
    assert "trained 4 of 4" in memsweep(folder.path, "run", "my.yaml", "--inline")
    folder.edit(folder.helper, "def activation():", "def activation():  # a comment\n")
    folder.write("unused.py", "NUMBER = 1\n")
    assert first_lines(memsweep(folder.path, "plan", "my.yaml"))[0] == "edited: 4 points, 4 done, 0 to train"
    folder.edit(folder.helper, "nn.ReLU", "nn.Tanh")
    assert first_lines(memsweep(folder.path, "plan", "my.yaml")) == [
        "edited: 4 points, 0 done, 4 to train",
        f"4 trainings in the store were made with another version of {folder.model}:make ({folder.helper}.py changed "
        "since): they are trained anew",
    ]
    output = memsweep(folder.path, "run", "my.yaml", "--inline", "--set", "seed=0", "--set", "width=3")
    assert "1 training in the store was made with another version" in output
    (told,) = json.loads(memsweep(folder.path, "plan", "my.yaml", "--json"))["superseded"]
    assert told.startswith("3 trainings"), "the new version of one is there"
    stored = {row["code"] for row in folder.store.read(["code"]).table.to_pylist()}
    assert [len(json.loads(code)) for code in stored] == [3, 3]


def test_an_edited_helper_of_a_data_function_gives_other_data(folder: Folder, memsweep) -> None:
    folder.write("spirals.py", DATA)
    folder.edit(folder.helper, "def activation", "shift = 1\n\ndef activation")
    words = ("my.yaml", "--set", "data=spirals:make", "--set", "model=mlp")
    assert "trained 4 of 4" in memsweep(folder.path, "run", *words, "--inline")
    folder.edit(folder.helper, "shift = 1", "shift = 1.5")
    assert first_lines(memsweep(folder.path, "plan", *words)) == [
        "edited: 4 points, 0 done, 4 to train",
        "4 trainings in the store were made with other data of spirals:make: they are trained anew",
    ]


def test_what_lies_beside_a_sweep_file_is_found_before_the_working_folder(folder: Folder, memsweep) -> None:
    inputs = np.random.default_rng(0).normal(size=(60, 64)).tolist()
    splits = ["train"] * 40 + ["test"] * 20
    table = pa.table({"features": inputs, "label": [i % 10 for i in range(60)], "split": splits})
    pq.write_table(table, folder.path / "my.parquet")
    elsewhere = folder.path.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{folder.model}.py").write_text("raise ValueError('the wrong one')\n")
    (elsewhere / "my.parquet").write_text("no table")
    words = ("--set", "data=parquet:my.parquet", "--store", str(folder.path / "results"))
    assert "trained 4 of 4" in memsweep(elsewhere, "run", "../proj/my.yaml", *words, "--inline")
    assert "4 done" in memsweep(folder.path, "plan", "my.yaml", *words), "the id does not depend on the folder"
    (folder.path / "my.parquet").rename(elsewhere / "my.parquet")
    (folder.path / f"{folder.model}.py").rename(elsewhere / f"{folder.model}.py")
    assert "4 done" in memsweep(elsewhere, "plan", "../proj/my.yaml", *words), "then in the working folder"


CHILD = """
import pickle, sys
from lightning_modules.data import sources
from sweeps.errors import ExecutionError
from sweeps.execution.worker import train_and_store
sys.path.append(sys.argv[1])
cohort, store, worker = pickle.loads(bytes.fromhex(sys.argv[2]))
try:
    train_and_store(cohort, sources.load("digits"), store, worker, lambda epoch: None)
except ExecutionError as error:
    print(error)
"""


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize("edited", ["model", "helper", "late", None])
def test_a_worker_refuses_code_that_was_edited_after_the_plan(folder: Folder, fork, edited: str | None) -> None:
    plan = Plan.of(load_sweep(str(folder.path / "my.yaml")))
    file = getattr(folder, edited) if edited else ""
    if edited:
        with (folder.path / f"{file}.py").open("a") as opened:
            opened.write("\nOTHER = 1\n")
    worker = Worker(Run.begin(folder.store.location), code=planned_files(plan))
    words = ["child", str(folder.path), pickle.dumps((plan.cohorts[0], folder.store, worker)).hex()]
    output, _ = fork(CHILD, words, folder.path).communicate(60)
    said = (
        f"{folder.model}:make: {file}.py changed after the run was planned; run the same command again; nothing was "
        "stored of what this worker trained\n"
    )
    assert output == (said if edited else "")
    assert folder.store.read().table.num_rows == (0 if edited else len(plan.cohorts[0].members))


STOPPING = """
evaluate: every
early_stopping: {scheduler: asha, metric: test_accuracy, grace_period: 1}
"""


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize("more", ["", STOPPING], ids=["cohorts", "lanes"])
def test_a_module_that_is_imported_in_training_is_compared_before_anything_is_stored(folder: Folder, more: str) -> None:
    folder.write("my.yaml", SWEEP.replace("epochs: 1", "epochs: 3") + more)
    plan = Plan.of(load_sweep(str(folder.path / "my.yaml")))
    folder.edit(folder.late, "1", "2")
    with pytest.raises(ExecutionError, match=rf"{folder.late}\.py was edited after this process imported it; start"):
        Inline(checkpoint_seconds=0).execute(plan, folder.store, lambda event: None)
    assert folder.store.read().table.num_rows == 0
    assert not [*folder.path.glob("results/checkpoints/*")]


@pytest.mark.usefixtures("importable")
def test_data_that_change_between_plan_and_training_are_refused(folder: Folder) -> None:
    counted = f"import os\n\ndef count():\n    return len(os.listdir({str(folder.path)!r}))\n\ndef activation"
    folder.edit(folder.helper, "def activation", counted)
    folder.write("many.py", DATA.replace("import shift", "import count").replace("+ shift", "+ count()"))
    plan = Plan.of(load_sweep(str(folder.path / "my.yaml"), ["data=many:make", "model=mlp"]))
    folder.write("another", "")
    with pytest.raises(ExecutionError, match=r"^many:make changed after the run was planned; run the same command a"):
        Inline().execute(plan, folder.store, lambda event: None)
    assert folder.store.read().table.num_rows == 0


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize("change", [None, "again", "other"])
def test_a_data_file_that_is_written_anew_is_compared(folder: Folder, change: str | None) -> None:
    def write(seed: int) -> None:
        inputs = np.random.default_rng(seed).normal(size=(60, 64)).tolist()
        splits = ["train"] * 40 + ["test"] * 20
        table = pa.table({"features": inputs, "label": [i % 10 for i in range(60)], "split": splits})
        pq.write_table(table, folder.path / "my.parquet")

    write(0)
    plan = Plan.of(load_sweep(str(folder.path / "my.yaml"), ["data=parquet:my.parquet"]))
    if change:
        write(change == "other")
    if change == "other":
        with pytest.raises(ExecutionError, match=r"my\.parquet changed after the run was planned"):
            Inline().execute(plan, folder.store, lambda event: None)
    else:
        Inline().execute(plan, folder.store, lambda event: None)
    assert folder.store.read().table.num_rows == (0 if change == "other" else 4)


@pytest.mark.slow
@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize(
    ("more", "largest"), [("", None), (STOPPING, None), (STOPPING, 1)], ids=["cohorts", "lanes", "native"]
)
def test_a_worker_of_ray_refuses_code_that_was_edited_after_the_plan(
    folder: Folder, more: str, largest: int | None
) -> None:
    from sweeps.execution.on_ray.executor import RayTune

    folder.write("my.yaml", SWEEP.replace("epochs: 1", "epochs: 3") + more)
    plan = Plan.of(load_sweep(str(folder.path / "my.yaml")), Packing(max_cohort=largest))
    folder.edit(folder.helper, "nn.ReLU", "nn.Tanh")
    with pytest.raises(
        ExecutionError, match=rf"^{folder.model}:make: {folder.helper}\.py changed after the run was pl"
    ):
        RayTune().execute(plan, folder.store, lambda event: None)
    assert folder.store.read().table.num_rows == 0


@pytest.mark.slow
def test_workers_of_ray_import_what_lies_beside_the_sweep_file(folder: Folder, memsweep) -> None:
    elsewhere = folder.path.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{folder.model}.py").write_text("raise ValueError('the wrong one')\n")
    assert "trained 4 of 4" in memsweep(elsewhere, "run", os.path.relpath(folder.path / "my.yaml", elsewhere), "--ray")
