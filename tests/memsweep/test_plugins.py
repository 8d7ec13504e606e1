"""One plug-in file registers a field, a data source, a family, a kind of figure, a scheduler and a claim.

The tests use them in plan, run and figure. test_registering.py tests a measure.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import memsweep as ms
import numpy as np
import pytest
from matplotlib.figure import Figure
from memsweep.testing.registrations import registrations

from analysis.figures.drawing import draw
from analysis.figures.parsing import figures_of
from sweeps.errors import PluginError
from sweeps.planning.plan import Plan

PLUGIN = """
from typing import Annotated

import memsweep as ms
import numpy as np
from pydantic import Field
from ray.tune.schedulers import FIFOScheduler

from analysis.claims import Claim, Contrast, Source
from analysis.claims.effects import Difference
from analysis.claims.rule import above
from analysis.claims.rows import HIGHEST, LOWEST
from analysis.figures import style
from analysis.figures.kinds import Kind
from lightning_modules.data.dataset import Dataset, Facts
from lightning_modules.models.family import Family
from lightning_modules.models.layers import Dropout, Flatten, Linear, ReLU, chain
from sweeps.spec.stopping import SchedulerKind


def spirals(turns):
    generator = np.random.default_rng(0)
    labels = np.arange(300) % 2
    angle = generator.uniform(0.1, turns * np.pi, 300)
    arm = angle + np.pi * labels
    inputs = np.stack([angle * np.cos(arm), angle * np.sin(arm)], 1) / angle.max()
    return Dataset.of(inputs[:200], labels[:200], inputs[200:], labels[200:])


