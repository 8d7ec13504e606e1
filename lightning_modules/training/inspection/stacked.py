"""What a network must do in a stack: run for two members at once, with the bits that each member has alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.data.datamodule import CohortData
from lightning_modules.data.dataset import Dataset
from lightning_modules.measures.logits import cross_entropy
from lightning_modules.settings import Settings
from lightning_modules.training.dropout import DropoutMasks
from lightning_modules.training.entry import Entry
from lightning_modules.training.inspection.alone import problem, refused
from lightning_modules.training.network import StackedNetwork, rounds_differently_alone

UPDATES = 2
STEP = 0.1
"""The learning rate of the updates."""


def check_stack(settings: Settings, network: nn.Module, dataset: Dataset, dtype: torch.dtype) -> None:
    """Train two members alone and as a stack for a few updates, and compare every bit.

    Args:
        network: a network of `settings`, whose class is named in errors.
        dataset: a few examples.
        dtype: the type of parameters and inputs. In float32, rounding may differ.

    Raises:
        ModelError: says what the network does that a stack cannot.
    """
    members = [settings.model_copy(update={"seed": seed}) for seed in (0, 1)]
    with refused(settings, network):
        alone = [_trained([member], dataset, dtype) for member in members]
        _check_gradients(settings, network, alone[0][1])
        together, _ = _trained(members, dataset, dtype)
    exact = dtype == torch.float64 and torch.backends.mkl.is_available()
    for k, (own, _) in enumerate(alone):
        for name, value in own.items():
            apart = _distance(together[name][k], value[0])
            if apart > (0 if exact else 1e-4):
                small = apart < 1e-9
                words = f"has another `{name}` in a stack than alone (relative difference {apart:.0e}); "
                words += ROUNDED if small else MIXED
                raise problem(settings, words, network)


ROUNDED = (
    "one of its operations rounds by the place of a member in memory; use another operation (**2 instead of **1.5, "
    "sums instead of torch.var), or precision: float32, for which a difference of rounding is allowed"
)
MIXED = (
    "it uses something besides its parameters, its buffers and its input; keep everything that differs between members "
    "in parameters and buffers"
)


def _distance(a: Tensor, b: Tensor) -> float:
    """Return the largest difference, relative to the largest element of `b`."""
    a, b = a.double().nan_to_num(), b.double().nan_to_num()
    if not a.numel():
        return 0.0
    return float((a - b).abs().max()) / max(float(b.abs().max()), 1e-6)


def _trained(
    members: Sequence[Settings], dataset: Dataset, dtype: torch.dtype
) -> tuple[dict[str, Tensor], dict[str, Tensor | None]]:
    """Train members as one stack. Return their tensors and logits by name, each [K, ...], and the first gradients."""
    entries = [Entry(str(k), member, ()) for k, member in enumerate(members)]
    data = _data(entries, dataset, dtype)
    if len(entries) == 1 and rounds_differently_alone(data):
        entries = entries * 2
        data = _data(entries, dataset, dtype)
    network = StackedNetwork(entries, data)
    settings = [entry.settings for entry in entries]
    masks = DropoutMasks(settings, network.mask_shapes, torch.device("cpu"), dtype)
    masks.begin_epoch([0] * len(entries), UPDATES)
    order = data.order([0] * len(entries))
    inputs, labels = data.train.take(order)
    gradients: dict[str, Tensor | None] = {}
    for update in range(UPDATES):
        drawn = masks.draw(masks.keys[update], len(order[0]))
        logits, now = _step(network, drawn, inputs, labels)
        gradients = gradients or now
    with torch.no_grad():
        evaluated = network(network.state, inputs, training=False)
    names: dict[str, Tensor] = {"logits in evaluation": evaluated, "logits in training": logits}
    return {**names, **{name: value.clone() for name, value in network.state.items()}}, gradients


def _step(
    network: StackedNetwork, masks: dict[str, Tensor], inputs: Tensor, labels: Tensor
) -> tuple[Tensor, dict[str, Tensor | None]]:
    parameters = {name: value.detach().requires_grad_() for name, value in network.parameters.items()}
    with torch.enable_grad():
        logits = network({**parameters, **network.constants, **masks}, inputs, training=True)
        if not logits.requires_grad:
            return logits, dict.fromkeys(parameters)
        loss = cross_entropy(logits, labels).mean(1).sum()
        gradients: Any = torch.autograd.grad(loss, [*parameters.values()], allow_unused=True)
    with torch.no_grad():
        for value, gradient in zip(network.parameters.values(), gradients, strict=True):
            if gradient is not None:
                value -= STEP * gradient
    return logits.detach(), dict(zip(parameters, gradients, strict=True))


def _check_gradients(settings: Settings, network: nn.Module, gradients: dict[str, Tensor | None]) -> None:
    without = [name for name, gradient in gradients.items() if gradient is None]
    if len(without) == len(gradients):
        words = "computes no gradient; remove torch.no_grad() and .detach() between its parameters and its logits"
        raise problem(settings, words, network)
    if without:
        more = f" and {len(without) - 3} more" if len(without) > 3 else ""
        named = ", ".join(f"`{name}`" for name in without[:3])
        words = f"has parameters that get no gradient ({named}{more}); use them in `forward`, leave them out, or freeze"
        raise problem(settings, f"{words} them by requires_grad_(False)", network)
    for name, gradient in gradients.items():
        if gradient is not None and not gradient.isfinite().all():
            words = f"has a gradient that is not finite, of `{name}`, at the first update"
            raise problem(settings, f"{words}; check for the root, logarithm or norm of zero", network)


def _data(entries: Sequence[Entry], dataset: Dataset, dtype: torch.dtype) -> CohortData:
    return CohortData([entry.settings for entry in entries], dataset, torch.device("cpu"), dtype)
