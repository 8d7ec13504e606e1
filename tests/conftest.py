"""Fixtures and settings for all tests. MKL reads its reproducibility mode at its first matrix product."""

from __future__ import annotations

import functools
import gc
import logging
import os
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # each of the two workers of pytest has one core
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import pytest
from hypothesis import settings

from sweeps.planning.speed import CACHE_BYTES, REFERENCE_CALL, REFERENCE_RATE
from sweeps.store.records import Record
from sweeps.store.store import Store

# Keep the cache folder of this machine out of the tests, whose plans must not depend on what ran here before.
_cache = tempfile.TemporaryDirectory(prefix="memsweep-tests-")
os.environ["MEMSWEEP_CACHE"] = _cache.name


@pytest.fixture(autouse=True, scope="session")
def _plans_of_one_machine() -> Iterator[None]:
    """Plan as on the machine of the cost model, because a core's rate depends on what else runs here meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweeps.planning.machine.core_rate", lambda: REFERENCE_RATE)
        patch.setattr("sweeps.planning.machine.call_seconds", lambda: REFERENCE_CALL)
        patch.setattr("sweeps.planning.machine.cache_share", lambda: CACHE_BYTES)
        yield


@pytest.fixture(autouse=True)
def _no_remembered_times():
    """Forget how long earlier tests trained, because plans and the choice of an executor depend on it."""
    for table in Path(_cache.name).glob("throughput-*.json"):
        table.unlink()


gc.disable()  # until pytest has collected the tests: imports create a million objects that are never freed

pytest.register_assert_rewrite("memsweep.testing")

settings.register_profile("fast", deadline=None, derandomize=True, max_examples=10)
settings.register_profile("thorough", deadline=None, derandomize=True)
settings.load_profile("fast")  # `make test-slow` runs every property with --hypothesis-profile thorough


@pytest.fixture(scope="session")
def ray_on_two_cores() -> Iterator[None]:
    """Start one local Ray for all tests that need one, because starting Ray takes seconds."""
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=50, help="the number of kills of each kind of process in soak tests")
    parser.addoption("--kills-log", type=Path, help="the file to which soak tests append a line of JSON per kill")


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Start an S3 server with one bucket, `bucket`, on this machine, and yield its HOST:PORT."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        server.start()
        where = "{}:{}".format(*server.get_host_and_port())
        urllib.request.urlopen(urllib.request.Request(f"http://{where}/bucket", method="PUT")).close()
        yield where
    assert server._server is not None
    server.stop()
    server._server.server_close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    from memsweep.testing import make_record

    return make_record


@pytest.fixture
def without_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off the constrained layout, which takes half of the time to draw a figure."""
    monkeypatch.setattr("matplotlib.layout_engine.ConstrainedLayoutEngine.execute", lambda engine, figure: None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Append each test's group to its node ID, as pytest-xdist means to: it does so in an attribute that pytest 9.2 no
    longer reads, so that tests of one group run in different workers, and each worker starts a Ray of its own."""
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        groups = sorted({str(mark.args[0]) for mark in item.iter_markers("xdist_group")})
        suffix = f"@{'_'.join(groups)}"
        if groups and not item.nodeid.endswith(suffix):
            from _pytest.nodeid import coerce_node_id

            item._id = coerce_node_id(item.nodeid + suffix)


def pytest_collection_finish() -> None:
    """Exempt all imported objects from garbage collection: a full pass over them takes a quarter of a second."""
    gc.freeze()
    gc.enable()
    if registry := sys.modules.get("lightning_fabric.utilities.registry"):
        # Each Trainer reads the metadata of all installed packages again: a quarter of the time of a small training.
        registry.entry_points = functools.cache(registry.entry_points)
