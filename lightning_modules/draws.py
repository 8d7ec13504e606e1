"""Random draws that are a pure function of a member's seed, a named stream, the update and the element.

There is no generator state. A key of 64 bits per member and update is computed on the host (`update_keys`). Two words
of 32 bits per element are fixed (`Elements`): they depend neither on the member nor on the update. The draw of an
element is a hash of its key and its words, and takes two passes of integer arithmetic over all members at once:

    a = offset + factor * key[1],    draw = the upper 16 bits of  a * a + key[0]    (all modulo 2**32)

`factor` and key[1] are odd and `offset` is even, so a is odd, and the square of a uniform odd number has uniform upper
bits. The lower bits of different elements are not independent of each other. Every operation is exact, so a CPU and a
GPU draw the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_modules.streams import stream_seed

LEVELS = 2**16
"""The number of different draws."""

_QUANTILE_BITS = 12
"""The table of quantiles takes 16 KB in float32. A larger table would not stay in the first cache of a CPU."""

_GOLDEN = 0x9E3779B97F4A7C15
_LOW = np.uint64(32)


def update_keys(seeds: Sequence[int], first_updates: Sequence[int], updates: int) -> Tensor:
    """Return the keys of consecutive updates, int32 [updates, K, 2] on the CPU.

    Args:
        seeds: the `stream_seed` of each member.
        first_updates: the index of the first update for each member, counted from the start of its training.
        updates: the number of updates.
    """
    counters = np.asarray(first_updates, np.uint64) + np.arange(updates, dtype=np.uint64)[:, None]
    mixed = _splitmix64(np.asarray(seeds, np.uint64), counters)
    halves = np.stack([mixed & np.uint64(0xFFFFFFFF), mixed >> _LOW | np.uint64(1)], axis=-1)
    return torch.from_numpy(halves.astype(np.uint32).view(np.int32))


class Elements:
    """The fixed words of the elements of named blocks.

    An element's draw depends on the name of its block and on its index there, but not on the size of a block or on
    other blocks. So the first examples of a batch have the same draws in a batch of any size.

    Args:
        sizes: the number of elements of each block, in order. The draws of all blocks lie side by side.
    """

    def __init__(self, sizes: Mapping[str, int], device: torch.device) -> None:
        words = np.concatenate([_words(name, size) for name, size in sizes.items()])
        offset, factor = words & np.uint64(0xFFFFFFFE), words >> _LOW | np.uint64(1)
        self._offset, self._factor = (
            torch.from_numpy(half.astype(np.uint32).view(np.int32)).to(device) for half in (offset, factor)
        )

    def __len__(self) -> int:
        return len(self._offset)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The words of the elements by name."""
        return {"offset": self._offset, "factor": self._factor}

    def draw(self, keys: Tensor, out: Tensor) -> Tensor:
        """Write a word per member and element to `out`, int32 [K, n]. Its upper 16 bits are the draw.

        Args:
            keys: int32 [K, 2], one update of `update_keys`.
        """
        torch.addcmul(self._offset, self._factor, keys[:, 1:], out=out)
        return torch.addcmul(keys[:, :1], out, out, out=out)


def uniform(words: Tensor) -> Tensor:
    """Return float64 numbers in [0, 1) from `words`. They are multiples of 2**-32, of which 2**-16 is independent."""
    return words.double().mul_(2.0**-32).add_(0.5)


def normal(words: Tensor, quantiles: Tensor) -> Tensor:
    """Return standard normal numbers [K, n], given int32 words [K, 2n], which are overwritten.

    A number is the sum of two of the `quantiles` of `half_normal`. In contrast to a logarithm or a cosine, this sum has
    the same bits in every position of a tensor, on every device and in float32 and float64.
    """
    levels = words.bitwise_right_shift_(32 - _QUANTILE_BITS).add_(2**_QUANTILE_BITS // 2)
    first, second = quantiles.index_select(0, levels.view(-1)).view(words.shape).chunk(2, dim=1)
    return first.add_(second)


@cache
def half_normal() -> Tensor:
    """Return 4,096 equally probable numbers, float64 on the CPU, which together have mean 0 and variance 1/2.

    They are the quantiles of a normal distribution, rounded to multiples of 2**-20, so that float32 holds a sum of two
    exactly. Such a sum reaches 5.2 standard deviations, and its kurtosis is 2.996.
    """
    count = 2**_QUANTILE_BITS
    upper = torch.special.ndtri((torch.arange(count // 2, count, dtype=torch.float64) + 0.5) / count)
    upper = (upper * (2 * upper.square().mean()).rsqrt() * 2**20).round() / 2**20
    return torch.cat([-upper.flip(0), upper])


def _words(name: str, size: int) -> NDArray[np.uint64]:
    return _splitmix64(np.uint64(stream_seed(0, f"elements/{name}")), np.arange(size, dtype=np.uint64))


def _splitmix64(seeds: NDArray[np.uint64] | np.uint64, counters: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the numbers that the generator SplitMix64 draws from these seeds, by index."""
    z = seeds + (counters + np.uint64(1)) * np.uint64(_GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
