"""Shared by all tests. The reproducibility mode of MKL has to be set before anything multiplies."""

from __future__ import annotations

import datetime
import logging
import os
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import pytest
from hypothesis import settings

from sweeps.spec.point import Point
from sweeps.store.records import MEASURES, Record, Row
from sweeps.store.store import Store

MakeRecord = Callable[..., Record]
WHEN = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)

settings.register_profile("fast", deadline=None, derandomize=True, max_examples=40)
settings.register_profile("thorough", deadline=None, derandomize=True)
settings.load_profile("fast")  # `make test-slow` runs every property with --hypothesis-profile thorough


@pytest.fixture(scope="session")
def ray_on_two_cores() -> Iterator[None]:
    """One local Ray for all tests that need one: starting it takes seconds."""
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """HOST:PORT of an S3 on this machine that has one bucket, `bucket`."""
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
def make_record() -> MakeRecord:
    """A record as a training leaves it, whose measures are a function of its id and the epoch.

    finished: the epochs with measures. diverged, stopped, failed: the epoch of a row without. Other keywords are fields
    of the point, or provenance.
    """

    def make(
        trajectory_id: str, finished: tuple[int, ...] = (), diverged: int | None = None, failed: int | None = None,
        stopped: int | None = None, **more: Any,
    ) -> Record:  # fmt: skip
        fields = {name: more.pop(name) for name in list(more) if name in Point.model_fields}
        rows = [Row(epoch, "finished", measures_at(trajectory_id, epoch)) for epoch in finished]
        if diverged is not None:
            rows.append(Row(diverged, "diverged", dict.fromkeys(MEASURES), f"diverged in {diverged}"))
        if stopped is not None:
            rows.append(Row(stopped, "stopped", dict.fromkeys(MEASURES), f"stopped before {stopped}"))
            more = {"stopped_by": "settings", **more}
        if failed is not None:
            rows.append(Row(failed, "failed", dict.fromkeys(MEASURES), f"RuntimeError: broke\n\nbefore {failed}"))
        return Record(trajectory_id, Point(**fields), tuple(rows), {"parameters": 99, "finished_at": WHEN, **more})

    return make


def measures_at(trajectory_id: str, epoch: int) -> dict[str, float]:
    return {name: zlib.crc32(f"{trajectory_id} {epoch} {name}".encode()) / 2**32 for name in MEASURES}
