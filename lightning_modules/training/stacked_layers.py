"""Layers of a stacked network as operations that have the same bits in any stack.

Linear layers and convolutions become batched matrix products, and batch normalisation, activation functions and
attention elementary operations.

torch trains a stack of convolutions as one grouped convolution, whose kernels round differently than those of a single
network, and are slower for wide layers. A product of unfolded inputs has one kernel for any number of members, so a
member alone has the bits that it has in a stack. A mode of torch functions replaces the calls, so that this holds for
convolutions in a user's own module too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lightning_modules.training.stacked_functions import FUNCTIONS, attention, sigmoid

Sides = tuple[int, ...]
"""One number per spatial axis."""


FEW_OUTPUTS = 16
"""Layers with fewer outputs are computed with the examples last in memory."""


class BatchedProducts(TorchFunctionMode):
    """Inside a `with` block, linear layers and convolutions are matrix products, and `_REPLACED` lists the rest."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        replacement = _REPLACED.get(func)
        if replacement is None:
            return func(*args, **(kwargs or {}))
        return replacement(*args, **(kwargs or {}))


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute torch.nn.functional.linear as one product, for inputs of any number of axes."""
    product = _Product.apply(input.reshape(-1, weight.shape[1]), weight)
    if bias is not None:
        product = product + bias.to(product.dtype)
    return product.unflatten(0, input.shape[:-1]) if input.dim() != 2 else product


def convolution(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0, dilation: int | Sequence[int] = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Compute torch.nn.functional.conv1d, conv2d or conv3d as one product per group.

    The result has the channels last in memory, as the next convolution reads them.
    """
    sides = weight.dim() - 2
    if input.dim() == sides + 1:
        return convolution(input[None], weight, bias, stride, padding, dilation, groups)[0]
    kernel = tuple(weight.shape[2:])
    strides, dilations = _per_side(stride, sides), _per_side(dilation, sides)
    before, after = _paddings(padding, kernel, dilations)
    channels, filters = weight.shape[1], weight.shape[0] // groups
    columns = _Columns.apply(input, kernel, strides, before, after, dilations)
    batch, *out = columns.shape[: 1 + sides]
    weights = weight.movedim(1, -1).reshape(weight.shape[0], -1)
    if groups == 1:
        product = _Product.apply(columns.reshape(-1, math.prod(kernel) * channels), weights)
    else:
        split = columns.reshape(-1, math.prod(kernel), groups, channels).permute(2, 0, 1, 3)
        product = split.reshape(groups, -1, weights.shape[1]) @ weights.reshape(groups, filters, -1).mT
        product = product.movedim(0, 1).reshape(-1, weight.shape[0])
    if bias is not None:
        product = product + bias.to(product.dtype)
    return product.reshape(batch, *out, weight.shape[0]).movedim(-1, 1)


def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Compute torch.nn.functional.batch_norm by elementary operations.

    torch's kernels depend on whether the channels are last in memory. The members of a stack lie between the examples
    and the channels, so a member alone would run another kernel than a stack, and be rounded differently.

    Raises:
        ValueError: in training, a channel has a single value and therefore no variance, as torch's function does.
    """
    if training and input.numel() == input.shape[1]:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
    values = input.to(torch.promote_types(input.dtype, torch.float32))
    axes = [axis for axis in range(input.dim()) if axis != 1]
    shape = (-1, *(1,) * (input.dim() - 2))
    if training or running_mean is None or running_var is None:
        mean = values.mean(axes)
        centred = values - mean.reshape(shape)
        variance = centred.square().mean(axes)
        if training and running_mean is not None and running_var is not None:
            count = values.numel() // values.shape[1]
            with torch.no_grad():
                running_mean.mul_(1 - momentum).add_(mean.detach() * momentum)
                running_var.mul_(1 - momentum).add_(variance.detach() * (momentum * count / (count - 1)))
    else:
        centred, variance = values - running_mean.reshape(shape), running_var
    scale = (variance + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    result = centred * scale.reshape(shape)
    if bias is not None:
        result = result + bias.reshape(shape)
    return result.to(input.dtype)


def gru_cell(
    input: Tensor, hidden: Tensor, of_input: Tensor, of_hidden: Tensor, input_bias: Tensor | None = None,
    hidden_bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Compute one step of nn.GRUCell."""
    from_input = linear(input, of_input, input_bias).chunk(3, -1)
    from_hidden = linear(hidden, of_hidden, hidden_bias).chunk(3, -1)
    reset, update = (sigmoid(a + b) for a, b in zip(from_input[:2], from_hidden[:2], strict=True))
    new = torch.tanh(from_input[2] + reset * from_hidden[2])
    return new + update * (hidden - new)


