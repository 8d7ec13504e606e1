"""Tests of `memsweep stopping-study`: every setting on every search, the files written, and the refusals."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from memsweep import cli

from analysis.report import page
from analysis.stopping import evidence as study
from analysis.stopping import study as drawing
from analysis.stopping.compared import question, settings_of
from analysis.stopping.evidence import evidence, replayed
from analysis.stopping.recorded import STOPS
from lightning_modules.measures.catalogue import MEASURES
from sweeps.planning.plan import Plan
from sweeps.replay.clock import referee_for, simulate
from sweeps.replay.curves import Curves
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.store import Store

SWEEP = """
name: small
fixed: {data: digits, model: mlp, depth: 1, epochs: 9, validation_fraction: 0.2}
grid: {label_noise: [0, 0.4], width: [4, 16], learning_rate: [0.01, 0.1], seed: [0, 1, 2]}
evaluate: every
"""


NEEDED = "has to be recorded, and to have a better end"
TRAIN = "are not recorded up to their last epoch, and a replay needs all; train them: memsweep run small.yaml"


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def memsweep(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(page, "_rendered", lambda picture, suffix: b"")
    (tmp_path / "small.yaml").write_text(SWEEP)

    def run(*args: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["memsweep", "stopping-study", *args])
        code = 0
        try:
            cli.main()
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def undrawn(monkeypatch):
    """Skip the figures, which take most of the time. One test runs the command with its figures."""
    monkeypatch.setattr(drawing, "pictures", lambda *given: {})


def plan_of(text: str = SWEEP) -> Plan:
    return Plan.of(parse_sweep(text, "small.yaml"))


@pytest.fixture
def recorded_sweep(tmp_path, make_record):
    """Write the small sweep to `results`, as if it had been trained."""
    store = Store(tmp_path / "results")
    store.append([make_record(t.id, t.evaluated, **t.settings.model_dump(exclude_unset=True), wall_seconds=1.0)
                  for t in plan_of().trainings])  # fmt: skip
    return store


def test_each_search_is_replayed_alone(recorded_sweep):
    asked = question(plan_of(), ["asha"], ["test_accuracy"], 2, 2, [])
    result = evidence(plan_of(), recorded_sweep, asked, "memsweep run small.yaml")
    assert len(result.searches) == 2 * 3
    assert sorted(np.concatenate(result.searches)) == [*range(24)]
    stops = replayed(asked, result.curves, result.searches)
    assert set(stops.columns) == set(STOPS)
    names = [each.words() for each in settings_of(asked, 9)["test_accuracy"]]
    assert len(names) == 5
    asha = stops[stops["scheduler"] == "asha"]
    assert [*asha["setting"].unique()] == names
    assert len(asha) == 24 * 5 * 2
    assert set(stops["scheduler"]) == {"asha", "random", "i-epoch", "none", "oracle"}
    # This test replays one of the searches itself.
    places = result.searches[4]
    alone = study._part(result.curves, places)
    (first, *_) = settings_of(asked, 9)["test_accuracy"]
    expected = simulate(alone, referee_for(first, alone, 1), 1, 2)
    own = asha[(asha["setting"] == names[0]) & (asha["order"] == 1)].set_index("trajectory_id").loc[list(alone.ids)]
    assert own["stop_epoch"].tolist() == expected.epochs.tolist()
    assert own["finished"].tolist() == expected.finished.tolist()
    assert alone.measures["test_accuracy"].tolist() == result.curves.measures["test_accuracy"][places].tolist()


@pytest.mark.slow  # two processes that import everything
def test_several_processes_say_the_same(recorded_sweep, monkeypatch):
    asked = question(plan_of(), ["asha"], ["test_accuracy"], 1, 2, [])
    curves = Curves.read(plan_of(), recorded_sweep, asked.metrics)
    halves = [np.arange(12), np.arange(12, 24)]
    alone = replayed(asked, curves, halves)
    monkeypatch.setattr(study, "PARALLEL_FROM", 0)
    monkeypatch.setattr(study, "usable_cores", lambda: 2)
    seen = []
    pd.testing.assert_frame_equal(replayed(asked, curves, halves, lambda *counts: seen.append(counts)), alone)
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.slow
def test_the_command_draws_its_figures(memsweep, recorded_sweep, tmp_path):
    assert memsweep("small.yaml", "--seeds", "2", "--workers", "3", "--scheduler", "asha").code == 0
    assert (tmp_path / "stopping" / "small" / "figures" / "front.png").exists()


def test_the_command_writes_a_page_and_prints_the_tables(memsweep, recorded_sweep, undrawn, tmp_path):
    said = memsweep("small.yaml", "--seeds", "2", "--workers", "3", "--scheduler", "asha")
    assert (said.code, said.err) == (0, "")
    assert said.out.endswith("page: stopping/small/index.html\n")
    assert "scheduler sees validation_accuracy" in said.out
    assert "Mean over n = 3 seeds (of each, 1 to 2 orders of arrival)" in said.out
    names = {path.name for path in (tmp_path / "stopping" / "small").iterdir()}
    assert {
        "index.html",
        "summary.csv",
        "outcomes.parquet",
        "stops.parquet",
        "rank_correlation.csv",
    } <= names
    outcomes = pd.read_parquet(tmp_path / "stopping" / "small" / "outcomes.parquet")
    assert outcomes.groupby("signal")["search"].nunique().to_dict() == {"test_accuracy": 6, "validation_accuracy": 6}
    text = (tmp_path / "stopping" / "small" / "index.html").read_text()
    assert "6 searches, 2 orders of arrival, 3 at once" in text


def test_without_label_noise_what_needs_it_is_left_out(memsweep, undrawn, tmp_path, make_record):
    """Such a sweep was once replayed as a whole, and then refused with `metric: given 'memorized_fraction'`."""
    (tmp_path / "clean.yaml").write_text(SWEEP.replace("[0, 0.4]", "[0]"))
    records = []
    for training in plan_of((tmp_path / "clean.yaml").read_text()).trainings:
        record = make_record(training.id, training.evaluated, **training.settings.model_dump(exclude_unset=True))
        none = {name: None for name, about in MEASURES.items() if about.needs == "corrupted"}
        assert "memorized_fraction" in none
        rows = tuple(dataclasses.replace(row, measures={**row.measures, **none}) for row in record.rows)
        records.append(dataclasses.replace(record, rows=rows))
    Store(tmp_path / "results").append(records)
    said = memsweep("clean.yaml", "--seeds", "2", "--scheduler", "asha")
    assert (said.code, said.err) == (0, "")
    folder = tmp_path / "stopping" / "small"
    assert not (folder / "memorized_at_stop.csv").exists()
    assert pd.read_parquet(folder / "outcomes.parquet")["memorized"].isna().all()
    page_text = (folder / "index.html").read_text()
    assert "regret in clean test accuracy" in page_text
    assert "memorized" not in page_text.partition("Definition")[0]


def test_for_machines(memsweep, recorded_sweep, undrawn):
    args = ["small.yaml", "--seeds", "1", "--scheduler", "median", "--metric", "test_loss", "--by", "seed", "--json"]
    rows = json.loads(memsweep(*args, "--out", "deep/down").out)
    by_setting = {row["setting"]: row for row in rows}
    assert by_setting["none"]["budget"] == 1
    assert by_setting["none"]["regret"] == 0
    assert by_setting["median(test_loss min, grace 1, 3 samples)"]["n"] == 3
    assert {row["signal"] for row in rows} == {"test_loss"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--scheduler", "ashe"], "error: --scheduler: given 'ashe'; did you mean asha? valid: asha, hyperband"),
        (["--metric", "accuracy"], f"error: --metric: {NEEDED}; given 'accuracy'; did you mean "),
        (["--metric", "weight_norm"], f"error: --metric: {NEEDED}; given 'weight_norm'; valid: clean_accuracy, "),
        (["--by", "colour"], "error: by: given 'colour'; valid: data, "),
        (["--set", "epochs=11"], f"error: 24 of the 24 trainings of small {TRAIN} --set epochs=11"),
        (["--set", "validation_fraction=0", "--metric", "validation_accuracy"], "error: "),
        (["--out", "small.yaml", "--metric", "test_loss"], "error: --out small.yaml: cannot be written: "),
    ],
)  # fmt: skip
def test_bad_input_is_one_message_with_code_2(memsweep, recorded_sweep, undrawn, args, message):
    said = memsweep("small.yaml", "--seeds", "1", "--scheduler", "asha", *args)
    assert said.code == 2
    assert said.err.startswith(message)
    assert len(said.err.splitlines()) == 1


def test_curves_that_were_stopped_are_refused(memsweep, tmp_path, make_record):
    Store(tmp_path / "results").append([
        make_record(t.id, t.evaluated[:4], **t.settings.model_dump(exclude_unset=True)) for t in plan_of().trainings
    ])  # fmt: skip
    said = memsweep("small.yaml")
    assert said.code == 2
    assert said.err == f"error: 24 of the 24 trainings of small {TRAIN}\n"
