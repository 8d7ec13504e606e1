"""Tests of augmentation: stacking and strength 0 change no bit, and each operation does what its docstring says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from lightning_modules.data.augmentation import OPERATIONS, Augmenter
from lightning_modules.draws import Elements, uniform, update_keys
from lightning_modules.errors import DataError


@dataclass(frozen=True)
class Strengths:
    """The settings of a member that an Augmenter reads."""

    rotation: float = 0.0
    augment_noise: float = 0.0
    color_jitter: float = 0.0
    crop_flip: int = 0
    shift: int = 0
    scale: float = 0.0
    seed: int = 0


CPU = torch.device("cpu")
APPLY = {operation.field: operation.apply for operation in OPERATIONS}
PARAMETERS = {operation.field: operation.parameters for operation in OPERATIONS}

off = st.just(0)
images = st.builds(
    Strengths,
    rotation=off | st.floats(1, 180),
    augment_noise=off | st.floats(0.01, 2),
    color_jitter=off | st.floats(0.01, 1),
    crop_flip=off | st.integers(1, 4),
)
signals = st.builds(
    Strengths,
    augment_noise=off | st.floats(0.01, 2),
    shift=off | st.integers(1, 50),
    scale=off | st.floats(0.01, 0.99),
)
cases = st.one_of(
    st.tuples(st.sampled_from([(1, 8, 8), (3, 5, 7), (3, 9, 9)]), st.lists(images, min_size=1, max_size=5)),
    st.tuples(st.sampled_from([(1, 40), (2, 7)]), st.lists(signals, min_size=1, max_size=5)),
)


def of_seeds(members: Sequence[Strengths]) -> list[Strengths]:
    return [replace(member, seed=k) for k, member in enumerate(members)]


def augmented(
    members: Sequence[Strengths], inputs: torch.Tensor, first_updates: Sequence[int] = (), update: int = 0
) -> torch.Tensor:
    augmenter = Augmenter(members, tuple(inputs.shape[2:]), CPU, inputs.dtype)
    augmenter.begin_epoch(first_updates or [0] * len(members), update + 1)
    return augmenter(inputs, augmenter.keys[update])


def random_inputs(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@given(cases, st.integers(1, 9))
def test_a_member_gets_the_same_bits_alone_and_in_any_company(dtype, case, batch):
    shape, members = case[0], of_seeds(case[1])
    inputs = random_inputs(len(members), batch, *shape, dtype=dtype)
    first_updates = [3 * k for k in range(len(members))]
    stacked = augmented(members, inputs, first_updates, update=1)
    backwards = augmented(members[::-1], inputs.flip(0), first_updates[::-1], update=1).flip(0)
    assert torch.equal(stacked, backwards)
    assert stacked.shape == inputs.shape
    assert stacked.dtype == dtype
    for k, member in enumerate(members):
        # The member resumes here one update later, which must not matter.
        alone = augmented([member], inputs[k : k + 1], [first_updates[k] + 1])
        assert torch.equal(alone[0], stacked[k])
    assert torch.equal(augmented(members, inputs[:, :1], first_updates, update=1), stacked[:, :1])


@given(cases)
def test_strength_zero_changes_no_bit(case):
    shape, members = case
    members = [Strengths(), *members]
    inputs = random_inputs(len(members), 3, *shape)
    # Any arithmetic could lose the sign of a zero or the payload of a NaN.
    inputs[0].flatten()[0] = -0.0
    before = inputs.clone()
    result = augmented(members, inputs)
    assert torch.equal(result[0].view(torch.int64), before[0].view(torch.int64))
    assert torch.equal(inputs, before)


def test_global_generators_are_left_alone():
    inputs = random_inputs(1, 4, 3, 8, 8)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    member = Strengths(rotation=20, augment_noise=0.1, color_jitter=0.3, crop_flip=2)
    augmented([member], inputs)
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_differ_and_seeds_repeat():
    inputs = random_inputs(1, 4, 1, 40)
    augmenter = Augmenter([Strengths(augment_noise=0.5)], (1, 40), CPU, torch.float64)
    augmenter.begin_epoch([0], 2)
    first, second = (augmenter(inputs, keys) for keys in augmenter.keys)
    assert not torch.equal(first, second)
    assert torch.equal(augmented([Strengths(augment_noise=0.5)], inputs), first)
    assert not torch.equal(augmented([Strengths(augment_noise=0.5, seed=1)], inputs), first)


def test_precisions_make_the_same_draws():
    member = Strengths(shift=5, scale=0.3, augment_noise=0.5)
    inputs = random_inputs(1, 4, 1, 40)
    double = augmented([member], inputs)
    single = augmented([member], inputs.float())
    assert torch.allclose(single.double(), double, atol=1e-5)


def test_active_only_if_something_is_on():
    assert not Augmenter([Strengths(), Strengths()], (1, 40), CPU, torch.float64).active
    assert Augmenter([Strengths(), Strengths(shift=1)], (1, 40), CPU, torch.float64).active
    inputs = random_inputs(2, 3, 1, 40)
    assert augmented([Strengths()] * 2, inputs) is inputs


def test_an_operation_for_other_inputs_is_refused():
    with pytest.raises(DataError, match="which are vectors") as caught:
        Augmenter([Strengths(), Strengths(rotation=5)], (40,), CPU, torch.float64)
    assert caught.value.field == "rotation"


@pytest.mark.parametrize("shape", [(9, 9), (8, 8), (5, 8)])
@pytest.mark.parametrize("degrees", [-35.0, 10.0, 90.0, 180.0])
def test_rotation_agrees_with_scipy(degrees, shape):
    images = random_inputs(2, 3, *shape)
    ours = APPLY["rotation"](images, torch.full((2,), degrees, dtype=torch.float64))
    # scipy rotates in the same direction: anticlockwise as displayed.
    theirs = ndimage.rotate(images.numpy(), degrees, axes=(-2, -1), reshape=False, order=1, mode="nearest")
    assert np.allclose(ours.numpy(), theirs, atol=1e-9)


def test_rotation_by_a_quarter_is_exact_up_to_rounding():
    images = random_inputs(1, 1, 6, 6)
    turned = APPLY["rotation"](images, torch.tensor([90.0], dtype=torch.float64))
    assert torch.allclose(turned, images.rot90(1, (-2, -1)), atol=1e-12)


def test_shift_is_a_roll():
    signals = random_inputs(5, 2, 7)
    samples = torch.tensor([-9.0, -1.0, 0.0, 3.0, 7.0], dtype=torch.float64)
    shifted = APPLY["shift"](signals, samples)
    expected = torch.stack([signal.roll(int(s), -1) for signal, s in zip(signals, samples, strict=True)])
    assert torch.equal(shifted, expected)


@given(st.integers(-4, 4), st.integers(-4, 4), st.booleans())
def test_crop_flip_is_a_window_of_the_padded_image(down, right, flip):
    images = random_inputs(1, 3, 5, 6)
    ours = APPLY["crop_flip"](images, torch.tensor([[down, right, flip]], dtype=torch.float64))
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)), mode="edge")
    window = padded[:, :, 4 + down : 9 + down, 4 + right : 10 + right]
    # Mirroring before or after the crop gives the same distribution; this implementation mirrors the window.
    assert np.array_equal(ours.numpy(), window[..., ::-1] if flip else window)


def test_scale_is_a_gain():
    member = Strengths(scale=0.4)
    inputs = random_inputs(1, 500, 2, 5)
    gains = (augmented([member], inputs) / inputs)[0]
    assert torch.allclose(gains, gains[:, :1, :1].expand_as(gains))
    assert 0.6 <= gains.min() < 0.62
    assert 1.38 < gains.max() <= 1.4


def test_noise_has_the_standard_deviation_asked_for():
    inputs = random_inputs(2, 400, 50)
    members = [Strengths(augment_noise=0.1), Strengths(augment_noise=3.0)]
    noise = augmented(members, inputs) - inputs
    assert noise.std(dim=(1, 2)).tolist() == pytest.approx([0.1, 3.0], rel=0.02)
    assert (noise.mean(dim=(1, 2)) / torch.tensor([0.1, 3.0])).abs().max() < 0.03


def test_color_jitter_of_grey_images_is_affine_and_within_its_strength():
    inputs = random_inputs(1, 300, 1, 4, 4)
    result = augmented([Strengths(color_jitter=0.25)], inputs)
    for image, changed in zip(inputs[0].flatten(1), result[0].flatten(1), strict=True):
        contrast, brightness = np.polyfit(image, changed, 1)
        assert np.allclose(contrast * image + brightness, changed)
        assert abs(contrast - 1) <= 0.25
        assert abs(brightness) <= 0.25


def test_saturation_zero_is_grey_and_grey_pixels_stay_grey():
    images = random_inputs(2, 3, 4, 4)
    images[1] = images[1, :1]
    parameters = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 1.7]], dtype=torch.float64)
    result = APPLY["color_jitter"](images, parameters)
    luma = (images * torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[:, None, None]).sum(1, keepdim=True)
    assert torch.allclose(result[0], luma[0].expand(3, 4, 4))
    assert torch.allclose(result[1], images[1])


def parameters(field: str, strength: float, numbers: int) -> torch.Tensor:
    """Draw the parameters of 7,000 examples, [7000, numbers]."""
    elements = Elements({"0": 7000 * numbers}, CPU)
    keys = update_keys([1], [0], 1)[0]
    drawn = uniform(elements.draw(keys, torch.empty(1, len(elements), dtype=torch.int32)))
    return PARAMETERS[field](drawn.view(1, 7000, numbers), torch.tensor(strength, dtype=torch.float64))[0]


@pytest.mark.parametrize(("field", "strength", "numbers"), [("shift", 3, 1), ("crop_flip", 2, 3)])
def test_whole_draws_cover_their_range_evenly(field, strength, numbers):
    values, counts = parameters(field, strength, numbers)[:, 0].unique(return_counts=True)
    assert values.tolist() == list(range(-strength, strength + 1))
    assert counts.min() > 0.85 * 7000 / len(values)


def test_half_of_the_images_are_mirrored_and_rotations_reach_both_ways():
    flips = parameters("crop_flip", 1, 3)[:, 2]
    assert set(flips.tolist()) == {0.0, 1.0}
    assert flips.mean() == pytest.approx(0.5, abs=0.03)
    degrees = parameters("rotation", 20.0, 1)
    assert -20 <= degrees.min() < -19.8
    assert 19.8 < degrees.max() < 20
