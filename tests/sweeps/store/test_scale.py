"""Tests of costs that must not grow with points and rows. benchmarks/scale.py measures the times."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memsweep.completion import report
from memsweep.progress import Display

from analysis.figures.kinds import FigureSpec
from analysis.tables.cells import cells
from analysis.tables.frames import frames
from analysis.tables.points import curves_table, failures, outcomes, points_table
from lightning_modules.measures.catalogue import COLUMNS_ON_DEMAND, MEASURES
from lightning_modules.settings import FIELDS
from sweeps.execution.on_ray.trials import Experiments, Piece
from sweeps.execution.protocol import CohortEnded
from sweeps.execution.resources import Grant
from sweeps.execution.worker import Worker
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Cohort, Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.done import Done
from sweeps.store.leases import Run
from sweeps.store.store import Store

SWEEP = """
name: x
fixed: {{data: digits, epochs: {epochs}}}
grid: {{label_noise: [0, 0.4], width: [4, 8], seed: [0, 1, 2]}}
evaluate: every
"""


def planned(epochs: int) -> Plan:
    return Plan.of(parse_sweep(SWEEP.format(epochs=epochs), "x.yaml"), Packing(max_cohort=1))


def filled(folder: Path, plan: Plan, make_record: Callable[..., Any]) -> Store:
    store = Store(folder)
    store.prepare()
    fields = ("label_noise", "width", "seed")
    for cohort in plan.cohorts:
        store.append([
            make_record(member.id, member.evaluated, **{name: getattr(member.settings, name) for name in fields})
            for member in cohort.members
        ])  # fmt: skip
    return store


def calls(action: Callable[[], Any]) -> int:
    """Count the function calls of an action, in Python and in C."""
    count = 0

    def see(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event.endswith("call")

    action()  # fill caches
    sys.setprofile(see)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


KEYS = {"trajectory_id", "epoch", "outcome", "finished_at", "wall_seconds"}
LOSSES = {"train_loss", "test_loss"}
Map = partial(FigureSpec, "heatmap")
LAST = Map("width", "label_noise", "test_accuracy")
MAPS = {
    "last epoch": (LAST, {"test_accuracy"}),
    "computed": (Map("width", "label_noise", "test_error"), {"test_accuracy"}),
    "axis": (Map("parameters", "label_noise", "test_accuracy", ("width",)), {"test_accuracy", "parameters"}),
    "one epoch": (Map("width", "label_noise", "weight_norm", epoch=2), {"weight_norm", *LOSSES}),
    "all epochs": (Map("epoch", "label_noise", "weight_norm", ("width",)), {"weight_norm", *LOSSES}),
    "derived": (
        Map("width", "label_noise", "epochs_to_90"),
        {"train_accuracy", "test_accuracy", "validation_accuracy", *LOSSES},
    ),
}


@pytest.mark.parametrize(("what", "needed"), MAPS.values(), ids=MAPS)
def test_a_heatmap_reads_the_columns_it_needs(store, make_record, monkeypatch, what, needed):
    plan = planned(4)
    filled(Path(store.uri), plan, make_record)
    seen: list[set[str]] = []
    read = pq.ParquetFile.read

    def noting(self: Any, columns: list[str], **more: Any) -> Any:
        seen.append(set(columns))
        return read(self, columns, **more)

    monkeypatch.setattr(pq.ParquetFile, "read", noting)
    points, curves = frames(plan, what.needs.read(plan, store), what.needs)
    assert len(seen) == len(plan.cohorts)
    assert all(columns == KEYS | needed for columns in seen)
    table = cells(points, what.x, what.y, what.value, what.facet, epoch=what.epoch, curves=curves)
    assert (table["status"] == "value").any()


@pytest.mark.parametrize("what", [LAST, MAPS["one epoch"][0]], ids=["last epoch", "one epoch"])
def test_a_heatmap_of_one_epoch_holds_no_other(store, make_record, what):
    plan = planned(9)
    filled(Path(store.uri), plan, make_record)
    rows = what.needs.read(plan, store).table
    assert set(rows["epoch"].to_pylist()) == {9} | ({what.epoch} if what.epoch else set())
    assert rows.num_rows < 9 * len(plan.cells) / 4


def test_an_epoch_that_is_not_there_brings_all_that_are(store, make_record):
    plan = planned(5)
    filled(Path(store.uri), plan, make_record)
    contents = Map("width", "label_noise", "test_accuracy", epoch=77).needs.read(plan, store)
    assert set(contents.table["epoch"].to_pylist()) == {1, 2, 3, 4, 5}


@given(st.lists(st.tuples(
    st.integers(0, 2), st.sampled_from(["finished", "diverged", "failed"]), st.integers(0, 9)
), max_size=9), st.sets(st.integers(0, 9)))  # fmt: skip
def test_of_some_epochs_a_store_says_the_same_as_of_all(make_record, rows, more):
    plan = Plan.of(parse_sweep("name: x\nfixed: {data: digits}\ngrid: {epochs: [8, 2, 5], seed: [2, 1, 0]}", "s.yaml"))
    ids = [trajectory.id for trajectory in plan.trainings]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        store.prepare()
        for which, outcome, epoch in rows:
            store.append(
                [make_record(ids[which], **({"finished": (epoch,)} if outcome == "finished" else {outcome: epoch}))]
            )
        whole, some = store.read(), store.read(epochs={2, 5, 8, *more})
    assert points_table(plan, some).equals(points_table(plan, whole))
    assert failures(plan, some) == failures(plan, whole)
    assert report(plan, some) == report(plan, whole)
    assert {row["epoch"] for row in some.table.to_pylist() if row["epoch"] in more} == {
        row["epoch"] for row in whole.table.to_pylist() if row["epoch"] in more
    }


def test_of_some_epochs_every_training_is_there(store, make_record):
    store.prepare()
    store.append([make_record("a", (1, 2, 3), model="mlp", flops=6.0, wall_seconds=2.0)])
    store.append([make_record("b", (1, 2), model="mlp", flops=4.0, wall_seconds=1.0), make_record("c", failed=7)])
    some = store.read(["flops", "wall_seconds"], {3})
    rows = zip(some.table["trajectory_id"].to_pylist(), some.table["epoch"].to_pylist(), strict=True)
    assert [*rows] == [("a", 3), ("b", 2), ("c", 7)]
    assert some.table["flops"].to_pylist() == [6.0, 4.0, None]


def test_of_some_epochs_what_was_tried_again_did_not_fail(store, make_record):
    """The row that replaces a failure may be at an epoch that was not requested."""
    store.prepare()
    store.append([make_record("a", failed=7), make_record("b", failed=7)])
    store.append([make_record("a", (2, 7, 9))])
    assert [(row["trajectory_id"], row["epoch"], row["outcome"]) for row in store.read([], {2}).table.to_pylist()] == [
        ("a", 2, "finished"), ("a", 9, "finished"), ("b", 7, "failed"),
    ]  # fmt: skip


def test_without_an_order_there_are_the_same_rows_once(store, make_record):
    store.prepare()
    for i in (3, 1, 2):
        store.append([make_record(f"{i}", (1, 2), wall_seconds=float(i))])
    for twice in (False, True):
        if twice:
            store.append([make_record("2", (1, 2), wall_seconds=9.0), make_record("0", failed=4)])
        whole, loose = store.read(), store.read(ordered=False)
        assert loose.table.schema.equals(whole.table.schema)
        assert loose.table.sort_by([("trajectory_id", "ascending"), ("epoch", "ascending")]).equals(whole.table)


def test_a_map_is_the_same_in_any_order_of_rows(store, make_record):
    plan = planned(6)
    contents = filled(Path(store.uri), plan, make_record).read()
    backwards = replace(contents, table=contents.table.take([*range(contents.table.num_rows)][::-1]))
    for what, _ in MAPS.values():
        expected, backward = (cells_of(what, plan, each) for each in (contents, backwards))
        pd.testing.assert_frame_equal(backward, expected)


def test_a_part_has_neither_statistics_nor_dictionaries_of_what_was_measured(store, make_record):
    store.prepare()
    name = store.append([make_record("a", (1, 2, 3)), make_record("b", (1, 2, 3))])
    about = pq.read_metadata(Path(store.uri) / "parts" / name).row_group(0)
    columns = {about.column(i).path_in_schema: about.column(i) for i in range(about.num_columns)}
    assert not any(column.is_stats_set for column in columns.values())
    numbered = {name for name, column in columns.items() if column.has_dictionary_page}
    assert {"trajectory_id", "model", "width", "commit"} <= numbered
    assert not numbered & {*MEASURES, *COLUMNS_ON_DEMAND}


def test_settings_that_do_not_vary_are_those_of_every_point(make_record, store):
    text = "name: x\nfixed: {data: digits, momentum: 0.5}\ngrid: [{width: [4, 8]}, {depth: [1], dropout: [0.5]}]"
    plan = Plan.of(parse_sweep(text, "x.yaml"))
    assert plan.varied == ("width", "depth", "dropout")
    _tables_are_those_of_every_field(plan, store, make_record)


def test_what_follows_from_data_and_model_varies_with_them(make_record, store):
    plan = Plan.of(parse_sweep("name: x\ngrid: {data: [digits, mnist1d], model: [mlp, linear]}", "x.yaml"))
    assert plan.varied == ("data", "data_digest", "dataset_size", "model", "model_digest")
    assert len({cell.point.dataset_size for cell in plan.cells}) == 2
    _tables_are_those_of_every_field(plan, store, make_record)


def _tables_are_those_of_every_field(plan: Plan, store: Store, make_record: Callable[..., Any]) -> None:
    store.prepare()
    store.append([make_record(member.id, member.evaluated) for member in plan.trainings])
    contents = store.read()
    for table in (points_table, curves_table):
        assert table(plan, contents).equals(table(replace(plan, varied=tuple(FIELDS)), contents))


def test_python_does_the_same_work_for_ten_times_the_rows(tmp_path, make_record):
    def work(epochs: int) -> dict[str, int]:
        plan = planned(epochs)
        contents = filled(tmp_path / str(epochs), plan, make_record).read()
        counts = {name: calls(lambda what=what: cells_of(what, plan, contents)) for name, (what, _) in MAPS.items()}
        counts["outcomes"] = calls(lambda: outcomes(plan, contents))
        counts["done"] = calls(lambda: Done.of(contents.table))
        return counts

    few, many = work(6), work(60)
    assert {name: many[name] for name in few if many[name] > 1.1 * few[name]} == {}


def cells_of(what: FigureSpec, plan: Plan, contents: Any) -> pd.DataFrame:
    points, curves = frames(plan, contents, what.needs)
    return cells(points, what.x, what.y, what.value, what.facet, epoch=what.epoch, curves=curves)


def test_trajectories_share_what_they_have_in_common():
    plan = planned(30)
    assert len(plan.trainings) == 12
    assert len({id(trajectory.evaluated) for trajectory in plan.trainings}) == 1
    assert len({id(cell.point.model_fields_set) for cell in plan.cells}) == 1


def test_an_event_costs_the_display_the_same_however_many_cohorts_there_are(console_of_nobody):
    def cost(seeds: int) -> int:
        text = f"name: x\nfixed: {{data: digits, epochs: 1}}\ngrid: {{seed: 0..{seeds - 1}}}"
        display = Display(Plan.of(parse_sweep(text, "x.yaml"), Packing(max_cohort=1)), console_of_nobody)
        display.listen(CohortEnded(0, ()))
        return calls(lambda: display.listen(CohortEnded(1, ())))

    assert cost(400) == cost(4)


@pytest.fixture
def console_of_nobody() -> Any:
    from rich.console import Console

    return Console(quiet=True)


@pytest.mark.xdist_group("ray")
def test_what_tune_unpickles_for_each_trial_does_not_grow_with_the_trials(ray_on_two_cores, tmp_path, monkeypatch):
    """Tune unpickles twice per trial, so data that grow with the number of trials would take quadratic time."""
    from ray import cloudpickle, tune

    class Enough(Exception):
        pass

    def size(seeds: int) -> int:
        text = f"name: x\nfixed: {{data: digits, epochs: 1}}\ngrid: {{seed: 0..{seeds - 1}}}"
        plan, store = Plan.of(parse_sweep(text, "x.yaml"), Packing(max_cohort=1)), Store(tmp_path)
        sizes: list[int] = []

        def tuner(trainable: Any, **more: Any) -> Any:
            sizes.append(len(cloudpickle.dumps(trainable)))
            raise Enough

        monkeypatch.setattr(tune, "Tuner", tuner)
        experiments = Experiments({}, store, Worker(Run("a")), on_gpu="cuda", retries=0, concurrent=2)
        grants = [Grant({"CPU": 1.0}, 2**30), Grant({"CPU": 1.0, "GPU": 0.5}, 2**30)]
        pieces = [Piece(Cohort(cohort.members), grants[i % 2]) for i, cohort in enumerate(plan.cohorts)]
        with pytest.raises(Enough):
            experiments.run(pieces, lambda piece, event: None, lambda: False)
        return sizes[0]

    few, many = size(4), size(104)
    assert many - few < 100 * 8  # one small number per piece, its kind of request


def test_measures_of_the_stub_are_those_of_a_training(monkeypatch):
    """The benchmark's fake of `train_cohort` returns what the store expects."""
    from importlib.util import module_from_spec, spec_from_file_location

    from lightning_modules.training import train as training

    folder = Path(__file__).parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(folder)
    spec = spec_from_file_location("scale", folder / "scale.py")
    assert spec
    assert spec.loader
    scale = module_from_spec(spec)
    spec.loader.exec_module(scale)
    plan, real = planned(3), training.train_cohort
    try:
        scale.stub_training()
        result = training.train_cohort(plan.trainings[:1], None, on_epoch=lambda epoch: None)
    finally:
        training.train_cohort = real
    (member,) = result.members
    assert tuple(epoch for epoch, _ in member.rows) == plan.trainings[0].evaluated == (1, 2, 3)
    assert all(set(measures) == set(MEASURES) for _, measures in member.rows)
