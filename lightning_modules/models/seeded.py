"""Build a member's network from its own seed."""

from __future__ import annotations

import torch
from torch import nn

from lightning_modules.models import build
from lightning_modules.settings import Settings
from lightning_modules.streams import stream_seed


def build_member(member: Settings, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a member's network, initialised from its own seed. Restores torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(member.seed, "init"))
        return build(member.model, shape, classes, member.width, member.depth)
