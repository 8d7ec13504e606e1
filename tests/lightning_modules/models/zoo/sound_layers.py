"""Networks of torch's own layers that train with equal bits in any stack. Inputs are [batch, 1, 6, 6] of 0, 1, 2, 3."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils import parametrizations


def activations(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(36, 7), nn.Tanh(), nn.Linear(7, 5), nn.Sigmoid(), nn.Linear(5, 9), nn.Softplus(),
        nn.Linear(9, classes),
    )  # fmt: skip


def gelu(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(36, 7), nn.GELU(), nn.Linear(7, 5), nn.GELU("tanh"), nn.Linear(5, classes)
    )


def silu_and_elu(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(36, 7), nn.SiLU(), nn.Linear(7, 5), nn.ELU(), nn.Linear(5, 5), nn.SELU(),
        nn.Linear(5, 5), nn.Mish(), nn.Linear(5, 5), nn.CELU(0.7), nn.Linear(5, 3), nn.SiLU(inplace=True),
        nn.Linear(3, classes),
    )  # fmt: skip


def dropout(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Dropout2d(), nn.Flatten(), nn.Dropout(), nn.Linear(36, 7), nn.ReLU(), nn.Dropout(), nn.Linear(7, classes)
    )


def batch_norm(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 6), nn.BatchNorm1d(6),
        nn.ReLU(), nn.Linear(6, classes),
    )  # fmt: skip


def layer_norm(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(2), nn.LayerNorm(36), nn.Flatten(), nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, classes)
    )


def group_norm(classes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(64, classes))


def instance_norm(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.ReLU(), nn.Flatten(), nn.Linear(64, classes)
    )


def convolutions_1d(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(2), nn.Conv1d(1, 4, 5, stride=2), nn.ReLU(), nn.Conv1d(4, 4, 3, groups=2, dilation=2), nn.ReLU(),
        nn.AdaptiveAvgPool1d(3), nn.Flatten(), nn.Linear(12, classes),
    )  # fmt: skip


def convolutions_2d(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 2), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(5, classes),
    )  # fmt: skip


def transposed(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2), nn.ReLU(), nn.ConvTranspose2d(3, 2, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(50, classes),
    )  # fmt: skip


def upsampled(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.Upsample(scale_factor=2), nn.PReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(),
        nn.Linear(8, classes),
    )  # fmt: skip


def weight_norm(classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(36, 5)), nn.ReLU(), nn.Linear(5, classes))


class Attention(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x.flatten(1, 2))
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        logits: Tensor = self.out((tokens + mixed).mean(1))
        return logits


class Embedding(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(4, 3)
        self.out = nn.Linear(3, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(self.vectors(x.flatten(1).long()).mean(1))
        return logits


class Bilinear(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.left = nn.Linear(36, 4)
        self.pair = nn.Bilinear(4, 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.left(x.flatten(1)).relu()
        logits: Tensor = self.pair(hidden, hidden)
        return logits


def transformer_layer(classes: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(6, 2, 12, dropout=0.0, batch_first=True, norm_first=True)
    return nn.Sequential(nn.Flatten(1, 2), layer, nn.Flatten(), nn.Linear(36, classes))
