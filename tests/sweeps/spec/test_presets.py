"""Every preset can be drawn: its figures are made from fake results of the right shape."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from analysis.claims.settled import evidence
from analysis.figures.parsing import figures_of
from analysis.report import page
from analysis.report.study import draw_report
from lightning_modules.measures.catalogue import COLUMNS_ON_DEMAND, MEASURES
from lightning_modules.measures.values import PerExample
from sweeps.planning.explain import summary
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan, Training
from sweeps.spec.evaluation import Evaluation
from sweeps.spec.sweep import Sweep
from sweeps.spec.sweep_file import load_sweep
from sweeps.spec.sweep_source import preset_names
from sweeps.store.records import Record, Row
from sweeps.store.store import Store

pytestmark = pytest.mark.usefixtures("without_layout")

SEEDS = 2


def shrunk(sweep: Sweep) -> Sweep:
    """Return the sweep with fewer seeds and evaluations, which do not affect whether its figures are valid."""
    grids = tuple({**grid, "seed": grid["seed"][:SEEDS]} if "seed" in grid else grid for grid in sweep.grids)
    return replace(sweep, grids=grids, evaluation=Evaluation())


def invented(plan: Plan, measures: set[str | None]) -> list[Record]:
    chance = random.Random(0)
    return [
        Record(
            trajectory.id,
            trajectory.settings,
            tuple(
                Row(epoch, "finished", {name: chance.random() for name in (*MEASURES, *COLUMNS_ON_DEMAND)})
                for epoch in trajectory.evaluated
            ),
            {
                "parameters": trajectory.settings.width or 10,
                "wall_seconds": 1.0,
                "flops": 1e9,
                "finished_at": datetime(2026, 1, 1, tzinfo=UTC),
            },
            tuple(of_examples(trajectory, {name for name in measures if name})),
        )
        for trajectory in plan.trainings
    ]


def of_examples(trajectory: Training, measures: set[str]) -> list[tuple[int, PerExample]]:
    """Return measures of four examples. Two are seen and two are left out, in alternation over seeds."""
    seen = (np.arange(4) + trajectory.settings.seed) % 4
    return [
        (epoch, PerExample(measure, split, ids, (ids + trajectory.settings.seed) % 2 * 1.0))
        for epoch in trajectory.measured
        for measure in sorted(measures)
        for split, ids in (("train", seen[:2]), ("left_out", seen[2:]))
    ]


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_says_its_question_and_fits_two_cores(name: str) -> None:
    sweep = load_sweep(name)
    assert figures_of(sweep)
    assert sweep.name == name
    assert sweep.question.endswith("?")
    assert summary(Plan.of(sweep, Packing(workers=2)))["seconds"] < 15 * 60


DRAWN_FIRST = ("quickstart", "toneva2019-forgetting")
"""Presets that the fast tests draw. Together they have maps, lines, curves and per-example figures."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in DRAWN_FIRST else pytest.mark.slow) for name in preset_names()]
)
def test_a_preset_draws_all_its_figures(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Figures are drawn but not written in three formats, which would take longer. Other tests cover the report.
    monkeypatch.setattr(page, "_rendered", lambda picture, suffix: picture.heading.encode())
    sweep = load_sweep(name)
    figures, small = figures_of(sweep), shrunk(sweep)
    plan, store = Plan.of(small, Packing(workers=2)), Store(tmp_path / "store")
    measures = {spec.measure for spec in figures if spec.measure}
    store.append(invented(plan, measures))
    tables = evidence(plan, store, store.read(), (), *measures)
    paths, left_out = draw_report(small, plan, store.read(), tables, tmp_path / "report", figures)
    assert left_out == []
    assert len([path for path in paths if path.suffix == ".png"]) == len(figures) > 0


@pytest.mark.parametrize("name", [name for name in preset_names() if load_sweep(name).full])
def test_a_full_variant_is_the_same_study_at_another_size(name: str) -> None:
    small, full = load_sweep(name), load_sweep(f"{name}-full")
    plan = Plan.of(full, Packing(workers=2))
    assert full.name == f"{name}-full"
    assert set(full.axes) == set(small.axes)
    assert plan.trainings
    assert summary(plan)["seconds"] > summary(Plan.of(small, Packing(workers=2)))["seconds"]
    # Values that a figure fixes exist in the full variant too.
    values = {axis: {value for grid in full.grids for value in grid.get(axis, ())} for axis in full.axes}
    for spec in figures_of(full):
        for where in (spec.where, spec.x_where, spec.y_where):
            for field, wanted in where.items():
                if field in small.axes:
                    listed = wanted if isinstance(wanted, list | tuple) else [wanted]
                    assert set(listed) <= {*values[field], full.fixed.get(field, 0)}, (field, listed)
