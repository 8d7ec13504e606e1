"""Tests of `Location`: retries and their limits, the parsing of URIs, and a full disk."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs

from analysis.tables.points import points_table
from sweeps.errors import StoreError
from sweeps.execution.inline import Inline
from sweeps.planning.packing import Packing
from sweeps.planning.plan import Plan
from sweeps.spec.sweep_file import load_sweep
from sweeps.store import atomic_files
from sweeps.store.atomic_files import Location
from sweeps.store.store import Store

S3 = "s3://bucket/path?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1"


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace waiting between attempts by a list of the seconds to wait."""
    slept: list[float] = []
    monkeypatch.setattr(atomic_files.time, "sleep", slept.append)
    return slept


class Answers(fs.FileSystemHandler):
    """A remote file system with one object. Each read of the object returns or raises the next answer."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = [*answers]

    def open_input_stream(self, path: str) -> pa.PythonFile:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return pa.PythonFile(pa.BufferReader(answer), mode="r")

    def get_type_name(self) -> str:
        return "answers"

    def normalize_path(self, path: str) -> str:
        return path

    def _never(self, *args: object) -> None:
        raise AssertionError("must not be called")

    copy_file = create_dir = delete_dir = delete_dir_contents = delete_file = delete_root_dir_contents = _never  # type: ignore[assignment]
    get_file_info = get_file_info_selector = move = open_append_stream = open_input_file = open_output_stream = _never  # type: ignore[assignment]


def answering(*answers: bytes | Exception) -> tuple[Location, Answers]:
    remote, handler = Location("s3://bucket/path"), Answers(*answers)
    remote.__dict__["_opened"] = fs.PyFileSystem(handler), "bucket/path"
    return remote, handler


BUSY = OSError("AWS Error SLOW_DOWN during GetObject operation: reduce your rate")


class TestAgain:
    def test_an_error_that_passes_is_logged_and_not_raised(self, waited, caplog):
        remote, handler = answering(BUSY, BUSY, BUSY, b"content")
        assert remote.read("a") == b"content"
        assert caplog.messages == [
            f"store s3://bucket/path: a cannot be read: {BUSY}; trying again within {wait} s" for wait in (0.5, 1, 2)
        ]
        assert handler.answers == []
        assert [wait / base for wait, base in zip(waited, atomic_files.WAITS, strict=False)] == pytest.approx(
            [0.75] * 3, abs=0.25
        )

    def test_an_error_that_stays_is_said_after_all_attempts(self, waited):
        remote, handler = answering(*[BUSY] * 20)
        with pytest.raises(
            StoreError, match=r"^store s3://bucket/path: a cannot be read: AWS Error SLOW_DOWN .* rate$"
        ):
            remote.read("a")
        assert len(waited) == len(atomic_files.WAITS) == 20 - len(handler.answers) - 1

    def test_no_attempt_begins_when_patience_is_over(self, waited, monkeypatch):
        moments = iter(range(0, 1000, 50))
        monkeypatch.setattr(atomic_files.time, "monotonic", lambda: next(moments))
        remote, handler = answering(*[BUSY] * 20)
        with pytest.raises(StoreError, match="SLOW_DOWN"):
            remote.read("a")
        assert 20 - len(handler.answers) == 1 + atomic_files.PATIENCE // 50

    @pytest.mark.parametrize(
        "said",
        [
            "When reading information for key 'a' in bucket 'b': AWS Error ACCESS_DENIED during HeadObject operation",
            "AWS Error NO_SUCH_BUCKET during CreateMultipartUpload operation",
            "AWS Error UNKNOWN (HTTP status 400) during PutObject operation: ExpiredToken",
            "AWS Error UNKNOWN (HTTP status 301) during ListObjectsV2 operation",
            "google::cloud::Status(PERMISSION_DENIED: Permanent error)",
            "AWS Error UNKNOWN (HTTP status 403) during ListObjectsV2 operation: RequestTimeTooSkewed",
        ],
    )
    def test_what_will_not_pass_is_not_tried_again(self, waited, said):
        remote, handler = answering(OSError(said), b"content")
        with pytest.raises(StoreError, match="cannot be read"):
            remote.read("a")
        assert waited == []
        assert handler.answers == [b"content"]

    @pytest.mark.parametrize(
        "said",
        [
            "AWS Error UNKNOWN (HTTP status 500) during HeadObject operation: No response body.",
            "AWS Error UNKNOWN (HTTP status 429) during GetObject operation",
            "AWS Error UNKNOWN (HTTP status 408) during GetObject operation",
            "AWS Error UNKNOWN (HTTP status -1) during ListObjectsV2 operation: XML_ERROR_PARSING_ELEMENT",
            "AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 18, Transferred a partial file",
            "google::cloud::Status(UNAVAILABLE: Retry policy exhausted)",
        ],
    )
    def test_what_may_pass_is_tried_again(self, waited, said):
        assert answering(OSError(said), b"content")[0].read("a") == b"content"
        assert len(waited) == 1

    @pytest.mark.parametrize(
        "said",
        [
            "AWS Error NETWORK_CONNECTION during ListObjectsV2 operation: curlCode: 6, Could not resolve hostname",
            "AWS Error NETWORK_CONNECTION during ListObjectsV2 operation: curlCode: 35, SSL connect error",
            "google::cloud::Status(UNAVAILABLE: Retry policy exhausted: CURL error [6]=Could not resolve hostname",
        ],
    )
    def test_what_cannot_be_reached_is_said_at_once_unless_it_has_answered_before(self, waited, said):
        remote, handler = answering(OSError(said), b"content", OSError(said), b"content")
        with pytest.raises(StoreError, match="cannot be read"):
            remote.read("a")
        assert waited == []
        assert remote.read("a") == remote.read("a") == b"content"
        assert len(waited) == 1
        assert handler.answers == []

    def test_a_host_that_is_not_there_and_tls_spoken_to_plain_http_are_said_at_once(self, waited, s3):
        for uri in (
            f"s3://bucket/path?endpoint_override={s3}&region=us-east-1",
            "s3://bucket/path?endpoint_override=no-such-host.invalid:1&scheme=http&region=us-east-1",
        ):
            with pytest.raises(StoreError, match=r"cannot be read: .*(SSL connect error|Could not resolve)"):
                Location(uri).list("parts")
        assert waited == []

    @pytest.mark.parametrize("error", [FileNotFoundError(2, "x"), OSError("AWS Error NO_SUCH_KEY during GetObject")])
    def test_what_is_not_there_is_not_asked_for_again(self, waited, error):
        assert answering(error)[0].read("a") is None
        assert waited == []

    def test_bytes_that_are_not_those_written_are_read_again(self, waited):
        remote, _ = answering(b"con", b"con\0\0\0\0", BUSY, b"content")
        assert remote.read("a", lambda content: content == b"content") == b"content"
        assert len(waited) == 3

    def test_what_stays_damaged_is_returned_as_it_is(self, waited):
        remote, handler = answering(*[b"con"] * 20)
        assert remote.read("a", lambda content: False) == b"con"
        assert len(waited) == atomic_files.READ_AGAIN == 20 - len(handler.answers) - 1

    def test_a_folder_is_asked_once(self, tmp_path, waited, monkeypatch):
        folder = Location(tmp_path)
        folder.write("a", b"content")
        assert folder.read("a", lambda content: False) == b"content"
        monkeypatch.setattr(os, "replace", lambda *names: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(StoreError, match=r"a cannot be written: .*Input/output error"):
            folder.write("a", b"other")
        assert waited == []
        assert folder.read("a") == b"content"
        assert [info.base_name for info in folder.list("")] == ["a"]


class TestUris:
    def test_every_option_of_an_s3_uri_is_kept_and_ours_are_added(self):
        uri = (
            "s3://key:sec%2Fret@bucket/a/b/?endpoint_override=127.0.0.1:1&scheme=http&region=r&allow_bucket_creation=1"
        )
        filesystem, root = Location(uri)._opened
        assert root == "bucket/a/b"
        options = filesystem.__reduce__()[1][0]
        plain = fs.FileSystem.from_uri(uri)[0].__reduce__()[1][0]
        assert {name for name in plain if plain[name] != options[name]} == {"connect_timeout", "request_timeout"}
        assert (options["access_key"], options["secret_key"], options["region"]) == ("key", "sec/ret", "r")
        assert (options["connect_timeout"], options["request_timeout"]) == (10, 20)

    def test_of_a_gs_uri_too(self):
        uri = "gs://anonymous@bucket/a?endpoint_override=127.0.0.1:1&scheme=http"
        options = Location(uri)._opened[0].__reduce__()[1][0]
        assert options["retry_time_limit"] == atomic_files.GCS_RETRIES
        assert (options["anonymous"], options["endpoint_override"]) == (True, "127.0.0.1:1")
        options = Location(f"{uri}&retry_limit_seconds=7")._opened[0].__reduce__()[1][0]
        assert options["retry_time_limit"] == timedelta(seconds=7)

    @pytest.mark.parametrize("uri", [f"{S3}&colour=red", "gs://bucket/a?colour=red", "nosuch://place"])
    def test_what_is_not_understood_is_refused_with_what_is_valid(self, uri, waited):
        with pytest.raises(StoreError, match=r"cannot be opened: .*; valid: a folder, s3://BUCKET/PATH or gs://"):
            Location(uri).list("parts")
        assert waited == []

    @pytest.mark.parametrize("uri", ["s3://", "gs://"])
    def test_a_uri_without_a_bucket(self, uri):
        with pytest.raises(StoreError, match=r"^store .*: .*; valid: a folder, s3://BUCKET/PATH or gs://BUCKET/PATH$"):
            Location(uri).list("parts")

    def test_no_key_is_shown(self):
        with pytest.raises(StoreError) as caught:
            Location("s3://key:secret@bucket/a?colour=red").list("parts")
        assert "secret" not in str(caught.value)
        assert str(caught.value).startswith("store s3://bucket/a?colour=red: ")

    def test_nobody_there(self, waited, monkeypatch):
        monkeypatch.setattr(atomic_files, "SDK_ATTEMPTS", 1)
        with pytest.raises(StoreError, match=r"^store s3://bucket/path\?.*: cannot be read: .*NETWORK_CONNECTION"):
            Location(S3).list("parts")
        assert len(waited) == len(atomic_files.WAITS)


SWEEP = """
name: full
fixed: {data: digits, dataset_size: 100, depth: 1, batch_size: 50, precision: float64}
grid: {label_noise: [0, 0.5], width: [4, 5, 6], epochs: [1, 2]}
"""
COHORTS = 6


@contextmanager
def full_disk(folder: Path) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Yield a function that a process runs first to have a nearly full disk, and a function that frees space.

    The disk is a small one if the test may mount it. Otherwise, file sizes are limited to less than a part.
    """
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)), lambda: None
        return
    try:
        yield lambda: None, lambda: subprocess.run(["mount", "-o", "remount,size=16m", folder], check=True) and None
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_a_full_disk_is_said_leaves_no_half_part_and_the_next_run_completes(tmp_path):
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    folder = tmp_path / "disk"
    folder.mkdir()

    def plan() -> Plan:
        return Plan.of(load_sweep(str(tmp_path / "sweep.yaml")), Packing(workers=1, max_cohort=1))

    def table(store: Store) -> pa.Table:
        return points_table(plan(), store.read())

    store, whole = Store(folder), Store(tmp_path / "whole")
    command = [sys.executable, "-m", "memsweep", "run", "sweep.yaml", "--inline", "--max-cohort=1", "--store", "disk"]
    with full_disk(folder) as (before, make_room):
        ran = subprocess.run(command, cwd=tmp_path, preexec_fn=before, capture_output=True, text=True)
        assert ran.returncode == 2, ran.stdout + ran.stderr
        assert ran.stderr.startswith("error: store disk: parts/")
        assert "cannot be written: [Errno " in ran.stderr
        assert "No space left on device" in ran.stderr or "File too large" in ran.stderr
        contents = store.read()
        assert contents.damaged == {}
        left = [path.name for path in (folder / "parts").iterdir()]
        assert 2 * len(left) == contents.table.num_rows < 2 * COHORTS
        make_room()
        assert len(plan().without(store.done()).cohorts) == COHORTS - len(left)
        Inline().execute(plan().without(store.done()), store, lambda event: None)
        Inline().execute(plan(), whole, lambda event: None)
        assert table(store).equals(table(whole))
        assert set(table(store)["outcome"].to_pylist()) == {"finished"}
        assert len(list((folder / "parts").iterdir())) == COHORTS


