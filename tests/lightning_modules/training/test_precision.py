from __future__ import annotations

import pytest
import torch
from memsweep.testing import make_entries

from lightning_modules.data import sources
from lightning_modules.errors import InputError
from lightning_modules.training.precision import set_products
from lightning_modules.training.train import train_cohort
from sweeps.spec.point import Point

BFLOAT16_TOLERANCE = 0.01
"""Relative difference of a loss in stacks of different sizes. On the CPUs that were tried, the bits were equal."""

FAMILIES = {
    "mlp, AdamW, dropout": {"width": 20, "optimizer": "adamw", "learning_rate": 0.01, "dropout": 0.2},
    "convnet": {"model": "convnet", "width": 3},
    "resnet": {"model": "resnet", "width": 2, "depth": 1},
    "transformer": {"model": "transformer", "width": 8, "depth": 1},
}


def old(tf32: bool) -> None:
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32


def new(precision: str) -> None:
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision


def everything(precision: str) -> None:
    torch.backends.fp32_precision = precision


BY_THE_USER = {
    "nothing": lambda: None,
    "old, tf32": lambda: old(True),
    "old, float32": lambda: old(False),
    "new, tf32": lambda: new("tf32"),
    "new, float32": lambda: new("ieee"),
    "everything, tf32": lambda: everything("tf32"),
    "everything tf32, then new float32": lambda: (everything("tf32"), new("ieee")),
}


@pytest.fixture
def ampere(monkeypatch):
    """A GPU that has TF32. The settings of torch can be read and written without one."""
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (8, 0))
    yield torch.device("cuda")
    set_products("float32", torch.device("cpu"))


@pytest.mark.parametrize("before", BY_THE_USER)
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "float64"])
def test_the_precision_of_products_does_not_depend_on_earlier_settings(precision, before, ampere):
    BY_THE_USER[before]()
    set_products(precision, ampere)
    tf32 = precision == "tf32"
    assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")  # Lightning calls this
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (tf32, tf32)
    found = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision
    assert found == (("tf32", "tf32") if tf32 else ("ieee", "ieee"))
    assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction


def test_tf32_is_refused_without_a_gpu_that_has_it(monkeypatch):
    with pytest.raises(InputError, match=r"tf32 needs an NVIDIA GPU .* the device is cpu"):
        train_cohort(make_entries([Point(data="digits", precision="tf32", epochs=1)], [1]), sources.load("digits"))
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "Tesla T4")
    with pytest.raises(InputError, match="the device is Tesla T4"):
        set_products("tf32", torch.device("cuda"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_member_in_bfloat16_is_the_same_in_stacks_of_any_size(family):
    digits = sources.load("digits")
    fields = {"learning_rate": 0.05, **FAMILIES[family], "precision": "bfloat16"}
    point = Point(data="digits", dataset_size=60, batch_size=20, epochs=1, label_noise=0.2, **fields)
    stacks = {
        size: train_cohort(make_entries([point.with_(seed=seed) for seed in range(size)], [0, 1]), digits).members[0]
        for size in (1, 2, 6)
    }
    (_, before), (_, after) = stacks[1].rows
    assert after["train_loss"] != before["train_loss"]
    for size in (2, 6):
        for (_, found), (_, expected) in zip(stacks[size].rows, stacks[1].rows, strict=True):
            assert found["test_loss"] == pytest.approx(expected["test_loss"], rel=BFLOAT16_TOLERANCE)
    in_float32 = train_cohort(make_entries([point.with_(precision="float32")], [0, 1]), digits).members[0]
    assert in_float32.rows[0][1]["test_loss"] != before["test_loss"]
    assert in_float32.rows[0][1]["test_loss"] == pytest.approx(before["test_loss"], rel=0.01)
    assert in_float32.rows[0][1]["weight_norm"] == before["weight_norm"]  # the parameters are float32
