"""Tests that a member of a stacked model computes the same bits as alone (rule 1 of a sweep)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from lightning_modules.models import build
from lightning_modules.models.layers import Shape

MEMBERS = 8
CLASSES = 5
NETWORKS: list[tuple[str, Shape, int | None, int | None]] = [
    ("linear", (13,), None, None),
    ("mlp", (40,), 47, 2),
    ("residual_mlp", (40,), 19, 3),
    ("convnet", (40,), 7, 3),
    ("convnet", (3, 9, 8), 5, 3),
    ("resnet", (1, 8, 8), 5, 1),
    ("transformer", (40,), 13, 2),
    ("transformer", (1, 9, 8), 8, 1),
]
CONVOLUTIONS = ("convnet", "resnet")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def members(model: str, shape: Shape, width: int | None, depth: int | None, dtype: torch.dtype) -> list[nn.Module]:
    built = []
    for seed in range(MEMBERS):
        torch.manual_seed(seed)
        network = build(model, shape, CLASSES, width, depth).to(dtype)
        for part in network.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
        built.append(network)
    return built


def trained(networks: list[nn.Module], xs: Tensor, ys: Tensor) -> dict[str, Tensor]:
    """Run two SGD steps of a stack and an evaluation.

    Returns logits, weights and buffers, each with a first axis of members.
    """
    weights, buffers = stack_module_state(networks)
    base = networks[0]

    def forward(p: dict[str, Tensor], b: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(base, {**p, **b}, (x,))  # type: ignore[no-any-return]

    base.train()
    for _ in range(2):
        logits = vmap(forward, randomness="error")(weights, buffers, xs)
        loss = vmap(cross_entropy)(logits, ys).sum()
        slopes = torch.autograd.grad(loss, list(weights.values()))
        weights = {
            name: (value - 0.1 * slope).detach().requires_grad_()
            for (name, value), slope in zip(weights.items(), slopes, strict=True)
        }
    base.eval()
    tested = vmap(forward)(weights, buffers, xs)
    tensors = {"train logits": logits, "test logits": tested, **weights, **buffers}
    return {name: value.detach() for name, value in tensors.items()}


def drawn(shape: Shape, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    xs = torch.randn(MEMBERS, 11, *shape, dtype=dtype, generator=generator)
    return xs, torch.randint(CLASSES, (MEMBERS, 11), generator=generator)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(("model", "shape", "width", "depth"), NETWORKS)
def test_stacked_bits_are_solo_bits(
    model: str, shape: Shape, width: int | None, depth: int | None, dtype: torch.dtype
) -> None:
    networks = members(model, shape, width, depth, dtype)
    xs, ys = drawn(shape, dtype)
    # In float32, a single and a grouped convolution use different kernels.
    tolerance = 1e-5 if dtype == torch.float32 and model in CONVOLUTIONS else 0.0
    solo = [trained(networks[k : k + 1], xs[k : k + 1], ys[k : k + 1]) for k in range(MEMBERS)]
    for chosen in ([0], [6, 2, 4], list(range(MEMBERS))):
        stacked = trained([networks[k] for k in chosen], xs[chosen], ys[chosen])
        for place, k in enumerate(chosen):
            for name, value in stacked.items():
                where = f"{name} of member {k} among {len(chosen)}"
                torch.testing.assert_close(value[place], solo[k][name][0], rtol=0, atol=tolerance, msg=where)


@pytest.mark.parametrize(("model", "shape", "width", "depth"), NETWORKS)
def test_a_stack_trains_as_ordinary_modules_do(model: str, shape: Shape, width: int | None, depth: int | None) -> None:
    networks = members(model, shape, width, depth, torch.float64)
    xs, ys = drawn(shape, torch.float64)
    stacked = trained(networks, xs, ys)
    network = networks[3]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.train()
    for _ in range(2):
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(network(xs[3]), ys[3]))
        optimizer.step()
    network.eval()
    ordinary = {"test logits": network(xs[3]), **dict(network.named_parameters()), **dict(network.named_buffers())}
    for name, value in ordinary.items():
        torch.testing.assert_close(stacked[name][3], value.detach(), rtol=1e-9, atol=1e-12)
    assert all(value == 2 for name, value in ordinary.items() if name.endswith("num_batches_tracked"))


@pytest.mark.parametrize(("model", "shape", "width", "depth"), NETWORKS)
def test_gradients_can_be_taken_inside_the_stack(
    model: str, shape: Shape, width: int | None, depth: int | None
) -> None:
    networks = members(model, shape, width, depth, torch.float64)[:3]
    xs, ys = drawn(shape, torch.float64)
    weights, buffers = stack_module_state(networks)
    base = networks[0].train()

    def loss(p: dict[str, Tensor], b: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(functional_call(base, {**p, **b}, (x,)), y)

    slopes = vmap(grad(loss))(weights, buffers, xs[:3], ys[:3])
    for k, network in enumerate(networks):
        network.zero_grad()
        torch.autograd.backward(cross_entropy(network(xs[k]), ys[k]))
        for name, value in network.named_parameters():
            torch.testing.assert_close(slopes[name][k], value.grad, rtol=1e-9, atol=1e-12)
