"""Tests of curves that are read from a store, and of stores that cannot be replayed."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
import pytest

from lightning_modules.measures.catalogue import MEASURES
from sweeps.errors import ReplayError
from sweeps.planning.plan import Plan
from sweeps.replay.curves import Curves, metrics_of
from sweeps.spec.stopping import EarlyStopping, StopWhen
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.records import Record, Row
from sweeps.store.store import Contents

PLAN = Plan.of(
    parse_sweep(
        "name: small\nfixed: {data: digits, depth: 1, width: 4, label_noise: 0.5}\n"
        "grid: {seed: [0, 1], epochs: [2, 4]}",
        "s.yaml",
    )
)
FIRST, SECOND = PLAN.horizons
NAN = float("nan")


def row(epoch: int, **measures: float) -> Row:
    return Row(epoch, "finished", {**dict.fromkeys(MEASURES), **measures})


def fill(store, make_record, **rows: tuple[Row, ...]) -> None:
    for record in ((FIRST, rows["first"]), (SECOND, rows["second"])):
        fake = make_record(record[0], wall_seconds=8.0)
        store.append([Record(fake.trajectory_id, fake.point, record[1], fake.provenance)])


def test_curves_up_to_the_horizon(store, make_record):
    first = (row(0, test_loss=9), row(1, test_loss=3), row(2, test_loss=2), row(4, test_loss=1), row(8, test_loss=0))
    second = (row(2, test_loss=5), row(3, test_loss=4), row(4, test_loss=3))
    fill(store, make_record, first=first, second=second)
    curves = Curves.read(PLAN, store, ["test_loss"])
    assert curves.ids == (FIRST, SECOND)
    assert curves.epochs.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(curves.measures["test_loss"], [[3, 2, NAN, 1], [NAN, 5, 4, 3]])
    assert curves.horizons.tolist() == curves.lengths.tolist() == [4, 4]
    assert curves.seconds.tolist() == [1.0, 2.0]  # 8 s divided by the last epoch of each training
    assert curves.final("test_loss").tolist() == [1, 3]


def test_what_diverged_has_no_final_value(store, make_record):
    diverged = (row(1, test_loss=3), Row(3, "diverged", dict.fromkeys(MEASURES), "diverged in 3"))
    fill(store, make_record, first=diverged, second=(row(1, test_loss=3), row(4, test_loss=2)))
    curves = Curves.read(PLAN, store, ["test_loss"])
    assert curves.broke.tolist() == [3, 0]
    assert curves.lengths.tolist() == [3, 4]
    np.testing.assert_array_equal(curves.final("test_loss"), [NAN, 2])


def test_without_a_recorded_time_an_epoch_takes_a_second(store, make_record):
    for trajectory_id in (FIRST, SECOND):
        store.append([make_record(trajectory_id, (2, 4))])
    assert Curves.read(PLAN, store, ["test_loss"]).seconds.tolist() == [1.0, 1.0]


def test_the_time_is_that_of_epochs_that_were_trained(store, make_record):
    """The seconds of another sweep's training that failed before epoch 99 do not count."""
    store.append([make_record(SECOND, (2, 4), wall_seconds=8.0), make_record(FIRST, (2, 4), wall_seconds=8.0)])
    store.append([make_record(FIRST, failed=99, wall_seconds=500.0)])
    assert Curves.read(PLAN, store, ["test_loss"]).seconds.tolist() == [2.0, 2.0]


class TestRefuses:
    def test_an_unknown_metric(self, store):
        with pytest.raises(ReplayError, match="--metric: unknown measure; given 'test_lost'; did you mean test_loss"):
            Curves.read(PLAN, store, ["test_lost"])

    def test_trainings_that_are_missing(self, store, make_record):
        store.append([make_record(FIRST, (2, 4))])
        with pytest.raises(ReplayError) as caught:
            Curves.read(PLAN, store, ["test_loss"], "memsweep run s.yaml")
        assert str(caught.value) == (
            "1 of the 2 trainings of small are not recorded up to their last epoch, and a replay needs all; train "
            "them: memsweep run s.yaml"
        )

    def test_trainings_that_failed(self, store, make_record):
        store.append([make_record(FIRST, (2, 4)), make_record(SECOND, (2,), failed=4)])
        with pytest.raises(ReplayError, match=r"; 1 failed: memsweep run --retry-failed$"):
            Curves.read(PLAN, store, ["test_loss"])

    def test_curves_that_were_stopped(self, store, make_record, monkeypatch):
        store.append([make_record(FIRST, (2, 4)), make_record(SECOND, (2,), failed=3)])
        contents = store.read()
        said = pc.replace_substring(contents.table["outcome"], "failed", "stopped")
        place = contents.table.column_names.index("outcome")
        stopped = Contents(contents.table.set_column(place, "outcome", said), {})
        monkeypatch.setattr(type(store), "read", lambda self, columns: stopped)
        with pytest.raises(ReplayError) as caught:
            Curves.read(PLAN, store, ["test_loss"], "memsweep run s.yaml")
        assert str(caught.value) == (
            "1 of the 2 trainings of small were themselves stopped early, and what they would have done is not known; "
            "take early_stopping and stop_when out of the sweep and train them to their end: memsweep run s.yaml"
        )

    @pytest.mark.parametrize(
        ("metric", "said"),
        [
            ("validation_accuracy", "validation_fraction above 0"),
            ("memorized_fraction", "label_noise above 0, and below 1 for clean examples"),
            ("forgetting_events", "measure: [{forgetting: [epochs]}] in the sweep, its last epoch among them"),
        ],
    )
    def test_a_metric_that_was_not_recorded(self, store, make_record, metric, said):
        fill(store, make_record, first=(row(4, test_loss=1),), second=(row(4, test_loss=1),))
        with pytest.raises(ReplayError) as caught:
            Curves.read(PLAN, store, [metric], "memsweep run s.yaml")
        assert str(caught.value) == (
            f"--metric {metric}: not recorded at the last epoch of 2 of 2 trainings; what records it is {said}: "
            "memsweep run s.yaml"
        )


def test_everything_that_several_settings_look_at():
    asha = EarlyStopping("asha", "test_loss", "min", stop_when=StopWhen(interpolated=1))
    median = EarlyStopping("median", "test_loss", "min")
    assert metrics_of([asha, median]) == ("test_loss", "train_accuracy")
