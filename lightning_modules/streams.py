"""Named random streams: each kind of random decision has its own seed, derived from the member's seed.

The same seed gives the same stream in every cell of a grid, so cells differ by their settings and not by chance. A
member's random numbers do not depend on other members, so its results are the same alone and in any cohort.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream_seed(seed: int, stream: str) -> int:
    """Derive the 63-bit seed of a named stream, e.g. "init", "order", "dropout", "label_noise"."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest(), "little") >> 1


def numpy_generator(seed: int, stream: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(stream_seed(seed, stream)))


def torch_generator(seed: int, stream: str) -> torch.Generator:
    import torch

    return torch.Generator().manual_seed(stream_seed(seed, stream))
