"""Activation functions and attention with the same bits in any stack, by operations that have them.

torch computes most of a tensor with vector instructions and the last few elements one by one, which rounds sigmoid,
GELU, SiLU, softplus, ELU and their like differently. Which elements are the last depends on the member's position in
the stack. For exp, expm1, tanh, erf and the logarithm of the sigmoid, torch has one kernel for all elements. The fused
kernels of attention choose their blocks by the number of matrices, so attention becomes two products and a softmax.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def sigmoid(input: Tensor) -> Tensor:
    return 0.5 * (1 + torch.tanh(0.5 * input))


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    return _placed(lambda x: x * sigmoid(x), input, inplace)


def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    if approximate == "tanh":
        return 0.5 * input * (1 + torch.tanh(math.sqrt(2 / math.pi) * (input + 0.044715 * input * input * input)))
    return 0.5 * input * (1 + torch.erf(input * math.sqrt(0.5)))


def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    scaled = beta * input
    return torch.where(scaled > threshold, input, -functional.logsigmoid(-scaled) / beta)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    return _placed(lambda x: x * torch.tanh(softplus(x)), input, inplace)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    return _placed(lambda x: _exponential_below_zero(x, alpha, 1.0), input, inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    return _placed(lambda x: _exponential_below_zero(x, alpha, 1 / alpha), input, inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    scale, alpha = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
    return _placed(lambda x: scale * _exponential_below_zero(x, alpha, 1.0), input, inplace)


def attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """Compute torch.nn.functional.scaled_dot_product_attention."""
    if dropout_p or enable_gqa:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1) @ value


def _exponential_below_zero(x: Tensor, alpha: float, rate: float) -> Tensor:
    # The clamp keeps the branch that is not chosen finite, and with it its gradient.
    return torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0) * rate))


def _placed(function: Callable[[Tensor], Tensor], input: Tensor, inplace: bool) -> Tensor:
    """Apply a function, and write the result to its input if `inplace`."""
    return input.copy_(function(input.clone())) if inplace else function(input)


FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.sigmoid: sigmoid,
    Tensor.sigmoid: sigmoid,
    functional.sigmoid: sigmoid,
    functional.silu: silu,
    functional.gelu: gelu,
    functional.softplus: softplus,
    functional.mish: mish,
    functional.elu: elu,
    functional.celu: celu,
    torch.celu: celu,
    functional.selu: selu,
    torch.selu: selu,
    functional.scaled_dot_product_attention: attention,
}
"""torch's function -> the function that replaces it in a stack."""
