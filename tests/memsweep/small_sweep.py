"""A small sweep, as Python's objects and as the text of a file."""

from __future__ import annotations

import memsweep as ms

FIXED = {"data": "digits", "depth": 1, "width": 4}
GRID = {"label_noise": [0, 0.5], "seed": [0, 1], "epochs": [1, 2]}
TEXT = """
name: small
fixed: {data: digits, depth: 1, width: 4}
grid: {label_noise: [0, 0.5], seed: [0, 1], epochs: [1, 2]}
"""


def small() -> ms.Sweep:
    return ms.Sweep("small", fixed=FIXED, grid=GRID)