WRITER = """
import sys, time
from pathlib import Path
from sweeps.store.records import Record, Row
from sweeps.spec.point import Point
from sweeps.store.store import Store

folder, number = Path(sys.argv[1]), sys.argv[2]
records = [Record(i, Point(), tuple(Row(e, "finished", {"test_loss": e / 3}) for e in range(50)), {}) for i in "abc"]
(folder / f"ready {number}").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
for _ in range(30):
    print(Store(folder / "store").append(records))
"""


@pytest.mark.xdist_group("forks")
def test_the_same_part_from_two_racing_processes_is_one_result(tmp_path, fork):
    store = Store(tmp_path / "store")
    store.prepare()
    writers = [fork(WRITER, ["writer", str(tmp_path), str(i)], tmp_path) for i in range(2)]
    while len(list(tmp_path.glob("ready *"))) < 2:
        assert all(writer.poll() is None for writer in writers)
    (tmp_path / "go").touch()
    seen = set()
    while any(writer.poll() is None for writer in writers):
        contents = store.read([])
        assert contents.damaged == {}
        seen.add(contents.table.num_rows)
    names = {name for writer in writers for name in writer.communicate()[0].split()}
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {0, 150}
    assert [path.name for path in (tmp_path / "store" / "parts").iterdir()] == [*names]
    assert store.read().table.num_rows == 150
