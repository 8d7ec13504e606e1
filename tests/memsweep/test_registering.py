"""A measure that a user registers works from the plan to the figure."""

from __future__ import annotations

from typing import ClassVar

import matplotlib.pyplot as plt
import memsweep as ms
import pytest
import torch
from memsweep.testing.registrations import registrations
from torch import Tensor

from analysis.words import METRICS
from lightning_modules.measures.catalogue import MEASURES_ON_DEMAND
from lightning_modules.measures.every_epoch import EvaluatedStack
from lightning_modules.measures.on_demand import Snapshot, predicted_classes
from lightning_modules.measures.values import MeasuredValues
from sweeps.spec.sweep_file import parse_sweep
from sweeps.store.records import schema

GRID = {"label_noise": [0.0, 0.5], "width": [2, 6], "seed": [0, 1]}
FIXED = {"data": "digits", "dataset_size": 60, "depth": 1, "epochs": 2}


def confident_fraction(stack: EvaluatedStack) -> Tensor:
    """Return the fraction of training examples with a loss below 1 nat. `TestAMeasure` registers this function."""
    return (stack.train.loss < 1).double().mean(1)


class PredictedClasses(Snapshot):
    """The number of classes predicted for test examples, an on-demand measure that `TestAMeasure` registers."""

    name: ClassVar[str] = "predicted_classes"

    def read(self, epoch: int) -> list[MeasuredValues]:
        predicted = predicted_classes(self._module, self._data.test)
        return [MeasuredValues({"classes_predicted": float(len(torch.unique(each)))}) for each in predicted]


class TestAMeasure:
    EVERY_EPOCH = ms.Metric.share(
        "training examples with a loss below 1 nat", "confident predictions", compute=f"{__name__}:confident_fraction"
    )
    ON_DEMAND = ms.Measure(
        summary="how many classes are predicted",
        cost="an evaluation",
        columns={"classes_predicted": ms.Metric("classes predicted for any test example", "classes predicted")},
        paper="none",
        implementation=f"{__name__}:PredictedClasses",
    )

    def register(self) -> None:
        ms.register_measure("confident_fraction", self.EVERY_EPOCH)
        ms.register_measure("predicted_classes", self.ON_DEMAND)

    def test_works_from_the_plan_to_a_figure(self, tmp_path):
        store, earlier = str(tmp_path), ms.Sweep("earlier", fixed=FIXED, grid=GRID | {"seed": [2]})
        ms.run(earlier, store, inline=True, progress=False)
        with registrations():
            self.register()
            sweep = ms.Sweep("own", fixed=FIXED, grid=GRID, measure=["predicted_classes"])
            assert "8 points, 0 done, 8 to train" in str(ms.plan(sweep, store))
            ms.run(sweep, store, inline=True, progress=False)
            points, curves = ms.points(sweep, store), ms.curves(sweep, store)
            assert points["confident_fraction"].between(0, 1).all()
            assert curves["confident_fraction"].notna().all()
            assert points["classes_predicted"].between(1, 10).all()
            for value in ("confident_fraction", "classes_predicted"):
                ax = ms.heatmap(points, x="width", y="label_noise", value=value, ax=plt.figure().add_subplot())
                assert METRICS[value].words in ax.get_title() + ax.get_figure().axes[-1].get_ylabel()
                plt.close("all")
            nothing = ms.points(earlier, store)  # the store was written without the columns
            assert (nothing["outcome"] == "finished").all()
            assert nothing[["confident_fraction", "classes_predicted"]].isna().all(axis=None)
        points = ms.points(ms.Sweep("own", fixed=FIXED, grid=GRID), store)  # the store was written with the columns
        assert (points["outcome"] == "finished").all()
        assert "confident_fraction" not in points

    def test_can_stop_trainings(self):
        text = "name: own\nfixed: {data: digits}\ngrid: {seed: [0]}\nevaluate: every\n"
        text += "early_stopping: {scheduler: asha, metric: confident_fraction, mode: max}"
        with registrations():
            self.register()
            assert parse_sweep(text, "own.yaml").early_stopping.metric == "confident_fraction"

    @pytest.mark.parametrize("name", ["test_loss", "width", "epoch", "host", "generalization_gap", "forgetting"])
    def test_a_taken_name_is_refused(self, name):
        with pytest.raises(ValueError, match=f"the name '{name}' is taken"):
            ms.register_measure(name, self.EVERY_EPOCH)
        with pytest.raises(ValueError, match=f"the name '{name}' is taken"):
            ms.register_measure("own", ms.Measure("", "", {name: self.EVERY_EPOCH}, "", ""))

    def test_an_incomplete_declaration_is_refused(self):
        with pytest.raises(ValueError, match="has no `compute`"):
            ms.register_measure("own", ms.Metric("", "own"))
        with pytest.raises(ValueError, match="has no columns"):
            ms.register_measure("own", ms.Measure("", "", {}, "", ""))
        assert "own" not in {*schema().names, *MEASURES_ON_DEMAND}
