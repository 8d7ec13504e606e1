from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from lightning_modules.errors import ModelError
from lightning_modules.models import FAMILIES, Resolved, build, resolve
from lightning_modules.models.family import Family
from lightning_modules.models.layers import Conv, Flatten, Layer, Linear, ReLU, Shape, chain, largest
from lightning_modules.models.sizes import (
    activation_floats,
    forward_flops,
    parameter_count,
)

Network = tuple[str, tuple[int, ...], int, int | None, int | None]


@st.composite
def networks(draw: st.DrawFn, narrowest: int = 1) -> Network:
    model = draw(st.sampled_from(sorted(FAMILIES)))
    rank = draw(st.sampled_from(FAMILIES[model].ranks))
    least = {1: 3, 2: 3, 3: 1}[rank]
    sides = draw(st.lists(st.integers(least, 34), min_size=max(rank - 1, 1), max_size=max(rank - 1, 1)))
    channels = [draw(st.integers(1, 3))] if rank > 1 else []
    classes = draw(st.integers(1, 12))
    if model == "linear":
        return model, (*channels, *sides), classes, None, None
    width = draw(st.integers(narrowest, 24))
    return model, (*channels, *sides), classes, width, draw(st.integers(1, 3))


def on_meta(network: Network) -> torch.nn.Module:
    with torch.device("meta"):
        return build(*network)


@given(networks())
def test_the_sizes_are_those_of_the_module(network: Network) -> None:
    module = on_meta(network)
    counter = FlopCounterMode(display=False)
    with counter, torch.device("meta"):
        out = module(torch.empty(2, *network[1]))
    assert out.shape == (2, network[2])
    assert parameter_count(*network) == sum(p.numel() for p in module.parameters())
    assert 2 * forward_flops(*network) == counter.get_total_flops()


@given(networks(narrowest=6))
def test_activations_are_within_a_factor_of_two_of_what_autograd_saves(network: Network) -> None:
    batch = 4
    module = on_meta(network)
    weights = {p.untyped_storage()._cdata for p in module.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = module(torch.empty(batch, *network[1], device="meta"))
    assert out.requires_grad
    measured = sum(storage.nbytes() for storage in saved.values()) / 4 / batch
    assert measured / 2 <= activation_floats(*network) <= measured * 2


MNIST1D = ((40,), 10)
CIFAR = ((3, 32, 32), 10)


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (("linear", *MNIST1D, None, None), 410),
        (("residual_mlp", *MNIST1D, 100, None), 15_210),
        (("convnet", *MNIST1D, 25, None), 5_210),
        (("convnet", *CIFAR, 64, 4), 1_558_026),
        (("resnet", *CIFAR, 64, None), 11_171_146),
        (("mlp", (3, 28, 28), 10, 512, 1), 1_209_866),
        (("mlp", (3, 28, 28), 10, 512, 3), 1_735_178),
    ],
)
def test_published_counts(network: Network, count: int) -> None:
    assert parameter_count(*network) == count
    model, shape, classes, width, depth = network
    if width is not None:
        assert resolve(model, shape, classes, parameter_count=count, depth=depth).width == width


@pytest.mark.parametrize("width", [9, 16, 47, 300])
def test_the_double_descent_mlp_has_its_published_count(width: int) -> None:
    assert parameter_count("mlp", *MNIST1D, width, 2) == width**2 + 52 * width + 10


def test_flops_of_a_case_done_by_hand() -> None:
    assert forward_flops("mlp", (40,), 10, 7, 2) == 2 * (40 * 7 + 7 * 7 + 7 * 10)
    convolutions = 25 * 19 * 5 + 25 * 10 * 75 + 25 * 5 * 75
    assert forward_flops("convnet", (40,), 10, 25, 3) == 2 * (convolutions + 125 * 10)


