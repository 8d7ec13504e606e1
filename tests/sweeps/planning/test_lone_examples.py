"""Tests that a batch of one example is refused at `plan` for exactly the networks that cannot be trained on it."""

from __future__ import annotations

import pytest
import torch

from lightning_modules.errors import InputError, ModelError
from lightning_modules.models import build, sizes
from sweeps.planning.plan import resolved
from sweeps.spec.point import Point

NETS = """
import torch
from torch import nn
from torch.nn import functional

def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
def per_feature():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 10))
def per_pixel():
    return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 10))
def frozen():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), Frozen(4), nn.Linear(4, 10))
def by_function():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Function())
def squeezed():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Squeezed())
class Frozen(nn.BatchNorm1d):
    def train(self, mode=True):
        return super().train(False)
class Function(nn.Module):
    def forward(self, x):
        return functional.batch_norm(x, None, None, training=True)
class Squeezed(nn.Module):
    def forward(self, x):
        return x.squeeze()
"""
NEEDS_TWO = {
    "linear": False, "per_feature": True, "per_pixel": False, "frozen": False, "by_function": True, "squeezed": True,
}  # fmt: skip


@pytest.fixture
def nets(tmp_path, monkeypatch) -> str:
    (tmp_path / "nets_for_lone_examples.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "nets_for_lone_examples"


@pytest.mark.parametrize("name", NEEDS_TWO)
def test_it_is_refused_where_a_batch_has_one_example_and_the_named_batch_size_is_not(nets, name):
    for trained in range(1, 9):
        for batch_size in range(1, 10):
            point = Point(data="digits", model=f"{nets}:{name}", dataset_size=trained, batch_size=batch_size)
            batches = [len(batch) for batch in torch.arange(trained).split(batch_size)]
            if not (NEEDS_TWO[name] and 1 in batches):
                resolved(point)
                continue
            with pytest.raises(InputError, match=f"given {batch_size}, which leaves one of {trained} training") as info:
                resolved(point)
            assert info.value.field == "batch_size"
            words = str(info.value)
            if "such as " in words:
                resolved(point.with_(batch_size=int(words.partition("such as ")[2].partition(",")[0])))
            else:
                assert trained == 1 or batch_size >= trained - 1


def test_the_examples_that_are_held_out_do_not_count(nets):
    point = Point(data="digits", model=f"{nets}:per_feature", dataset_size=10, batch_size=4)
    resolved(point)
    with pytest.raises(InputError, match="leaves one of 9 training examples"):
        resolved(point.with_(validation_fraction=0.1))
    resolved(point.with_(validation_fraction=0.1, batch_size=5))


@pytest.mark.parametrize("model", ["linear", "mlp", "residual_mlp", "convnet", "resnet", "transformer"])
@pytest.mark.parametrize("shape", [(6,), (3, 8), (2, 1, 1), (1, 2, 2), (1, 4, 4), (1, 8, 8)])
def test_the_sizes_of_families_say_what_torch_says(model, shape):
    for depth in (1, 2) if model != "linear" else (None,):
        try:
            size = sizes.size(model, shape, 3, None if model == "linear" else 4, depth)
        except ModelError:
            continue
        network = build(model, shape, 3, None if model == "linear" else 4, depth).train()
        if size.needs_two:
            with pytest.raises(ValueError, match="more than 1 value per channel"):
                network(torch.zeros(1, *shape))
        else:
            assert network(torch.zeros(1, *shape)).shape == (1, 3)
