"""A GPU draws the bits that a CPU draws."""

from __future__ import annotations

import pytest
import torch

from lightning_modules.data.augmentation import Augmenter
from lightning_modules.training.dropout import DropoutMasks
from sweeps.spec.point import Point

CPU = torch.device("cpu")
MEMBERS = [Point(dropout=rate, seed=seed, augment_noise=1.0, shift=3) for rate in (0.0, 0.2, 0.7) for seed in (0, 1)]
BATCH = 37


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masks_are_those_of_a_cpu(device, dtype):
    drawn = []
    for place in (CPU, torch.device(device)):
        masks = DropoutMasks(MEMBERS, {"a.keep0": (31,), "b.keep0": (2, 3)}, place, dtype)
        masks.begin_epoch([0] * len(MEMBERS), 3)
        drawn.append({name: mask.cpu() for name, mask in masks.draw(masks.keys[2], BATCH).items()})
    for name, mask in drawn[0].items():
        assert torch.equal(mask, drawn[1][name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shifts_and_noise_are_those_of_a_cpu(device, dtype):
    inputs = torch.arange(len(MEMBERS) * BATCH * 40, dtype=dtype).reshape(len(MEMBERS), BATCH, 1, 40) / 64
    augmented = []
    for place in (CPU, torch.device(device)):
        augmenter = Augmenter(MEMBERS, (1, 40), place, dtype)
        augmenter.begin_epoch([0] * len(MEMBERS), 3)
        augmented.append(augmenter(inputs.to(place), augmenter.keys[2]).cpu())
    assert not torch.equal(augmented[0], inputs)
    assert torch.equal(augmented[0], augmented[1])