def lstm_cell(
    input: Tensor, state: Sequence[Tensor], of_input: Tensor, of_hidden: Tensor, input_bias: Tensor | None = None,
    hidden_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Compute one step of nn.LSTMCell. Return the hidden state and the memory."""
    hidden, memory = state
    gates = linear(input, of_input, input_bias) + linear(hidden, of_hidden, hidden_bias)
    write, keep, new, read = gates.chunk(4, -1)
    memory = sigmoid(keep) * memory + sigmoid(write) * torch.tanh(new)
    return sigmoid(read) * torch.tanh(memory), memory


class _Product(torch.autograd.Function):
    """X Wᵀ for inputs X [n, in] and weights W [out, in].

    The gradient of W is computed in the layout of W. Differentiating X Wᵀ would give its transpose, which takes up to
    ten times as long for a layer of few outputs. The result of such a layer is computed as (W Xᵀ)ᵀ, with the examples
    last in memory: MKL's product is 1.3 to 3 times as fast then, and torch's softmax over the outputs twice.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(inputs: Tensor, weights: Tensor) -> Tensor:
        return (weights @ inputs.mT).mT if len(weights) < FEW_OUTPUTS else inputs @ weights.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        inputs, weights = ctx.saved_tensors
        (gradient,) = gradients
        own = gradient.dtype  # under autocast, the product was computed in a type of its own
        of_inputs = (gradient @ weights.to(own)).to(inputs.dtype) if ctx.needs_input_grad[0] else None
        of_weights = (gradient.mT @ inputs.to(own)).to(weights.dtype) if ctx.needs_input_grad[1] else None
        return of_inputs, of_weights


class _Columns(torch.autograd.Function):
    """Maps [B, C, *sides] to [B, *out, *kernel, C]: for every output, the inputs that it depends on."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        input: Tensor, kernel: Sides, stride: Sides, before: Sides, after: Sides, dilation: Sides
    ) -> Tensor:  # fmt: skip
        last = input.movedim(1, -1)
        if any(before) or any(after):
            padded = [a + n + b for a, n, b in zip(before, input.shape[2:], after, strict=True)]
            whole = input.new_zeros(input.shape[0], *padded, input.shape[1])
            whole[(slice(None), *map(_inner, before, input.shape[2:]))].copy_(last)
            last = whole
        windows = last
        for axis, (size, step, apart) in enumerate(zip(kernel, stride, dilation, strict=True), 1):
            windows = windows.unfold(axis, apart * (size - 1) + 1, step)[..., ::apart]
        # [B, *out, C, *kernel]
        return windows.movedim(1 + len(kernel), -1).contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        input, *ctx.sizes = inputs
        ctx.shape = input.shape

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        kernel, stride, before, after, dilation = ctx.sizes
        batch, channels, *sides = ctx.shape
        out = gradient.shape[1 : 1 + len(kernel)]
        padded = [a + n + b for a, n, b in zip(before, sides, after, strict=True)]
        total = gradient.new_zeros(batch, *padded, channels)
        for tap in itertools.product(*map(range, kernel)):
            read = [
                slice(i * apart, i * apart + step * (n - 1) + 1, step)
                for i, apart, step, n in zip(tap, dilation, stride, out, strict=True)
            ]
            total[(slice(None), *read)].add_(gradient[(slice(None), *[slice(None)] * len(kernel), *tap)])
        inner = total[(slice(None), *map(_inner, before, sides))]
        return inner.movedim(-1, 1), None, None, None, None, None


def _inner(before: int, size: int) -> slice:
    return slice(before, before + size)


def _per_side(value: int | Sequence[int], sides: int) -> Sides:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * sides if len(values) == 1 else values


def _paddings(padding: int | str | Sequence[int], kernel: Sides, dilation: Sides) -> tuple[Sides, Sides]:
    """Return the padding before and after each axis."""
    if padding == "same":
        total = tuple(apart * (size - 1) for size, apart in zip(kernel, dilation, strict=True))
        return tuple(n // 2 for n in total), tuple(n - n // 2 for n in total)
    sizes = (0,) * len(kernel) if isinstance(padding, str) else _per_side(padding, len(kernel))
    return sizes, sizes


def _rebound(function: Callable[..., Any], **names: Any) -> Callable[..., Any]:
    """Return a copy of a Python function that finds other objects under some global names."""
    assert isinstance(function, FunctionType)
    copied = FunctionType(
        function.__code__, {**function.__globals__, **names}, function.__name__, function.__defaults__,
        function.__closure__,
    )  # fmt: skip
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied


# torch turns a mode off inside of the functions that the mode is told of, so this one's own calls are replaced by name.
multi_head_attention = _rebound(
    functional.multi_head_attention_forward,
    linear=linear,
    **{
        name: _rebound(getattr(functional, name), linear=linear) for name in ("_in_projection", "_in_projection_packed")
    },
    scaled_dot_product_attention=attention,
    has_torch_function=lambda tensors: False,
)

_REPLACED: dict[Callable[..., Any], Callable[..., Any]] = {
    functional.linear: linear,
    functional.batch_norm: batch_norm,
    torch.gru_cell: gru_cell,
    torch.lstm_cell: lstm_cell,
    functional.multi_head_attention_forward: multi_head_attention,
    **FUNCTIONS,
    **dict.fromkeys(
        (functional.conv1d, functional.conv2d, functional.conv3d, torch.conv1d, torch.conv2d, torch.conv3d), convolution
    ),
}
