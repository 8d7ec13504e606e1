"""Tests of the Python API: its names, its agreement with the command line, and its errors."""

from __future__ import annotations

import inspect
import json
import math
import re
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import memsweep as ms
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from memsweep import cli

from analysis.errors import AnalysisError
from lightning_modules.measures.catalogue import MEASURES
from sweeps.errors import ExecutionError, ReplayError, SweepError
from sweeps.execution.inline import Inline
from sweeps.execution.protocol import CohortEnded, Failure, Listener
from sweeps.execution.resources import Resources, local_resources
from sweeps.planning.machine import processor
from sweeps.planning.plan import Plan
from sweeps.planning.throughput import remembered
from tests.memsweep.small_sweep import FIXED, GRID, TEXT, small

pytestmark = pytest.mark.usefixtures("without_layout")

NAMES = {
    *("Axis", "Measure", "MemsweepError", "MemsweepWarning", "Metric", "Point", "Store", "Sweep"),
    *("load_sweep", "presets", "plan", "run", "status", "compact", "train"),
    *("points", "curves", "examples", "example_scores", "read"),
    *("regime", "decide_claims", "replay", "stopping_study", "report"),
    *("register_measure",),
    *("bits", "curves_figure", "emc", "frontier", "heatmap", "lines", "regimes", "scores", "spread"),
    *("load_plugins", "register_claim", "register_family", "register_field", "register_figure", "register_scheduler"),
    *("register_source",),
}


@pytest.fixture
def sweep() -> ms.Sweep:
    return small()


@pytest.fixture
def trains(monkeypatch: pytest.MonkeyPatch, make_record) -> None:
    """Replace inline training by fake records."""

    def execute(self: Inline, plan: Plan, store: ms.Store, listen: Listener) -> None:
        for index, cohort in enumerate(plan.cohorts):
            store.append([make_record(m.id, m.evaluated, **fields(m.settings)) for m in cohort.members])
            listen(CohortEnded(index))

    monkeypatch.setattr(Inline, "execute", execute)


@pytest.fixture
def trained(sweep, trains, store) -> ms.Sweep:
    """Return a sweep whose points are all in the store."""
    ms.run(sweep, store, inline=True, progress=False)
    return sweep


def fields(point: ms.Point) -> dict[str, object]:
    return {name: value for name, value in vars(point).items() if value is not None}


