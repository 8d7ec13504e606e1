from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_modules.models import FAMILIES, build
from lightning_modules.models.layers import Layer, Patches, Shape, Size
from lightning_modules.models.modules import Attention, module


def quiet(network: nn.Module) -> nn.Module:
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return network


def shape_for(model: str) -> Shape:
    return (1, 8, 8) if model == "resnet" else (40,)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_residual_mlp_is_the_published_one() -> None:
    network = build("residual_mlp", (40,), 10, 30).eval()
    w1, b1, w2, b2, w3, b3 = network.parameters()
    x = torch.randn(5, 40)
    h = torch.relu(x @ w1.T + b1)
    h = h + torch.relu(h @ w2.T + b2)
    torch.testing.assert_close(network(x), h @ w3.T + b3)


def test_convnet_on_signals_is_the_published_one() -> None:
    network = build("convnet", (40,), 10, 6).eval()
    *convolutions, weight, bias = network.parameters()
    x = torch.randn(5, 40)
    h = x[:, None]
    for w, b in zip(convolutions[::2], convolutions[1::2], strict=True):
        h = torch.relu(functional.conv1d(h, w, b, stride=2, padding=1))
    assert h.shape == (5, 6, 5)
    torch.testing.assert_close(network(x), h.flatten(1) @ weight.T + bias)


def test_convnet_on_images_is_the_five_layer_cnn_of_nakkiran() -> None:
    network = quiet(build("convnet", (3, 32, 32), 10, 2, 4)).train()
    *convolutions, weight, bias = network.parameters()
    x = torch.randn(4, 3, 32, 32)
    h = x
    for index, pool in enumerate((1, 2, 2, 8)):
        w, b, scale, shift = convolutions[4 * index : 4 * index + 4]
        h = functional.conv2d(h, w, b, padding=1)
        h = functional.batch_norm(h, None, None, scale, shift, training=True)
        h = functional.max_pool2d(torch.relu(h), pool)
    assert h.shape == (4, 16, 1, 1)
    torch.testing.assert_close(network(x), h.flatten(1) @ weight.T + bias)


def test_resnet_is_the_preactivation_resnet() -> None:
    network = quiet(build("resnet", (3, 8, 8), 10, 4, 2)).train()
    p = iter(network.parameters())
    x = torch.randn(4, 3, 8, 8)

    def opened(h: Tensor) -> Tensor:
        return torch.relu(functional.batch_norm(h, None, None, next(p), next(p), training=True))

    def conv(h: Tensor, stride: int = 1) -> Tensor:
        return functional.conv2d(h, next(p), stride=stride, padding=1)

    h = conv(x)
    for halves in (False, False, True, False):
        seen = opened(h)
        body = conv(opened(conv(seen, 2 if halves else 1)))
        h = body + (functional.conv2d(seen, next(p), stride=2) if halves else h)
    weight, bias = p
    assert h.shape == (4, 8, 4, 4)
    torch.testing.assert_close(network(x), h.mean((2, 3)) @ weight.T + bias)


@pytest.mark.parametrize(
    ("side", "channels"), [(1, 4), (6, 4), (7, 8), (8, 8), (12, 8), (13, 16), (24, 16), (25, 32), (32, 32), (64, 32)]
)
def test_resnet_has_as_many_stages_as_the_image_bears(side: int, channels: int) -> None:
    with torch.device("meta"):
        last = list(build("resnet", (1, side, side + 3), 10, 4, 1).modules())[-1]
    assert isinstance(last, nn.Linear)
    assert last.in_features == channels


def test_attention_is_torchs_multihead_attention() -> None:
    ours = Attention(12, heads=4, units=3)
    theirs = nn.MultiheadAttention(12, 4, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.project.weight,
            "in_proj_bias": ours.project.bias,
            "out_proj.weight": ours.back.weight,
            "out_proj.bias": ours.back.bias,
        }
    )
    x = torch.randn(3, 7, 12)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0])


@pytest.mark.parametrize(("height", "width"), [(8, 6), (7, 6), (8, 5), (1, 1)])
def test_patches_are_unfolded_blocks(height: int, width: int) -> None:
    x = torch.randn(2, 3, height, width)
    padded = functional.pad(x, (0, -width % 3, 0, -height % 2))
    expected = functional.unfold(padded, kernel_size=(2, 3), stride=(2, 3)).transpose(1, 2)
    assert torch.equal(module(Patches((2, 3)), (3, height, width))(x), expected)


def test_patches_of_a_signal() -> None:
    x = torch.arange(10.0).reshape(1, 2, 5)
    expected = [[[0.0, 1.0, 5.0, 6.0], [2.0, 3.0, 7.0, 8.0], [4.0, 0.0, 9.0, 0.0]]]
    assert module(Patches((2,)), (2, 5))(x).tolist() == expected


@pytest.mark.parametrize(("shape", "tokens"), [((40,), 20), ((1, 8, 8), 16), ((1, 28, 28), 49), ((3, 32, 32), 64)])
def test_transformer_sees_the_documented_patches(shape: Shape, tokens: int) -> None:
    with torch.device("meta"):
        network = build("transformer", shape, 10, 8, 1)
    assert [p.shape for name, p in network.named_parameters() if name.endswith("vectors")] == [(tokens, 8)]


def test_transformer_knows_the_order_of_its_tokens() -> None:
    network = build("transformer", (40,), 10, 8, 1).eval()
    x = torch.randn(1, 40)
    swapped = torch.cat([x[:, 2:4], x[:, :2], x[:, 4:]], dim=1)
    assert not torch.allclose(network(x), network(swapped))


@pytest.mark.parametrize("model", sorted(FAMILIES))
def test_all_randomness_of_training_is_in_its_dropout_modules(model: str) -> None:
    network = build(model, shape_for(model), 10).train()
    x = torch.randn(6, *shape_for(model))
    places = [part for part in network.modules() if isinstance(part, nn.Dropout)]
    if model == "linear":
        assert not places
        return
    assert not torch.equal(network(x), network(x))
    quiet(network)
    assert torch.equal(network(x), network(x))
    network.train()(x).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    ("model", "depth", "places"),
    [("mlp", 3, 3), ("residual_mlp", 3, 3), ("convnet", 3, 3), ("resnet", 2, 4), ("transformer", 2, 4)],
)
def test_each_hidden_layer_or_block_can_drop(model: str, depth: int, places: int) -> None:
    network = build(model, shape_for(model), 10, 4, depth)
    assert sum(isinstance(part, nn.Dropout) for part in network.modules()) == places


@pytest.mark.parametrize("model", sorted(FAMILIES))
def test_initialisation_comes_from_torchs_generator(model: str) -> None:
    built = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        built.append(torch.cat([p.detach().flatten() for p in build(model, shape_for(model), 10, None).parameters()]))
    assert torch.equal(built[0], built[1])
    assert not torch.equal(built[0], built[2])


def test_a_layer_without_a_module_is_named() -> None:
    class Strange(Layer):
        def size(self, shape: Shape) -> Size:
            return Size(shape)

    with pytest.raises(TypeError, match="Strange has no torch module"):
        module(Strange(), (3,))