@given(networks(), st.data())
def test_the_nearest_width_is_found_or_the_count_refused(network: Network, data: st.DataObject) -> None:
    model, shape, classes, _, depth = network
    if model == "linear":
        counts: dict[int | None, int] = {None: parameter_count(model, shape, classes)}
    else:
        counts = {w: parameter_count(model, shape, classes, w, depth) for w in range(1, 40)}
    asked = data.draw(st.integers(1, max(counts.values()) * 12 // 10 if model == "linear" else max(counts.values())))
    width = min(counts, key=lambda w: (abs(counts[w] - asked), w or 0))
    if abs(counts[width] - asked) / asked <= 0.1:
        assert resolve(model, shape, classes, parameter_count=asked, depth=depth) == Resolved(
            width, depth, counts[width]
        )
    else:
        with pytest.raises(ModelError, match=rf"given {asked}; .*\b{counts[width]}\b") as caught:
            resolve(model, shape, classes, parameter_count=asked, depth=depth)
        assert caught.value.field == "parameter_count"


@given(networks())
def test_more_width_is_more_parameters(network: Network) -> None:
    model, shape, classes, width, depth = network
    if width is not None:
        assert parameter_count(*network) < parameter_count(model, shape, classes, width + 1, depth)


def test_of_two_equally_near_widths_the_smaller() -> None:
    assert parameter_count("mlp", (41,), 10, 10, 1) == 530
    assert parameter_count("mlp", (41,), 10, 11, 1) == 582
    assert resolve("mlp", (41,), 10, parameter_count=556, depth=1).width == 10


def test_exactly_ten_per_cent_is_near_enough() -> None:
    assert resolve("linear", (8,), 11, parameter_count=110) == Resolved(None, None, 99)
    assert resolve("linear", (8,), 11, parameter_count=90) == Resolved(None, None, 99)
    with pytest.raises(ModelError):
        resolve("linear", (8,), 11, parameter_count=111)
    with pytest.raises(ModelError):
        resolve("linear", (8,), 11, parameter_count=89)


def test_what_is_not_said_is_the_default() -> None:
    for name, family in FAMILIES.items():
        shape = (1, 8, 8) if 3 in family.ranks else (40,)
        resolved = resolve(name, shape, 10)
        assert (resolved.width, resolved.depth) == (FAMILIES[name].default_width, FAMILIES[name].default_depth)
        assert resolved.parameter_count == parameter_count(name, shape, 10, resolved.width, resolved.depth)
        assert resolved.parameter_count == sum(p.numel() for p in on_meta((name, shape, 10, None, None)).parameters())


@pytest.mark.parametrize(
    ("model", "shape", "choice", "field", "message"),
    [
        (
            "mpl",
            (40,),
            {},
            "model",
            "given 'mpl'; did you mean mlp? valid: linear, mlp, residual_mlp, convnet, resnet, transformer, "
            "package.module:function",
        ),
        (
            "gru",
            (40,),
            {},
            "model",
            "given 'gru'; valid: linear, mlp, residual_mlp, convnet, resnet, transformer, package.module:function",
        ),
        (
            "resnet",
            (40,),
            {},
            "model",
            "given resnet for data of shape (40,); it takes (channels, height, width)",
        ),
        (
            "convnet",
            (1, 2),
            {},
            "model",
            "given convnet for data of shape (1, 2); signals need at least 3 samples",
        ),
        (
            "mlp",
            (2, 3, 4, 5),
            {},
            "model",
            "given data of shape (2, 3, 4, 5); valid are one to three axes, each at least 1",
        ),
        (
            "mlp",
            (40,),
            {"parameter_count": 80},
            "parameter_count",
            "given 80; unreachable within 10 % by mlp on data of shape (40,): nearest are 63 (width 1) and "
            "118 (width 2)",
        ),
        (
            "mlp",
            (40,),
            {"parameter_count": 20},
            "parameter_count",
            "given 20; unreachable within 10 % by mlp on data of shape (40,): nearest is 63 (width 1)",
        ),
        (
            "linear",
            (40,),
            {"parameter_count": 5000},
            "parameter_count",
            "given 5000; unreachable within 10 % by linear on data of shape (40,): nearest is 410",
        ),
        ("mlp", (40,), {"parameter_count": 0}, "parameter_count", "given 0; must be at least 1"),
        (
            "mlp",
            (40,),
            {"parameter_count": 500, "width": 3},
            "parameter_count",
            "given 500 together with width 3; give one of the two",
        ),
        ("linear", (40,), {"width": 8}, "width", "given 8 for linear, which has no width; leave it out"),
        ("linear", (40,), {"depth": 2}, "depth", "given 2 for linear, which has no depth; leave it out"),
        ("mlp", (40,), {"width": 0}, "width", "given 0; must be at least 1"),
        ("mlp", (40,), {"depth": 0}, "depth", "given 0; must be at least 1"),
    ],
)
def test_what_is_said_of_bad_input(
    model: str, shape: tuple[int, ...], choice: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(ModelError) as caught:
        resolve(model, shape, 10, **choice)
    assert str(caught.value) == message
    assert caught.value.field == field


def test_build_refuses_what_resolve_refuses() -> None:
    with pytest.raises(ModelError, match="no width"):
        build("linear", (40,), 10, 8)
    with pytest.raises(ModelError, match="it takes"):
        build("resnet", (40,), 10)


@given(
    model=st.sampled_from([*FAMILIES]),
    shape=st.one_of(
        st.tuples(st.integers(1, 40)),
        st.tuples(st.integers(1, 3), st.integers(1, 40)),
        st.tuples(st.integers(1, 3), st.integers(1, 33), st.integers(1, 33)),
    ),
    depth=st.integers(1, 9),
)
def test_a_size_that_is_accepted_can_run(model: str, shape: tuple[int, ...], depth: int) -> None:
    family = FAMILIES[model]
    sizes = {"width": 2 if family.takes_width else None, "depth": depth if family.takes_depth else None}
    try:
        resolve(model, shape, 3, **sizes)
    except ModelError:
        return  # whatever the depth
    with torch.device("meta"):
        network = build(model, shape, 3, **sizes)
        assert network(torch.empty(2, *shape)).shape == (2, 3)


def test_a_depth_that_leaves_nothing_of_the_data_is_refused_with_the_largest_that_fits() -> None:
    def shrinking(shape: Shape, classes: int, width: int, depth: int) -> Layer:
        return chain([Conv(width, 3), ReLU()] * depth, Flatten(), Linear(classes))

    family = Family("shrinking", "no padding", shrinking, default_width=2, default_depth=2)
    assert family.size((1, 8, 8), 3, None, 3).shape == (3,)
    with pytest.raises(ModelError) as caught:
        family.size((1, 8, 8), 3, None, 4)
    assert caught.value.field == "model"
    assert str(caught.value) == (
        "shrinking cannot use data of shape (1, 8, 8) with depth=4: Conv leaves nothing of (2, 2, 2); "
        "the largest depth for this shape is 3"
    )
    with pytest.raises(ModelError, match=r"with depth=2: Conv leaves nothing of \(1, 2, 2\)$"):
        family.size((1, 2, 2), 3, None, None)


@given(fitting=st.integers(0, 50), most=st.integers(0, 60))
def test_the_largest_number_that_fits_is_found(fitting: int, most: int) -> None:
    assert largest(lambda number: number <= fitting, most) == min(fitting, most)
