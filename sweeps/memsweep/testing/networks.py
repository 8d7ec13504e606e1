"""Networks that fail, for tests of executors. A sweep names them by import path."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

REASON = "the network's own words"
UNLUCKY = 0.55
"""The fraction of seeds for which `unlucky` raises an error."""


def failing(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a network for 8x8 images whose forward pass always raises."""
    from torch import nn

    class Failing(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.device.type == "meta":  # planning runs the network on the meta device to determine its size
                return super().forward(x.flatten(1))
            raise RuntimeError(REASON)

    return Failing(64, classes)


def unlucky(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a network for 8x8 images, or raise RuntimeError if the first random number is below `UNLUCKY`."""
    import torch
    from torch import nn

    if torch.get_default_device().type != "meta" and torch.rand(()) < UNLUCKY:
        raise RuntimeError("not with these numbers")
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
