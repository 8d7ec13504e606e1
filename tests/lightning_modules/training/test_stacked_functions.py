"""Tests that the functions of a stack are torch's up to rounding, and that their bits do not depend on the stack."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from lightning_modules.training.stacked_layers import BatchedProducts

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "method": lambda x: x.sigmoid(),
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu by tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "softplus": functional.softplus,
    "steep softplus": lambda x: functional.softplus(x, beta=3, threshold=5),
    "mish": functional.mish,
    "elu": lambda x: functional.elu(x, 0.7),
    "celu": lambda x: functional.celu(x, 0.7),
    "selu": functional.selu,
    "attention": lambda x: functional.scaled_dot_product_attention(x[None], 2 * x[None], x[None].cos())[0],
    "causal": lambda x: functional.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True)[0],
}

EXTREMES = [-800.0, -40.0, -5.0, -1e-9, 0.0, 1e-9, 5.0, 40.0, 800.0]


def value_and_slope(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    value = function(x)
    (slope,) = torch.autograd.grad((value * value.detach().cos()).sum(), x)
    return value.detach(), slope


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_slopes_are_those_of_torch(name: str) -> None:
    x = torch.randn(7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if name not in ("attention", "causal"):
        x = torch.cat([x, torch.tensor([EXTREMES], dtype=x.dtype)])
    expected = value_and_slope(FUNCTIONS[name], x)
    with BatchedProducts():
        computed = value_and_slope(FUNCTIONS[name], x)
    for ours, theirs in zip(computed, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", FUNCTIONS)
@given(
    batch=st.integers(1, 9), features=st.integers(1, 40), double=st.booleans(),
    members=st.lists(st.integers(0, 3), min_size=1, max_size=3),
)  # fmt: skip
def test_bits_do_not_depend_on_the_stack(
    name: str, batch: int, features: int, double: bool, members: list[int]
) -> None:
    dtype = torch.float64 if double else torch.float32
    xs = torch.randn(4, batch, features, dtype=dtype, generator=torch.Generator().manual_seed(batch * features))
    stacked = torch.vmap(FUNCTIONS[name])
    with BatchedProducts():
        whole = value_and_slope(stacked, xs)
        part = value_and_slope(stacked, xs[members])
    for some, every in zip(part, whole, strict=True):
        assert torch.equal(some, every[members])


@pytest.mark.parametrize("name", ["silu", "mish", "elu", "selu", "celu"])
def test_in_place_they_change_their_input(name: str) -> None:
    function = getattr(functional, name)
    x = torch.randn(5, 3)
    changed = x.clone()
    with BatchedProducts():
        assert function(changed, inplace=True) is changed
    torch.testing.assert_close(changed, function(x))
