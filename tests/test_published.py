"""The presets reproduce the published MNIST-1D results (Greydanus & Kobak, arXiv 2011.14439), in minutes on 2 cores."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.tables.points import points_table
from sweeps.execution.on_ray.executor import RayTune
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import load_sweep
from sweeps.store.store import Store

pytestmark = [pytest.mark.soak, pytest.mark.xdist_group("ray")]


def trained(preset: str, place: Path, *settings: str) -> pd.DataFrame:
    plan, store = Plan.of(load_sweep(preset, settings), Packing(workers=2)), Store(place)
    RayTune().execute(plan, store, lambda event: None)
    return points_table(plan, store.read()).to_pandas()


def test_the_benchmarks_networks_reach_their_published_accuracy(ray_on_two_cores, tmp_path):
    points = trained("mnist1d-benchmark", tmp_path)
    assert points.groupby("model")["seed"].nunique().tolist() == [3, 3, 3]
    parameters = points.groupby("model")["parameters"].first().to_dict()
    assert parameters == {"linear": 410, "residual_mlp": 15210, "convnet": 5210}
    percent = 100 * points.groupby("model")["test_accuracy"].mean()
    assert percent.to_dict() == pytest.approx({"linear": 31.5, "residual_mlp": 65.1, "convnet": 92.3}, abs=2.5)


def test_test_error_peaks_at_the_width_that_just_fits_the_noisy_labels(ray_on_two_cores, tmp_path):
    points = trained("mnist1d-double-descent", tmp_path, "width=[16, 47, 300]", "label_noise=0.15", "seed=0..2")
    assert points.groupby("width")["seed"].nunique().tolist() == [3, 3, 3]
    percent = 100 * (1 - points.groupby("width")["test_accuracy"].mean())
    assert percent.idxmax() == 47
    assert percent.to_dict() == pytest.approx({16: 47.24, 47: 54.05, 300: 45.47}, abs=3)
