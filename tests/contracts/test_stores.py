"""Tests of the store contract in a folder, on S3 and on Google Cloud Storage, with the suite of `memsweep.testing`."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import memsweep as ms
import pytest
from memsweep.testing.registrations import registrations
from memsweep.testing.stores import StoreSuite, outcomes

from lightning_modules.data.dataset import Dataset, Facts
from lightning_modules.data.recalled import Identity
from sweeps.errors import StoreError
from sweeps.spec.point import Point
from sweeps.store.data_records import find_record, write_records
from sweeps.store.store import Store

pytestmark = pytest.mark.xdist_group("s3")


class TestStore(StoreSuite):
    @pytest.fixture
    def uri(self, address: str) -> str:
        return address


def test_finished_wins_over_diverged_over_stopped_over_failed_in_any_order(tmp_path: Path, make_record):
    """A folder suffices, because the code that merges parts does not depend on their location."""
    kinds = {"finished": {"finished": (4,)}, **{kind: {kind: 4} for kind in ("diverged", "stopped", "failed")}}
    for i, order in enumerate(permutations(kinds)):
        store = Store(tmp_path / str(i))
        store.prepare()
        for known in range(1, 5):
            store.append([make_record("a", **kinds[order[known - 1]])])
            best = next(kind for kind in kinds if kind in order[:known])
            assert outcomes(store) == [("a", 4, best)]


def test_a_bucket_that_is_not_there_cannot_be_written(s3):
    uri = f"s3://nowhere/store?endpoint_override={s3}&scheme=http&region=us-east-1&allow_bucket_creation=false"
    with pytest.raises(StoreError, match="cannot be written: "):
        Store(uri).prepare()


def test_records_of_data_are_written_and_found(address: str):
    store = Store(address)
    store.prepare()
    with registrations():
        ms.register_source("mine", lambda argument: Dataset.of([[0.0]], [0], [[1.0]], [0]), digest=lambda name: "abc")
        write_records(store.location, [Point(data="mine:a", data_digest="abc")])
        (record, damaged) = find_record(store.location, "mine:a")
    assert (record.identity, damaged) == (Identity("abc", Facts(1, 1, (1,), 1)), {})
