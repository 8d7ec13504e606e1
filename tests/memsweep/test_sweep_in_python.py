"""Tests of sweeps that are written in Python: they equal those of a file, and objects stand for their import paths."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Callable
from functools import partial

import memsweep as ms
import numpy as np
import pytest

from sweeps.errors import SweepError
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import load_sweep, parse_sweep
from sweeps.spec.sweep_source import preset_names
from tests.memsweep.small_sweep import FIXED, GRID, TEXT, small


@pytest.fixture
def sweep() -> ms.Sweep:
    return small()


class TestSweep:
    def test_is_the_sweep_of_the_file(self, sweep):
        assert sweep.points() == parse_sweep(TEXT, "small.yaml").points()
        assert parse_sweep(str(sweep), "").points() == sweep.points()
        assert repr(sweep) == "<Sweep small: 8 cells over label_noise, seed, epochs>"

    def test_takes_what_python_has_for_lists_and_numbers(self, sweep):
        grid = {"label_noise": np.array([0, 0.5]), "seed": range(2), "epochs": (np.int64(1), 2)}
        assert ms.Sweep("small", fixed=FIXED, grid=grid).points() == sweep.points()

    def test_takes_every_key_of_a_file(self):
        more = {
            "question": "Why?", "exclude": [{"seed": 1, "epochs": [2]}], "evaluate": 1,
            "measure": [{"forgetting": [2]}],
            "early_stopping": {"scheduler": "asha", "metric": "test_loss"}, "stop_when": {"budget": 2},
            "figures": [{"kind": "curves"}], "full": {"grid": {"seed": [0]}},
        }  # fmt: skip
        written = ms.Sweep("small", fixed=FIXED, grid=[GRID, {"seed": "5..7"}], **more)
        text = json.dumps({"name": "small", "fixed": FIXED, "grid": [GRID, {"seed": "5..7"}], **more})
        read = parse_sweep(text, "small.yaml")
        assert {name: value for name, value in vars(written).items() if name not in ("source", "words")} == {
            name: value for name, value in vars(read).items() if name != "source"
        }

    @pytest.mark.parametrize(
        "given",
        [
            {"fixed": {"widht": 4}}, {"grid": {"seed": 3}}, {"grid": []}, {"grid": {"dropout": [0, 2]}},
            {"fixed": {"seed": 0}, "grid": {"seed": [0]}}, {"evaluate": "often"}, {"measure": ["forgeting"]},
            {"exclude": [{}]}, {"stop_when": {"budget": 0}}, {"early_stopping": {"scheduler": "ash"}}, {"full": {}},
            {"figures": {}}, {"name": "-"},
        ],
    )  # fmt: skip
    def test_is_refused_as_a_file_is(self, given):
        with pytest.raises(SweepError) as in_python:
            ms.Sweep(**{"name": "x", **given})
        with pytest.raises(SweepError) as in_a_file:
            parse_sweep(json.dumps({"name": "x", **given}), f"Sweep({given.get('name', 'x')})")
        assert str(in_python.value) == str(in_a_file.value)

    def test_of_a_preset_has_the_settings_laid_over_it(self):
        given = {"seed": range(2), "epochs": 3, "parameter_count": np.array([1000, 2000])}
        loaded = ms.load_sweep("quickstart", settings=given)
        assert isinstance(loaded, ms.Sweep)
        same = load_sweep("quickstart", ["seed=[0, 1]", "epochs=3", "parameter_count=[1000, 2000]"])
        assert loaded.points() == same.points()
        assert ms.load_sweep("quickstart", ["seed=[0, 1]"]).axes == ("parameter_count", "label_noise", "epochs", "seed")
        with pytest.raises(SweepError, match=r"^settings: sed: unknown field; given 'sed'; did you mean seed"):
            ms.load_sweep("quickstart", settings={"sed": 1})

    @pytest.mark.parametrize("name", preset_names())
    def test_the_excerpt_of_a_row_has_its_points(self, name):
        sweep = ms.load_sweep(name)
        cells = Plan.of(sweep).cells
        cell = cells[len(cells) // 3]
        one = parse_sweep(str(sweep.excerpt(cell.point.id)), "row.yaml")
        assert [(c.point.id, c.trajectory_id) for c in Plan.of(one).cells] == [(cell.point.id, cell.trajectory_id)]
        assert one.evaluation == sweep.evaluation
        training = parse_sweep(str(sweep.excerpt(cell.trajectory_id[:12])), "row.yaml").points()
        assert training == [c.point for c in cells if c.trajectory_id == cell.trajectory_id]
        seeds = parse_sweep(str(sweep.excerpt(cell.point.id, cell=True)), "row.yaml").points()
        assert seeds == [c.point for c in cells if c.point.with_(seed=0) == cell.point.with_(seed=0)]

    def test_the_excerpt_of_no_row_is_refused(self, sweep):
        for given, problem in {"zzz": "is no point_id", "": "is no point_id"}.items():
            with pytest.raises(SweepError, match=f"given '{given}', which {problem}"):
                sweep.excerpt(given)

    def test_presets_are_loaded(self):
        assert [preset.name for preset in ms.presets()] == preset_names()


class Trainer:
    def method(self) -> None: ...

    def __call__(self) -> None: ...


def nested() -> Callable[[], None]:
    def inside() -> None: ...

    return inside


class TestObjectsOfTheUser:
    @pytest.fixture
    def module(self, monkeypatch: pytest.MonkeyPatch, tmp_path) -> types.ModuleType:
        (tmp_path / "their_own.py").write_text(
            "import numpy as np\nfrom torch import nn\n"
            "def data():\n    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)\n"
            "    y = np.arange(60) % 2\n    return x[:40], y[:40], x[40:], y[40:]\n"
            "def make(shape, classes, width=3):\n"
            "    return nn.Sequential(nn.Linear(shape[0], width), nn.ReLU(), nn.Linear(width, classes))\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        import their_own  # type: ignore[import-not-found]

        return their_own

    def test_stand_for_their_import_path(self, module):
        custom = ms.Sweep("own", fixed={"data": module.data}, grid={"model": [module.make, "mlp"], "width": [2, 4]})
        assert custom.fixed["data"] == "their_own:data"
        assert custom.grids[0]["model"] == ("their_own:make", "mlp")
        curves = ms.train({"data": module.data, "model": module.make, "epochs": 2, "batch_size": 10})
        assert curves["model"].unique().tolist() == ["their_own:make"]

    @pytest.mark.parametrize(
        ("given", "why"),
        [
            (lambda: None, "given test_sweep_in_python.<lambda>|since it has no name in its module"),
            (nested(), "since it has no name in its module"),
            (Trainer.method, "would not find under this name"),
            (Trainer(), "which is an object and not a function"),
            (partial(nested), "which is an object and not a function"),
        ],
    )
    def test_are_refused_where_no_other_process_would_find_them(self, given, why):
        with pytest.raises(SweepError, match=rf"^Sweep\(x\): fixed.model: given .*({why}).*; valid: a function at the"):
            ms.Sweep("x", fixed={"model": given})

    def test_of_a_notebook_are_refused(self):
        code = "import memsweep as ms\ndef make(): ...\nms.load_sweep('quickstart', {'model': make})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (
            "settings: model: given __main__.make, which other processes cannot import, since it is defined in a "
            in (done.stderr)
        )
        assert "or its import path such as 'my_models:make'" in done.stderr
