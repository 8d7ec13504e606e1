"""Tests of the layers of a stack against those of torch."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from lightning_modules.training.stacked_layers import FEW_OUTPUTS, BatchedProducts, convolution, linear

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


@given(st.data())
def test_a_convolution_and_its_gradients_are_those_of_torch(data):
    def draw(low, high):
        return data.draw(st.integers(low, high))

    axes, groups = draw(1, 3), draw(1, 3)
    kernel, dilation = [draw(1, 3) for _ in range(axes)], [draw(1, 2) for _ in range(axes)]
    padding = data.draw(st.one_of(st.just("valid"), st.integers(0, 2), st.just([1] * axes)))
    sides = [apart * (size - 1) + draw(1, 4) for size, apart in zip(kernel, dilation, strict=True)]
    options = {"stride": [draw(1, 3) for _ in range(axes)], "padding": padding, "dilation": dilation, "groups": groups}
    generator = torch.Generator().manual_seed(draw(0, 99))
    shapes = [(2, groups * draw(1, 2), *sides), (groups * draw(1, 3), 0, *kernel)]
    shapes[1] = (shapes[1][0], shapes[0][1] // groups, *kernel)
    x, w = (torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes)
    bias = torch.randn(len(w), generator=generator, dtype=torch.float64)
    expected = CONVOLUTIONS[axes](x, w, bias, **options)
    result = convolution(x, w, bias, **options)
    torch.testing.assert_close(result, expected)
    weighting = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    gradients = (torch.autograd.grad((output * weighting).sum(), [x, w]) for output in (result, expected))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_padding_to_the_same_size_is_that_of_torch():
    x, w = torch.randn(2, 3, 9, dtype=torch.float64), torch.randn(4, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(convolution(x, w, padding="same"), functional.conv1d(x, w, padding="same"))


@pytest.mark.parametrize("outputs", [FEW_OUTPUTS - 1, FEW_OUTPUTS])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_linear_layer_is_that_of_torch_to_the_second_derivative(outputs, axes):
    x = torch.randn(*(2, 3, 4)[:axes], 5, dtype=torch.float64, requires_grad=True)
    w = torch.randn(outputs, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(outputs, dtype=torch.float64)
    torch.testing.assert_close(linear(x, w, bias), functional.linear(x, w, bias))
    assert torch.autograd.gradgradcheck(linear, (x, w))


def test_a_convolution_can_be_differentiated_twice():
    x = torch.randn(2, 2, 5, dtype=torch.float64, requires_grad=True)
    w = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, w: convolution(x, w, None, 2, 1), (x, w))


def test_batch_normalisation_refuses_a_batch_without_a_variance_as_torch_does():
    one_value = torch.ones(1, 3)
    for mode in (nullcontext(), BatchedProducts()):
        with mode, pytest.raises(ValueError, match="more than 1 value per channel when training"):
            nn.BatchNorm1d(3)(one_value)
    with BatchedProducts():
        assert nn.BatchNorm1d(3).eval()(one_value).shape == (1, 3)


@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 5), (6, 3, 4, 4)])
def test_batch_normalisation_is_that_of_torch(shape):
    layers = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
    theirs, ours = (layers[len(shape)](3).double() for _ in range(2))
    for training in (True, True, False):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        theirs.train(training), ours.train(training)
        expected = theirs(x)
        with BatchedProducts():
            result = ours(x)
        torch.testing.assert_close(result, expected)
        for a, b in zip(*(torch.autograd.grad(y.square().sum(), [x]) for y in (result, expected)), strict=True):
            torch.testing.assert_close(a, b)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