def layout(shape, classes, width, depth):
    return chain(Flatten(), Linear(width), ReLU(), Dropout(), Linear(width // 2), ReLU(), Linear(classes))


class StopAtTwo(FIFOScheduler):
    def on_trial_result(self, controller, trial, result):
        return self.STOP if result["epoch"] >= 2 else self.CONTINUE


def stop_at_two(settings, horizon):
    return StopAtTwo()


def cloud(points, x, note):
    with style.look():
        drawn, axes = style.small_multiples(1, 1, (2, 2), (0.5, 0.3))
        axes[0, 0].plot(points[x], points["test_accuracy"], ".")
        return style.finish(drawn, f"cloud over {x}", note, "a cloud")


ms.register_field(
    "turns", Annotated[float, Field(gt=0, le=9)], 1.0, "half turns of each arm of `spirals`",
    ms.Axis("turns", "half turns", problem=True, stack="equal", inert=lambda f: f["data"] != "spirals"),
)
ms.register_source("spirals", spirals, facts=Facts(200, 100, (2,), 2), fields=("turns",))
ms.register_family(Family("funnel", "two layers, the second half as wide", layout, default_width=8, default_depth=None))
ms.register_figure(Kind("cloud", cloud, ("x",)))
ms.register_scheduler("at_two", SchedulerKind("my_plugin:stop_at_two"))
ms.register_claim(
    Claim(
        "turns-are-hard", "More turns are harder to fit.", Source("N. N. 2026", "", "2601.00001"), "turns",
        (Contrast("one minus four half turns", "clean test accuracy, difference", "points", above(0),
                  Difference("test_accuracy", {"turns": LOWEST}, {"turns": HIGHEST}, {}), "less"),),
    )
)
"""
SWEEP = """
name: turns
fixed: {data: spirals, model: funnel, epochs: 4, learning_rate: 0.1, batch_size: 20}
grid: {turns: [1, 4], label_noise: [0, 0.4], seed: [0, 1]}
figures:
  - {kind: heatmap, x: turns, y: label_noise, value: test_accuracy}
  - {kind: cloud, x: turns}
"""
STOPPED = SWEEP + "early_stopping: {scheduler: at_two, metric: train_loss}\n"


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write a plug-in and a sweep to a folder, and yield the folder."""
    (tmp_path / "my_plugin.py").write_text(PLUGIN)
    (tmp_path / "turns.yaml").write_text(SWEEP)
    (tmp_path / "stopped.yaml").write_text(STOPPED)
    monkeypatch.syspath_prepend(str(tmp_path))
    with registrations():
        yield tmp_path
    sys.modules.pop("my_plugin", None)


def test_one_of_each_works_from_the_sweep_file_to_the_figure(plugin: Path) -> None:
    plain = ms.Point().id
    with pytest.raises(ms.MemsweepError, match=r"grid\.turns: unknown field"):
        ms.load_sweep(plugin / "turns.yaml")
    assert ms.load_plugins(["my_plugin"]) == ("my_plugin",)
    sweep, store = ms.load_sweep(plugin / "turns.yaml"), ms.Store(plugin / "store")
    assert len(Plan.of(sweep).cohorts) == 2, "trainings of other data are in another stack"
    ms.run(sweep, store, inline=True, progress=False)
    points = ms.points(sweep, store)
    assert points["outcome"].eq("finished").all()
    assert sorted(points["turns"].unique()) == [1.0, 4.0]
    assert points.groupby("turns")["test_accuracy"].mean().is_monotonic_decreasing
    assert ms.read(store)["turns"].nunique() == 2, "it is a column of the store"
    axes = ms.heatmap(points, x="turns", y="label_noise", value="test_accuracy", ax=Figure().add_subplot())
    assert axes.get_xlabel() == "turns (half turns)"
    picture = draw(figures_of(sweep)[1], points, None)
    assert picture.heading == "cloud over turns"
    (decision,) = (d for d in ms.decide_claims(sweep, store) if d.claim.key == "turns-are-hard")
    assert decision.findings[0].n == 2
    stopped = ms.load_sweep(plugin / "stopped.yaml")
    ms.run(stopped, plugin / "stopped", inline=True, progress=False)
    assert ms.curves(stopped, plugin / "stopped")["epoch"].max() == 2
    assert ms.Point().id == plain, "a field at its default changes no id"
    assert ms.Point(turns=2.0).id != plain


def test_the_code_of_what_is_registered_is_part_of_the_ids(plugin: Path) -> None:
    ms.load_plugins(["my_plugin"])
    (point, *_) = ms.load_sweep(plugin / "turns.yaml").points()
    assert len(point.data_digest) == len(point.model_digest) == 20


def test_a_store_from_before_has_the_default_of_a_new_field(plugin: Path, make_record) -> None:
    store = ms.Store(plugin / "store")
    store.append([make_record("a" * 20, (1,))])
    ms.load_plugins(["my_plugin"])
    assert ms.read(store)["turns"].tolist() == [1.0]


def test_a_store_with_a_field_that_is_unknown_keeps_its_rows(plugin: Path, make_record) -> None:
    store = ms.Store(plugin / "store")
    with registrations():
        ms.load_plugins(["my_plugin"])
        store.append([make_record("a" * 20, (1,), turns=4.0)])
    assert "turns" not in ms.read(store)
    ms.compact(store)
    sys.modules.pop("my_plugin", None)
    ms.load_plugins(["my_plugin"])
    assert ms.read(store)["turns"].tolist() == [4.0], "compaction by a process without the plug-in keeps it"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ms.register_field("seed", int, 0, "", ms.Axis("seed")), "field 'seed': the name is taken"),
        (lambda: ms.register_field("parameters", int, 0, "", ms.Axis("own")), "field 'parameters': the name is taken"),
        (lambda: ms.register_field("my-own", int, 0, "", ms.Axis("own")), "given 'my-own'; a field's name"),
        (lambda: ms.register_field("canonical", int, 0, "", ms.Axis("own")), "given 'canonical'; a field's name"),
        (lambda: ms.register_field("own", int, "a", "", ms.Axis("own")), "the default of field 'own' is not valid"),
        (lambda: ms.register_source("digits", np.zeros, facts=None), "source 'digits' is registered already"),
        (lambda: ms.register_source("own", np.zeros), "give facts"),
        (lambda: ms.register_source("own", np.zeros, facts=(), fields=("sede",)), "did you mean seed"),
    ],
)
def test_what_cannot_be_registered_says_why_and_changes_nothing(call, message: str) -> None:
    fields = repr(ms.Point.model_fields)
    with registrations(), pytest.raises(ValueError, match=message):
        call()
    assert repr(ms.Point.model_fields) == fields


def test_a_plugin_that_cannot_be_imported_is_named(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMSWEEP_PLUGINS", "no_such_plugin")
    with pytest.raises(PluginError, match="MEMSWEEP_PLUGINS: plug-in 'no_such_plugin' cannot be imported: ModuleNotF"):
        ms.load_plugins()


@pytest.mark.slow
def test_workers_of_ray_load_the_plugins_of_the_run(plugin: Path) -> None:
    """Workers load a plug-in that is an installed distribution, and one that the environment variable names."""
    info = plugin / "my_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[memsweep.plugins]\nmine = my_plugin\n")
    for number, more in enumerate(({}, {"MEMSWEEP_PLUGINS": "my_plugin"})):
        store = plugin / f"store{number}"
        done = subprocess.run(
            [sys.executable, "-m", "memsweep", "run", "turns.yaml", "--ray", "--store", str(store)],
            cwd=plugin, env={**os.environ, "PYTHONPATH": str(plugin), **more}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "8" in done.stdout
        (info / "entry_points.txt").unlink(missing_ok=True)
