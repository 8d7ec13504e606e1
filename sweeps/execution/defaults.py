"""Defaults and choices of a run, which the command line shows in its help. The module imports nothing."""

from __future__ import annotations

from typing import Literal

Device = Literal["cpu", "cuda", "auto"]

CHECKPOINT_SECONDS = 120.0
RETRIES = 1
"""The number of retries of a cohort that was lost with its worker or node, before it is split into halves."""