@pytest.fixture
def memsweep(monkeypatch: pytest.MonkeyPatch, tmp_path, capsys) -> Callable[..., str]:
    """Return a function that runs the program in a folder with small.yaml, and returns its output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "small.yaml").write_text(TEXT)

    def run(*args: str) -> str:
        monkeypatch.setattr(sys, "argv", ["memsweep", *args])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        assert not exit.value.code
        return str(capsys.readouterr().out)

    return run


class TestNames:
    def test_are_these_and_each_is_documented(self):
        assert len(ms.__all__) == len(NAMES) == len(NAMES & {*ms.__all__})
        assert {*dir(ms)} >= NAMES
        for name in NAMES:
            assert inspect.getdoc(getattr(ms, name)), name

    @pytest.mark.parametrize("name", sorted(NAMES - {"MemsweepError", "MemsweepWarning", "Point", "Store"}))
    def test_have_types(self, name):
        """Every argument has a type for editors and type checkers, and `py.typed` declares that the types are valid."""
        for parameter in inspect.signature(getattr(ms, name)).parameters.values():
            assert parameter.annotation is not parameter.empty, (name, parameter.name)
        assert (Path(ms.__file__).parent / "py.typed").is_file()

    def test_can_all_be_imported_at_once(self):
        there: dict[str, object] = {}
        exec("from memsweep import *", there)
        assert {*there} >= NAMES

    def test_do_not_hide_a_module_of_the_package(self):
        """A function `status` and a module memsweep/status.py would replace each other."""
        modules = {path.stem for path in Path(ms.__file__).parent.glob("[!_]*")}
        assert not modules & NAMES

    def test_others_are_an_attribute_error(self):
        with pytest.raises(AttributeError, match="module 'memsweep' has no attribute 'sweep'"):
            ms.sweep  # noqa: B018

    def test_cost_nothing_until_they_are_used(self):
        code = (
            "import sys, time; begin = time.perf_counter(); import memsweep; seconds = time.perf_counter() - begin\n"
            "heavy = {'torch', 'ray', 'pandas', 'pyarrow', 'numpy'} & set(sys.modules); print(seconds, heavy or '')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds, heavy = done.stdout.rstrip("\n").split(" ")
        assert (float(seconds) < 0.2, heavy) == (True, "")

    def test_of_a_shadowed_package_say_what_shadows_it(self, tmp_path):
        (tmp_path / "analysis").mkdir()
        (tmp_path / "analysis" / "__init__.py").write_text("")
        code = "import memsweep as ms; ms.heatmap"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
        assert f"ImportError: package 'analysis' is found at {tmp_path}" in done.stderr


class TestRun:
    def test_plan_is_the_commands(self, sweep, memsweep, tmp_path):
        planned = ms.plan(sweep, "results", max_cohort=3, workers=2)
        figures = json.loads(memsweep("plan", "small.yaml", "--max-cohort", "3", "--workers", "2", "--json"))
        measured = ("seconds",)
        assert {name: value for name, value in planned.items() if name not in measured} == {
            name: value for name, value in figures.items() if name not in measured
        }
        text = memsweep("plan", "small.yaml", "--max-cohort", "3", "--workers", "2").splitlines()
        assert [line for line in repr(planned).splitlines() if not line.startswith("time")] == [
            line for line in text if not line.startswith("time")
        ]
        assert str(planned) == repr(planned)
        assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]

    def test_trains_what_is_missing_and_says_so(self, sweep, trains, store, capsys):
        done = ms.run(sweep, store, inline=True)
        said = capsys.readouterr()
        assert said.out.startswith("small: 8 points, 0 done, 8 to train\n")
        assert said.out.endswith(f"{done}\n")
        assert str(done).startswith("trained 4 of 4 trainings (8 points) in ")
        assert (done["trained"], done["points"], done["failed"], said.err) == (4, 8, [], "")
        assert json.loads(json.dumps(done)) == done
        assert str(ms.run(sweep, store, inline=True, progress=False)) == "nothing to train"
        assert capsys.readouterr() == ("", "")

    def test_a_short_plan_trains_in_this_process_by_itself(self, sweep, trains, store, capsys, monkeypatch):
        # Another test may have connected this process to Ray, which would be asked then.
        monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(is_initialized=lambda: False))
        ms.run(sweep, store)
        (line,) = (line for line in capsys.readouterr().out.splitlines() if "--ray" in line)
        assert re.fullmatch(r"4 trainings, about \d+ s: training in this process; --ray trains on Ray", line)
        assert str(ms.run(sweep, store)) == "nothing to train"

    @pytest.mark.parametrize(
        "options", [{"inline": False}, {"workers": 1}, {"address": "auto"}, {"device": "auto"}, "connected"], ids=str
    )
    def test_what_asks_for_ray_gets_it(self, sweep, trains, store, options, monkeypatch):
        class Asked(Exception):
            pass

        def executor(*given: object) -> None:
            raise Asked

        ray = types.SimpleNamespace(is_initialized=lambda: options == "connected")
        monkeypatch.setitem(sys.modules, "ray", ray)
        connection = types.SimpleNamespace(started_while_importing=lambda workers, verbose: nullcontext())
        monkeypatch.setitem(sys.modules, "sweeps.execution.on_ray.connection", connection)
        monkeypatch.setitem(sys.modules, "sweeps.execution.on_ray.executor", types.SimpleNamespace(RayTune=executor))
        with pytest.raises(Asked):
            ms.run(sweep, store, progress=False, **(options if isinstance(options, dict) else {}))

    def test_the_start_of_ray_is_a_part_of_the_run_and_is_remembered(self, sweep, trains, store, monkeypatch):
        """Predicted times contain it, and it is compared with the time of training in this process."""

        @contextmanager
        def starting(workers: int, verbose: bool) -> Iterator[None]:
            time.sleep(0.2)
            yield

        class OnRay(Inline):
            def __init__(self, *given: object) -> None:
                super().__init__()

            @contextmanager
            def resources(self, workers: int | None, say: Callable[[str], None]) -> Iterator[Resources]:
                yield local_resources(workers)

        here = types.SimpleNamespace(started_while_importing=starting)
        monkeypatch.setitem(sys.modules, "sweeps.execution.on_ray.connection", here)
        monkeypatch.setitem(sys.modules, "sweeps.execution.on_ray.executor", types.SimpleNamespace(RayTune=OnRay))
        monkeypatch.setattr(Plan, "seconds", lambda plan, cohort: 0.01)
        done = ms.run(sweep, store, inline=False, progress=False)
        assert done["seconds"] >= 0.2
        assert remembered(processor()).startups["ray"] >= 0.19

    def test_lists_what_failed(self, sweep, store, monkeypatch, make_record):
        def execute(self: Inline, plan: Plan, store: ms.Store, listen: Listener) -> None:
            for index, cohort in enumerate(plan.cohorts):
                store.append([make_record(m.id, failed=m.settings.epochs) for m in cohort.members])
                listen(CohortEnded(index, tuple(Failure(m.id, "failed", "broke") for m in cohort.members)))

        monkeypatch.setattr(Inline, "execute", execute)
        done = ms.run(sweep, store, inline=True, progress=False)
        assert [failure["reason"] for failure in done["failed"]] == ["broke"] * 4
        assert ms.run(sweep, store, inline=True, progress=False)["failed"] == []
        assert len(ms.run(sweep, store, inline=True, progress=False, retry_failed=True)["failed"]) == 4
        again = "to try the failed ones again: ms.run(sweep, store, retry_failed=True)"
        assert str(ms.status(sweep, store)).endswith(again)

    def test_an_interruption_is_passed_on(self, sweep, store, monkeypatch, capsys):
        def execute(self: Inline, plan: Plan, store: ms.Store, listen: Listener) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Inline, "execute", execute)
        with pytest.raises(KeyboardInterrupt):
            ms.run(sweep, store, inline=True)
        assert "trained 0 of 4 trainings" in capsys.readouterr().out

    def test_a_figure_that_cannot_be_drawn_is_refused_before_the_training(self, store):
        sweep = ms.Sweep(
            "small", fixed=FIXED, figures=[{"kind": "heatmap", "x": "width", "y": "seed", "value": "loss"}]
        )
        with pytest.raises(ms.MemsweepError, match="figures"):
            ms.run(sweep, store, inline=True, progress=False)
        assert not Path(store.uri).exists()

    def test_as_a_job_needs_a_sweep_that_the_cluster_can_load(self, sweep):
        with pytest.raises(ExecutionError, match=r"^--address http://head:8265: a sweep written in Python cannot be"):
            ms.run(sweep, "s3://bucket/x?region=us-east-1", address="http://head:8265")

    def test_status_is_the_commands(self, trained, store, memsweep):
        assert ms.status(trained, store) == json.loads(
            memsweep("status", "small.yaml", "--store", str(store), "--json")
        )
        more = ms.Sweep("small", fixed=FIXED, grid={**GRID, "seed": [0, 1, 2]})
        assert str(ms.status(more, store)) == (
            "small: 8 of 12 points finished (67%)\n  4 missing\nto train the missing ones: ms.run(sweep, store)"
        )
        named = ms.load_sweep("small.yaml", {"seed": [0, 1, 2]})
        command = f"memsweep run small.yaml --set 'seed=[0, 1, 2]' --store {store.uri}"
        assert str(ms.status(named, store)).endswith(f"to train the missing ones: {command}")

    def test_compact_says_what_it_did(self, trained, store):
        merged = ms.compact(store)
        assert str(merged).startswith(f"{store.uri}: {merged['parts_before']} parts (")
        assert merged["parts_after"] == 1


class TestTables:
    def test_are_tidy_frames_with_the_names_of_the_fields_and_measures(self, trained, store):
        points = ms.points(trained, store)
        assert len(points) == 8
        assert {*FIXED, *GRID, *MEASURES, "point_id", "outcome", "generalization_gap"} <= {*points.columns}
        assert points["label_noise"].tolist() == [0.0] * 4 + [0.5] * 4
        assert (points["outcome"] == "finished").all()
        curves = ms.curves(trained, str(store.uri))
        assert curves.groupby("trajectory_id")["epoch"].apply(list).tolist() == [[1, 2]] * 4
        assert ms.examples(trained, store).columns.tolist()[:3] == ["trajectory_id", "epoch", "measure"]
        with pytest.raises(AnalysisError, match="examples: no training was measured on examples"):
            ms.example_scores(trained, store)

    def test_are_those_of_the_command(self, trained, store, memsweep, tmp_path):
        memsweep("export", "small.yaml", "--store", str(store), "--out", "points.parquet")
        pd.testing.assert_frame_equal(ms.points(trained, store), pd.read_parquet(tmp_path / "points.parquet"))

    def test_read_has_all_that_a_store_holds(self, trained, store):
        everything = ms.read(store)
        assert len(everything) == 8
        assert {"trajectory_id", "epoch", "outcome", "wall_seconds", "finished_at"} <= {*everything.columns}
        assert not any(isinstance(kind, pd.CategoricalDtype) for kind in everything.dtypes)
        assert ms.read(store, ["test_loss"]).columns.tolist() == ["trajectory_id", "epoch", "outcome", "test_loss"]
        with pytest.raises(ms.MemsweepError, match=r"there is no store at .*/nothing; valid: a folder or URI to which"):
            ms.read(Path(store.uri).parent / "nothing")

    def test_warn_of_what_is_damaged(self, trained, store):
        (Path(store.uri) / "parts" / "notes.txt").write_text("")
        for call in (partial(ms.points, trained), partial(ms.plan, trained), ms.read):
            with pytest.warns(ms.MemsweepWarning, match="notes.txt: not a part of memsweep; skipped"):
                call(store)


class TestJudging:
    def test_regimes_are_a_column(self, trained, store):
        points = ms.points(trained, store)
        named = ms.regime(points)
        assert named.index.equals(points.index)
        assert named.equals(ms.regime(points, chance=0.1))  # ten digits
        assert ms.regime(points, "liu2022", curves=ms.curves(trained, store)).name == "regime"

    def test_claims_are_decided_as_by_the_command(self, trained, store, memsweep):
        decisions = ms.decide_claims("regularization-map", store)
        text = memsweep("claims", "regularization-map", "--store", str(store))
        assert [line.rstrip() for line in str(decisions).splitlines()] == [line.rstrip() for line in text.splitlines()]
        frame = decisions.frame()
        assert set(frame["verdict"]) == {"undecided"}
        assert {"claim", "experiment", "effect", "low", "high", "n"} <= {*frame.columns}
        with pytest.raises(SweepError, match=r"no claim rests on it"):
            ms.decide_claims(trained, store)

    def test_a_replay_is_the_commands(self, trained, store, memsweep):
        replayed = ms.replay(trained, store, scheduler="asha", metric="test_loss", workers=1, seeds=3)
        text = memsweep("replay", "small.yaml", "--store", str(store), "--scheduler", "asha", "--metric", "test_loss",
                        "--workers", "1", "--seeds", "3")  # fmt: skip
        assert [line.rstrip() for line in str(replayed).splitlines()] == [line.rstrip() for line in text.splitlines()]
        assert replayed.frame()["budget.mean"].iloc[0] == 1.0
        assert len(replayed.stops[replayed.stops["scheduler"] == "asha"]) == 3 * 4
        more = ms.Sweep("small", fixed=FIXED, grid={**GRID, "seed": [0, 1, 2]})
        with pytest.raises(ReplayError, match=r"train them: ms.run\(sweep, store\)$"):
            ms.replay(more, store, scheduler="asha", metric="test_loss")

    def test_a_report_is_written(self, trained, store, tmp_path):
        sweep = ms.Sweep("small", fixed=FIXED, grid=GRID, figures=[{"kind": "curves", "where": {"width": 5}}])
        with pytest.warns(ms.MemsweepWarning, match=r"^figures\[0\] is left out: where: width"):
            paths = ms.report(sweep, store, tmp_path / "report")
        assert paths[0] == tmp_path / "report" / "index.html"
        assert all(path.is_file() for path in paths)


class TestFigures:
    def test_draw_from_the_tables(self, trained, store):
        points, curves = ms.points(trained, store), ms.curves(trained, store)
        assert isinstance(ms.heatmap(points, x="label_noise", y="epochs", value="test_accuracy"), Figure)
        assert isinstance(ms.lines(points, x="label_noise", y="test_accuracy", hue="epochs"), Figure)
        assert isinstance(ms.curves_figure(curves, hue="label_noise"), Figure)
        assert isinstance(ms.regimes(points, x="label_noise", y="epochs", chance=0.1), Figure)

    def test_are_shown_by_a_notebook(self, trained, store):
        picture = ms.heatmap(ms.points(trained, store), x="label_noise", y="epochs", value="test_accuracy")
        content, size = picture._repr_png_()
        assert content.startswith(b"\x89PNG")
        assert size["width"] == round(100 * picture.get_size_inches()[0])

    def test_draw_into_axes_of_the_callers(self, trained, store):
        figure = Figure()
        ax = figure.subplots()
        drawn = ms.heatmap(ms.points(trained, store), x="label_noise", y="epochs", value="test_accuracy", ax=ax)
        assert drawn is ax
        assert isinstance(drawn, Axes)


class TestTrain:
    SMALL = {**FIXED, "dataset_size": 100, "epochs": 3, "precision": "float64"}  # noqa: RUF012

    def test_has_the_numbers_of_a_run_and_leaves_nothing(self, store, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        sweep = ms.Sweep("small", fixed=self.SMALL, grid={"seed": [0, 1], "label_noise": [0, 0.5]})
        ms.run(sweep, store, inline=True, progress=False)
        stored = ms.curves(sweep, store)
        epochs: list[int] = []
        whole = ms.train(sweep.points(), on_epoch=epochs.append)
        pd.testing.assert_frame_equal(whole.sort_values(["trajectory_id", "epoch"], ignore_index=True),
                                      stored.sort_values(["trajectory_id", "epoch"], ignore_index=True))  # fmt: skip
        alone = ms.train({**self.SMALL, "seed": 1, "label_noise": 0.5})
        same = stored[(stored["seed"] == 1) & (stored["label_noise"] == 0.5)].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, same)
        assert epochs == [1, 2, 3]
        assert [path.name for path in tmp_path.iterdir()] == ["store"]

    def test_evaluates_and_measures_as_asked(self):
        curves = ms.train({**self.SMALL, "epochs": 6}, evaluate=3, measure=["forgetting"])
        assert curves["epoch"].tolist() == [3, 6]
        assert not math.isnan(curves["never_learned"].iloc[-1])

    def test_raises_what_the_training_raises(self):
        with pytest.raises(SweepError, match=r"^Sweep\(train\): grid\[0\].dropout: given 2; valid: "):
            ms.train({**self.SMALL, "dropout": 2})
        with pytest.raises(ExecutionError, match=r"^train: the trainings make 2 stacks of different shapes"):
            ms.train([self.SMALL, {**self.SMALL, "width": 5}])
