"""A sweep for tests of the command line, and what a command leaves."""

from __future__ import annotations

from typing import NamedTuple

SWEEP = """
name: small
question: How small?
fixed: {data: digits, depth: 1, width: 4}
grid: {label_noise: [0, 0.5], seed: [0, 1], epochs: [1, 2]}
figures:
  - {kind: heatmap, x: label_noise, y: epochs, value: test_accuracy}
"""


class Said(NamedTuple):
    code: int
    out: str
    err: str
