"""How many examples of a member are evaluated at once. Without torch: a plan counts with it too."""

from __future__ import annotations

CHUNK_EXAMPLES, CHUNK_FLOATS = 512, 2**18
"""At most so many examples, and numbers of input, of one member are evaluated at once: a function of the data's shape
alone, so that a member's bits are the same in any cohort. A cohort's activations are to stay in the cache: evaluating
24 MLPs of width 100 takes half the time that it takes in chunks of 6,554."""


def chunk_examples(inputs: int) -> int:
    """How many, where an example is so many numbers."""
    return max(1, min(CHUNK_EXAMPLES, CHUNK_FLOATS // inputs))
