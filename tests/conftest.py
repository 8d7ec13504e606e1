"""Shared by all tests. The reproducibility mode of MKL has to be set before anything multiplies."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import pytest
from hypothesis import settings

settings.register_profile("memsweep", deadline=None, derandomize=True)
settings.load_profile("memsweep")


@pytest.fixture(scope="session")
def ray_on_two_cores() -> Iterator[None]:
    """One local Ray for all tests that need one: starting it takes seconds."""
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()
