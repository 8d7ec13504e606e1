"""Every preset is a study that can be drawn: its figures, from results of the shape it would have."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sweeps.cost import Rate
from sweeps.explain import summary
from sweeps.pictures import draw_report
from sweeps.plan import Packing, Plan
from sweeps.records import MEASURES, Record, Row
from sweeps.store import Store
from sweeps.sweep_file import check_figures, load_sweep, preset_names

RATE = Rate(25e9, "about that of two cores")


def invented(plan: Plan) -> list[Record]:
    chance = random.Random(0)
    return [
        Record(
            trajectory.id,
            trajectory.point,
            tuple(
                Row(epoch, "finished", {name: chance.random() for name in MEASURES}) for epoch in trajectory.evaluated
            ),
            {"parameters": 1000, "wall_seconds": 1.0, "flops": 1e9, "finished_at": datetime(2026, 1, 1, tzinfo=UTC)},
        )
        for trajectory in plan.trajectories
    ]


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_says_its_question_fits_two_cores_and_draws_all_its_figures(name, tmp_path: Path):
    sweep = load_sweep(name)
    check_figures(sweep)
    plan, store = Plan.of(sweep, Packing(workers=2)), Store(tmp_path / "store")
    assert sweep.name == name
    assert sweep.question.endswith("?")
    assert summary(plan, RATE)["seconds"] < 15 * 60
    store.append(invented(plan))
    paths, left_out = draw_report(sweep, plan, store.read(), tmp_path / "report")
    assert left_out == []
    assert len([path for path in paths if path.suffix == ".png"]) == len(sweep.figures) > 0
