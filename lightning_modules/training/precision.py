"""The meaning of the field `precision`: the types of a stack's tensors, and how products of matrices are computed.

| precision | parameters, optimizer, losses | matrix products and convolutions |
|---|---|---|
| float32 | float32 | float32, also on GPUs that have a faster, less exact mode |
| tf32 | float32 | TF32 (10 bits of mantissa, sums in float32), on GPUs alone |
| bfloat16 | float32 | bfloat16 (sums in float32); torch.autocast chooses the type of every other operation |
| float64 | float64 | float64 |
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext

import torch

from lightning_modules.errors import InputError

DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.float32,
    "float64": torch.float64,
}
"""The type of parameters, optimizer states, inputs and losses."""

TF32_CAPABILITY = (8, 0)
"""The compute capability of the first GPUs with TF32 (Ampere)."""


def set_products(precision: str, device: torch.device) -> None:
    """Set how torch computes products of float32 matrices in this process from now on.

    Every setting is written, because the user's code may have changed it. By default torch computes convolutions on a
    GPU in TF32. The settings have an old and a new interface, whose getters raise an error if they disagree; in this
    order, they agree whatever was set before.

    Raises:
        InputError: TF32 is requested of a device that does not have it.
    """
    tf32 = precision == "tf32"
    if tf32 and not (device.type == "cuda" and torch.cuda.get_device_capability(device) >= TF32_CAPABILITY):
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        raise InputError(
            "precision", f"tf32 needs an NVIDIA GPU of compute capability 8.0 or newer, and the device is {name}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions of torch recommend the new interface alone
        torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which networks compute in this precision."""
    if precision != "bfloat16":
        return nullcontext()
    # Without a cache, a recorded step does not depend on the casts of an earlier one.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
