"""Tests of the records of data sets, and of files that look like records."""

from __future__ import annotations

import datetime
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.data import sources
from lightning_modules.data.dataset import Facts
from sweeps.errors import StoreError
from sweeps.spec.point import Point
from sweeps.store import data_records
from sweeps.store.atomic_files import Location
from sweeps.store.data_records import MOST_BYTES, MOST_NUMBERS, DataRecord, find_record, write_records

FACTS = Facts(30, 10, (1, 4, 4), 3)
VALID = DataRecord(
    name="parquet:d", place="", digest="abc", written=datetime.datetime.now(datetime.UTC), **vars(FACTS)
).model_dump(mode="json")

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(autouse=True)
def data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "facts", lambda name: FACTS)


def test_what_is_written_is_found(tmp_path):
    location = Location(tmp_path)
    write_records(location, [Point(data="hub:a", data_digest="x"), Point(data="digits"), Point(data="hub:b", seed=1)])
    record, damaged = find_record(location, "hub:a")
    assert record.identity.digest == "x"
    assert record.identity.facts == FACTS
    assert find_record(location, "hub:b")[0].digest == ""
    assert find_record(location, "hub:c") == (None, {}) == (None, damaged)
    assert len(location.list("data")) == 2


def test_runs_that_write_at_once_lose_no_record(tmp_path):
    """Also of different data with one name, each of which has a record of its own."""
    names = [f"hub:{i % 3}" for i in range(30)]
    with ThreadPoolExecutor(8) as pool:
        for i, name in enumerate(names):
            pool.submit(write_records, Location(tmp_path), [Point(data=name, data_digest=f"{i // 3 % 2}")])
    location = Location(tmp_path)
    assert len(location.list("data")) == 6
    assert all(find_record(location, name)[0].name == name for name in names)


@given(st.dictionaries(st.sampled_from([*VALID, "other"]), values), st.sampled_from([None, *VALID]))
def test_no_content_is_more_than_a_record_or_a_reason(changes, left_out):
    content = {name: value for name, value in {**VALID, **changes}.items() if name != left_out}
    result = data_records._parsed(json.dumps(content).encode())
    if isinstance(result, str):
        assert len(result) < 500
        assert result.startswith("damaged: ")
        return
    assert "other" not in content
    assert isinstance(result.digest, str)
    assert all(0 < number <= MOST_NUMBERS for number in (result.classes, *result.shape))
    assert result.train_size > 0 < result.test_size


@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_a_record_or_a_reason(content):
    result = data_records._parsed(content)
    assert isinstance(result, DataRecord) or result.startswith("damaged: ")


def test_a_record_that_was_cut_off_is_damaged():
    content = json.dumps(VALID).encode()
    assert all(data_records._parsed(content[:end]).startswith("damaged: ") for end in range(len(content)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"classes": 2**31 + 1}, "damaged: classes: Input should be less than or equal to 2147483648"),
        ({"shape": [2**20, 2**20]}, "damaged: Value error, shape: an input of more than 2,147,483,648 numbers"),
        ({"shape": []}, "damaged: shape: Tuple should have at least 1 item after validation, not 0"),
        ({"written": "0001-01-01T00:00:00+23:00"}, "damaged: Value error, written: a year that is not in 2000..8999"),
        ({"version": 2}, "damaged: version: Input should be 1"),
        ({"name": "x" * 100_000}, f"is no file of at most {MOST_BYTES:,} bytes"),
    ],
)
def test_impossible_values_are_named(tmp_path, change, reason):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "a.json"
    path.write_text(json.dumps({**VALID, **change}))
    assert find_record(Location(tmp_path), "parquet:d") == (None, {str(path): reason})


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(data_records, "MOST_RECORDS", 2)
    write_records(Location(tmp_path), [Point(data=f"hub:{i}", data_digest="x") for i in range(3)])
    with pytest.raises(StoreError, match=r"data/ holds 3 files; valid: at most 2"):
        find_record(Location(tmp_path), "hub:1")


def test_a_store_that_cannot_be_written_to_ends_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    write_records(Location(tmp_path / "file"), [Point(data="hub:a", data_digest="x")])
    assert "the results cannot be read without the data hub:a: store " in caplog.text
