"""Networks that fail, for sweeps in tests of executors. A sweep names them by import path."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

REASON = "the network's own words"
UNLUCKY = 0.55
"""The share of seeds with which `unlucky` cannot be built."""


def failing(shape: tuple[int, ...], classes: int) -> nn.Module:
    """A network for 8x8 images whose forward pass raises, whatever its seed."""
    from torch import nn

    class Failing(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.device.type == "meta":  # the plan measures its size there
                return super().forward(x.flatten(1))
            raise RuntimeError(REASON)

    return Failing(64, classes)


def unlucky(shape: tuple[int, ...], classes: int) -> nn.Module:
    """A network for 8x8 images that cannot be built where the first number of its generator is below `UNLUCKY`."""
    import torch
    from torch import nn

    if torch.get_default_device().type != "meta" and torch.rand(()) < UNLUCKY:
        raise RuntimeError("not with these numbers")
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
