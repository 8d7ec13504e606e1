"""Choose how many examples are evaluated at once. Does not import torch, because planning estimates memory with it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_modules.data.datamodule import Examples

CHUNK_EXAMPLES, CHUNK_FLOATS = 512, 2**18
"""The maximum number of examples, and of input values, per member that are evaluated at once. The chunk size depends
only on the data's shape, so that a member's bits are the same in any cohort. The maximum keeps the activations of a
cohort in the cache: evaluating 24 MLPs of width 100 takes half as long as in chunks of 6,554 examples."""


def chunk_examples(inputs: int) -> int:
    """Return the number of examples that are evaluated at once if each has `inputs` input values."""
    return max(1, min(CHUNK_EXAMPLES, CHUNK_FLOATS // inputs))


def chunk_size(examples: Examples) -> int:
    """Return the number of these examples that are evaluated at once."""
    return chunk_examples(math.prod(examples.inputs.shape[1:]))
