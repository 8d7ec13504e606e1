"""A record depends only on its point, and not on its cohort, the order of members or the executor.

This holds bit for bit in float64 and float32, as docs/fields.md promises. (The executor suite tests it on smaller
networks in `test_no_bit_depends_on_the_executor_or_the_packing`.)
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from analysis.tables.points import points_table
from lightning_modules.measures.catalogue import MEASURES_ON_DEMAND
from sweeps.execution.inline import Inline
from sweeps.execution.on_ray.executor import RayTune
from sweeps.execution.protocol import Executor
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

MIXED = """
name: mixed
fixed: {{data: digits, dataset_size: 300, validation_fraction: 0.1, batch_size: 64, epochs: 2, precision: {precision}}}
grid:
  - model: [mlp]
    width: [33]
    dropout: [0, 0.4]
    weight_decay: [0, 0.01]
    label_noise_kind: [uniform, pair]
    label_noise: [0.4]
  - model: [convnet]
    width: [5]
    depth: [2]
    dropout: [0.3]
    learning_rate: [0.01, 0.05]
    label_noise: [0.3]
    label_noise_kind: [symmetric]
    seed: [0, 1, 2, 3]
  - model: [resnet]
    width: [3]
    depth: [1]
    input_noise: [0, 0.3]
    input_noise_kind: [random_pixels]
    rotation: [15]
    crop_flip: [1]
    learning_rate: [0.02, 1.0e+6]
    seed: [0, 5]
"""


def table(executor: Executor, precision: str, max_cohort: int, place: Path) -> pa.Table:
    sweep = parse_sweep(MIXED.format(precision=precision), "mixed.yaml")
    plan, store = Plan.of(sweep, Packing(workers=2, max_cohort=max_cohort)), Store(place)
    executor.execute(plan, store, lambda event: None)
    return points_table(plan, store.read())


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_packing_and_executor_change_no_bit(precision, ray_on_two_cores, tmp_path):
    alone = table(Inline(), precision, 1, tmp_path / "alone")
    assert len(alone) == 24
    assert set(alone["outcome"].to_pylist()) == {"finished", "diverged"}
    assert alone.filter(pa.compute.equal(alone["outcome"], "finished"))["train_loss"].null_count == 0
    assert table(Inline(), precision, 8, tmp_path / "eight").equals(alone)
    assert table(RayTune(), precision, 5, tmp_path / "ray").equals(alone)


MEASURED = """
name: measured
fixed: {{data: digits, dataset_size: 200, subset_fraction: 0.7, batch_size: 64, precision: {precision}}}
grid:
  - {{model: [mlp], width: [9], label_noise: [0, 0.5], epochs: [1, 3], seed: [0, 1, 2]}}
  - {{model: [residual_mlp], width: [5], label_noise: [0.4], epochs: [2], seed: [0, 1, 2]}}
measure:
  - critical_sample_ratio
  - cumulative_loss
  - example_correctness
  - forgetting
  - input_gradient
  - {{loss_sensitivity: [1]}}
"""


def measured(executor: Executor, precision: str, max_cohort: int, place: Path) -> tuple[pa.Table, pa.Table]:
    sweep = parse_sweep(MEASURED.format(precision=precision), "measured.yaml")
    plan, store = Plan.of(sweep, Packing(workers=2, max_cohort=max_cohort)), Store(place)
    executor.execute(plan, store, lambda event: None)
    assert plan.without(store.done()).missing == ()
    return points_table(plan, store.read()), store.read_examples({cell.trajectory_id for cell in plan.cells}).table


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_packing_and_executor_change_no_bit_of_a_measure_on_demand(precision, ray_on_two_cores, tmp_path):
    points, examples = measured(Inline(), precision, 1, tmp_path / "alone")
    assert set(points["outcome"].to_pylist()) == {"finished"}
    assert points["critical_sample_ratio"].null_count == points["input_gradient_gini"].null_count == 0
    names = {name for about in MEASURES_ON_DEMAND.values() for name in about.examples}
    assert set(examples["measure"].to_pylist()) == names
    for executor, size, name in ((Inline(), 8, "eight"), (RayTune(), 2, "ray")):
        again = measured(executor, precision, size, tmp_path / name)
        assert again[0].equals(points)
        assert again[1].equals(examples)
