"""A store with schema 2, written before the packages were divided into rooms, is still read without changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from memsweep.cli import app
from typer.testing import CliRunner

from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import load_sweep
from sweeps.store.store import Store

DATA = Path(__file__).parents[1] / "data" / "schema-2"
SWEEP = str(DATA / "small.yaml")


@pytest.fixture
def old_store(tmp_path: Path) -> Path:
    """Copy the store, so that no test writes into the test data."""
    for folder in ("parts", "examples"):
        shutil.copytree(DATA / folder, tmp_path / "store" / folder)
    return tmp_path / "store"


@pytest.mark.parametrize("table", ["points", "curves"])
def test_the_exported_table_is_the_one_of_then(old_store, tmp_path, table):
    out = tmp_path / "table.csv"
    given = ["export", SWEEP, "--store", str(old_store), "--table", table, "--out", str(out)]
    assert CliRunner().invoke(app, given, catch_exceptions=False).exit_code == 0
    assert out.read_text() == (DATA / f"{table}.csv").read_text()


def test_nothing_of_it_is_trained_again(old_store):
    plan = Plan.of(load_sweep(SWEEP)).without(Store(old_store).done())
    assert len(plan.cells) == 16
    assert not plan.missing


def test_its_measures_of_single_examples_are_there(old_store):
    plan = Plan.of(load_sweep(SWEEP))
    examples = Store(old_store).read_examples({cell.trajectory_id for cell in plan.cells})
    assert examples.table.num_rows == 4480
    assert not examples.damaged
