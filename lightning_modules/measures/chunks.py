"""How many examples of a member are evaluated at once. Imports no torch, because planning estimates memory with it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_modules.data.datamodule import Examples

CHUNK_EXAMPLES, CHUNK_FLOATS = 512, 2**18
"""The largest number of examples, and of input numbers, of one member that are evaluated at once: a function of the
data's shape alone, so that a member's bits are the same in any cohort. The activations of a cohort should stay in the
cache: evaluating 24 MLPs of width 100 takes half the time that it takes in chunks of 6,554."""


def chunk_examples(inputs: int) -> int:
    """Return how many examples of this many input numbers are evaluated at once."""
    return max(1, min(CHUNK_EXAMPLES, CHUNK_FLOATS // inputs))


def chunk_size(examples: Examples) -> int:
    """Return how many of these examples are evaluated at once."""
    return chunk_examples(math.prod(examples.inputs.shape[1:]))
