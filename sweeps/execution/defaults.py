"""Defaults and choices of a run, which the command line shows in its help. The module imports nothing."""

from __future__ import annotations

from typing import Literal

Device = Literal["cpu", "cuda", "auto"]

CHECKPOINT_SECONDS = 120.0
RETRIES = 1
"""The number of retries of a cohort that was lost with its worker or node, before it is split into halves."""

FEWEST_FAILURES = 10
FAILURE_SHARE = 0.1
"""The share of a run's trainings that may fail before no further cohort is started. `FEWEST_FAILURES` always may."""

SAME_REASON = 8
"""The number of members of a cohort that are tried alone if all of them fail for one reason."""
