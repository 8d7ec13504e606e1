"""Tests that results are read without the data that they were trained on, and that points to train need the data."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import memsweep as ms
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lightning_modules.data import sources
from lightning_modules.errors import MissingDataError
from sweeps.errors import StoreError, SweepError
from tests.memsweep.conftest import Memsweep

pytestmark = pytest.mark.usefixtures("trains")

SWEEP = """
name: own
fixed: {{data: "{data}", depth: 1, parameter_count: 60, epochs: 3}}
grid: {{label_noise: [0, 0.5], seed: [0, 1]}}
"""
CODE = """
import numpy as np

def make():
    inputs = np.arange(120).reshape(40, 3) / 120
    return inputs[:30], np.arange(30) % 3, inputs[30:], np.arange(10) % 3
"""


def write_data(path: Path, classes: int = 3) -> None:
    path.parent.mkdir(exist_ok=True)
    rows = np.random.default_rng(0).normal(size=(40, 5)).astype("float32")
    split = ["train"] * 30 + ["test"] * 10
    pq.write_table(pa.table({"features": [*rows], "label": np.arange(40) % classes, "split": split}), path)


@pytest.fixture(params=["file", "folder", "function"])
def data(request: pytest.FixtureRequest, memsweep: Memsweep, tmp_path: Path) -> tuple[str, Callable[[], None]]:
    """Return the name of a data set in the sweep file own.yaml, and a function that removes the data."""
    if request.param == "function":
        (tmp_path / "own_data.py").write_text(CODE)
        name = "own_data:make"

        def remove() -> None:
            (tmp_path / "own_data.py").unlink()
            sys.modules.pop("own_data", None)  # as in another process
            sources.IMPORTED.digest.__globals__["_digest"].cache_clear()

    else:
        path = tmp_path / ("d.parquet" if request.param == "file" else "folder/d.parquet")
        write_data(path)
        top = path.relative_to(tmp_path).parts[0]
        name = f"parquet:{top}"

        def remove() -> None:
            shutil.move(tmp_path / top, tmp_path / "renamed")

    (tmp_path / "own.yaml").write_text(SWEEP.format(data=name))
    return name, remove


def tables() -> dict[str, pd.DataFrame]:
    """Read the sweep by every function that returns a table."""
    points = ms.points("own.yaml", "st")
    return {
        "points": points,
        "curves": ms.curves("own.yaml", "st"),
        "examples": ms.examples("own.yaml", "st"),
        "regime": ms.regime(points, chance=1 / 3).to_frame(),
        "regime by the data's classes": ms.regime(points).to_frame(),
        "status": pd.Series(ms.status("own.yaml", "st")).to_frame(),
        "replay": ms.replay("own.yaml", "st", scheduler="asha", metric="test_accuracy", seeds=1).frame(),
    }


def test_every_table_is_equal_without_the_data(memsweep: Memsweep, data):
    name, remove = data
    assert memsweep("run", "own.yaml", "--inline", "--store", "st").code == 0
    before = tables()
    remove()
    with pytest.warns(ms.MemsweepWarning) as caught:
        after = tables()
    said = {str(warning.message).partition(" of a run on ")[0] for warning in caught}
    assert said == {f"data: {name} is missing; its results are read by the record"}
    for table, frame in before.items():
        pd.testing.assert_frame_equal(frame, after[table])
    assert before["points"]["outcome"].tolist() == ["finished"] * 4


@pytest.mark.parametrize("data", ["file"], indirect=True)
def test_commands_read_results_and_only_what_is_to_be_trained_needs_the_data(memsweep: Memsweep, data, tmp_path: Path):
    _, remove = data
    memsweep("run", "own.yaml", "--inline", "--store", "st")
    remove()
    axes = ("--x", "label_noise", "--y", "seed", "--value", "test_accuracy")
    for command in (("status",), ("export", "--out", "o.csv"), ("heatmap", *axes, "--out", "h.png")):
        said = memsweep(command[0], "own.yaml", "--store", "st", *command[1:])
        assert said.code == 0, said.err
        assert said.err.count("is missing; its results are read by the record of a run") == 1
    for command in (("plan",), ("run", "--inline"), ("run", "--inline", "--retry-failed")):
        said = memsweep(command[0], "own.yaml", "--store", "st", *command[1:])
        assert (said.code, said.err) == (0, "")
        assert "nothing to train" in said.out
    for command in (("plan",), ("run", "--inline"), ("run",)):
        said = memsweep(command[0], "own.yaml", "--store", "st", "--set", "seed=9", *command[1:])
        assert (said.code, said.err.count("\n")) == (2, 1)
        assert said.err.startswith("error: own.yaml: data: ")
        assert "record" not in said.err


@pytest.mark.slow
@pytest.mark.parametrize("data", ["file"], indirect=True)
def test_pages_are_written_without_the_data(memsweep: Memsweep, data):
    _, remove = data
    memsweep("run", "own.yaml", "--inline", "--store", "st")
    remove()
    for command in (("report",), ("stopping-study", "--scheduler", "asha", "--seeds", "1")):
        said = memsweep(command[0], "own.yaml", "--store", "st", *command[1:])
        assert said.code == 0, said.err
        assert "is missing; its results are read by the record of a run" in said.err


def test_from_another_folder_the_record_is_found_by_the_path(memsweep: Memsweep, tmp_path: Path, monkeypatch):
    """The sweep file names a path relative to its folder, and so does another one, whose data are other data."""
    for folder, classes in (("a", 3), ("b", 5)):
        write_data(tmp_path / folder / "d.parquet", classes)
        (tmp_path / folder / "own.yaml").write_text(SWEEP.format(data="parquet:d.parquet"))
        monkeypatch.chdir(tmp_path / folder)
        memsweep("run", "own.yaml", "--inline", "--store", "../st")
    monkeypatch.chdir(tmp_path)
    points = {folder: ms.points(f"{folder}/own.yaml", "st") for folder in "ab"}
    for folder in "ab":
        (tmp_path / folder / "d.parquet").unlink()
    for folder in "ab":
        with pytest.warns(ms.MemsweepWarning, match="is missing"):
            after = ms.points(f"{folder}/own.yaml", "st")
        pd.testing.assert_frame_equal(points[folder], after)

    for folder in "ab":  # moved with its data, which were deleted then: the name fits both records
        shutil.move(tmp_path / folder, tmp_path / f"moved-{folder}")
    monkeypatch.chdir(tmp_path / "moved-a")
    with pytest.raises(StoreError, match=r"holds records of parquet:d\.parquet at several paths, none of which is "):
        ms.status("own.yaml", "../st")


def test_changed_data_are_another_data_set_and_the_newest_is_read(memsweep: Memsweep, tmp_path: Path):
    (tmp_path / "own.yaml").write_text(SWEEP.format(data="parquet:d.parquet"))
    digests = []
    for classes in (3, 5, 3):
        write_data(tmp_path / "d.parquet", classes)
        digests.append(ms.load_sweep("own.yaml").points()[0].data_digest)
        memsweep("run", "own.yaml", "--inline", "--store", "st")
    assert digests[0] == digests[2] != digests[1]
    assert ms.points("own.yaml", "st")["data_digest"].unique().tolist() == digests[:1]
    assert len([*(tmp_path / "st" / "data").iterdir()]) == 2
    (tmp_path / "d.parquet").unlink()
    with pytest.warns(ms.MemsweepWarning, match="is missing"):
        assert ms.points("own.yaml", "st")["data_digest"].unique().tolist() == digests[:1]

    write_data(tmp_path / "d.parquet", 4)  # it can be opened again, and is other data than any record's
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ms.status("own.yaml", "st")["missing"] == 4


def test_a_store_without_a_record_says_what_to_do(memsweep: Memsweep, data, tmp_path: Path):
    """Stores that were written before there were records."""
    _, remove = data
    memsweep("run", "own.yaml", "--inline", "--store", "st")
    shutil.rmtree(tmp_path / "st" / "data")
    remove()
    said = memsweep("status", "own.yaml", "--store", "st")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "the store st has no record of these data, which `memsweep run` writes; " in said.err
    assert "--set data=parquet:PATH" in said.err
    assert memsweep("status", "own.yaml", "--store", "nowhere").err.startswith("error: there is no store at nowhere")


def test_a_run_of_a_finished_sweep_adds_the_record(memsweep: Memsweep, data, tmp_path: Path):
    _, remove = data
    memsweep("run", "own.yaml", "--inline", "--store", "st")
    shutil.rmtree(tmp_path / "st" / "data")
    assert "nothing to train" in memsweep("run", "own.yaml", "--inline", "--store", "st").out
    remove()
    with pytest.warns(ms.MemsweepWarning, match="is missing"):
        assert ms.status("own.yaml", "st")["finished"] == 4


def test_data_of_memsweep_leave_no_record(memsweep: Memsweep, tmp_path: Path):
    memsweep("run", "small.yaml", "--inline", "--store", "st")
    assert not (tmp_path / "st" / "data").exists()


def test_data_that_can_be_opened_but_are_invalid_are_refused(memsweep: Memsweep, tmp_path: Path):
    """Their content has changed, so that the record is not theirs."""
    (tmp_path / "own.yaml").write_text(SWEEP.format(data="parquet:d.parquet"))
    write_data(tmp_path / "d.parquet")
    memsweep("run", "own.yaml", "--inline", "--store", "st")
    pq.write_table(pa.table({"features": [[1.0]], "label": [-1], "split": ["train"]}), tmp_path / "d.parquet")
    with pytest.raises(SweepError, match=r"own\.yaml: data: "):
        ms.status("own.yaml", "st")


def test_a_damaged_record_is_named(memsweep: Memsweep, tmp_path: Path):
    (tmp_path / "own.yaml").write_text(SWEEP.format(data="parquet:d.parquet"))
    write_data(tmp_path / "d.parquet")
    memsweep("run", "own.yaml", "--inline", "--store", "st")
    (tmp_path / "d.parquet").unlink()
    (record,) = (tmp_path / "st" / "data").iterdir()
    record.write_text(json.dumps({**json.loads(record.read_text()), "classes": 0}))
    said = memsweep("status", "own.yaml", "--store", "st")
    assert said.code == 2
    assert "no record of these data" in said.err
    assert f"warning: {record}: damaged: classes: Input should be greater than or equal to 1; skipped" in said.err


def test_outside_a_reading_command_missing_data_are_refused(tmp_path: Path):
    with pytest.raises(MissingDataError):
        sources.facts(f"parquet:{tmp_path / 'no.parquet'}")
    with pytest.raises(MissingDataError):
        sources.content_digest("hub_is_no_module_here:make")
