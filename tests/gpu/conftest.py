"""Tests of training on a GPU. Each runs on the CPU as well, in the normal suite, so that its own mistakes show there.

    pytest tests/gpu -m gpu     # `make gpu` runs it

If MEMSWEEP_GPU_RESULTS names a file, every test appends its result to it as a line of JSON as soon as it ends.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # MKL reads it at its first matrix product
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

pytest.register_assert_rewrite("memsweep.testing")

Report = Callable[[str, float], None]


@pytest.fixture(params=[pytest.param("cuda", marks=pytest.mark.gpu), "cpu"])
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    """A function that adds a measured number to the result of the test."""
    return record_property


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    result: pytest.TestReport = yield
    path = os.environ.get("MEMSWEEP_GPU_RESULTS")
    if path and (result.when == "call" or result.outcome != "passed"):
        line = {
            "test": item.name,
            "outcome": result.outcome,
            "seconds": round(result.duration, 2),
            "measured": dict(result.user_properties),
            "reason": "" if result.passed else str(result.longrepr)[-2000:],
        }
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most stacks to the slow tests: on a CPU, other tests show the same."""
    for item in items:
        given = getattr(getattr(item, "callspec", None), "params", {})
        if given.get("device") == "cpu" and given.get("stack", "mlp, SGD") != "mlp, SGD":
            item.add_marker(pytest.mark.slow)
