"""Copy values from the host to a device without waiting for the work that the device still has to do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def upload(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return the values as a tensor on the device.

    A copy from ordinary memory to a GPU first waits for everything that was launched before it. A copy from page-locked
    memory does not, and torch keeps that memory until the copy is done.
    """
    tensor = torch.as_tensor(values, dtype=dtype)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
