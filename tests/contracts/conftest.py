"""Addresses of the stores to test: a folder, S3 (moto), and a minimal fake of Google Cloud Storage."""

from __future__ import annotations

import datetime
import errno
import http.client
import json
import os
import random
import re
import socket
import stat
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from sweeps.store import atomic_files

FAULTS = ("500", "503", "slow", "dropped", "dropped after", "truncated", "truncated as whole")


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_files, "WAITS", (0.0,) * len(atomic_files.WAITS))


@pytest.fixture(scope="session")
def gcs() -> Iterator[str]:
    """Start a fake Google Cloud Storage with one bucket, `bucket`, that suffices for pyarrow; yield its HOST:PORT."""
    yield from served(FakeGcs())


@pytest.fixture
def faulty(s3: str) -> Iterator[FaultyProxy]:
    """Start a proxy for the S3 server that causes faults on request."""
    proxy = FaultyProxy(s3)
    for _ in served(proxy):
        yield proxy


@pytest.fixture(params=["folder", "nfs", "s3", "gs"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "nfs":
        request.getfixturevalue("nfs")
    if request.param in ("folder", "nfs"):
        return str(tmp_path / "deep" / "store")
    if request.param == "gs":
        where = request.getfixturevalue("gcs")
        return f"gs://anonymous@bucket/{uuid.uuid4().hex}/store?endpoint_override={where}&scheme=http"
    return s3_uri(request.getfixturevalue("s3"))


@pytest.fixture
def nfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the files of this process behave as on a network file system that loses every third answer.

    It cannot sync a folder, dates files to two seconds, says of a file that was moved that there is none, and takes an
    open file away that another machine has replaced.
    """
    sync, replace, read = os.fsync, os.replace, Path.read_bytes
    calls: Counter[str] = Counter()

    def is_third(name: str) -> bool:
        calls[name] += 1
        return calls[name] % 3 == 0

    def sync_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(handle)

    def replace_and_forget(source: Path, target: Path) -> None:
        written = os.stat(source).st_mtime_ns // 2_000_000_000 * 2_000_000_000
        os.utime(source, ns=(written, written))
        replace(source, target)
        if is_third("replace"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))

    def read_what_was_replaced(path: Path) -> bytes:
        if is_third("read"):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return read(path)

    monkeypatch.setattr(os, "fsync", sync_files)
    monkeypatch.setattr(os, "replace", replace_and_forget)
    monkeypatch.setattr(Path, "read_bytes", read_what_was_replaced)


def s3_uri(where: str) -> str:
    return f"s3://bucket/{uuid.uuid4().hex}/store?endpoint_override={where}&scheme=http&region=us-east-1"


def served(server: ThreadingHTTPServer) -> Iterator[str]:
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    yield "{}:{}".format(*server.server_address)
    server.shutdown()
    server.server_close()
    thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: Nagle would add 40 ms
    server: Any

    def log_message(self, *args: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client has closed the connection
            super().handle()

    def handle_expect_100(self) -> bool:
        go_on = super().handle_expect_100()
        self.wfile.flush()
        return go_on

    def finish(self) -> None:
        with suppress(ConnectionError):
            super().finish()

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def answer(self, code: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else content)

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def respond(self) -> None:
        raise AssertionError("every handler has its own")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = lambda self: self.respond()


class FaultyProxy(ThreadingHTTPServer):
    """A proxy that forwards requests and applies to each the fault that `fault` returns: one of FAULTS, or None."""

    daemon_threads = True

    def __init__(self, where: str) -> None:
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.where = where
        self.fault: Callable[[str, str], str | None] = lambda command, path: None
        self.done: Counter[str] = Counter()

    def misbehave(self, seed: int, chance: float, kinds: tuple[str, ...] = FAULTS) -> None:
        """Apply to each request, with probability `chance`, a random fault; the seed determines the sequence."""
        draws, lock = random.Random(seed), threading.Lock()

        def fault(command: str, path: str) -> str | None:
            with lock:
                return draws.choice(kinds) if draws.random() < chance else None

        self.fault = fault

    def behave(self) -> None:
        self.fault = lambda command, path: None

    @property
    def uri(self) -> str:
        return s3_uri("{}:{}".format(*self.server_address))


class ProxyHandler(Handler):
    server: FaultyProxy

    def respond(self) -> None:
        body, fault = self.body(), self.server.fault(self.command, self.path)
        self.server.done[fault or "none"] += 1
        if fault == "slow":
            time.sleep(0.1)
        if fault == "dropped":
            return self.hang_up()
        if fault in ("403", "500", "503"):
            code = {"403": "AccessDenied", "500": "InternalError", "503": "SlowDown"}[fault]
            return self.answer(int(fault), f"<Error><Code>{code}</Code><Message>said</Message></Error>".encode())
        headers = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
        connection = http.client.HTTPConnection(self.server.where)
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if fault == "dropped after":
            return self.hang_up()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        half = content[: len(content) // 2]
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
        if fault == "truncated as whole" and self.command != "HEAD":  # only the content shows that it is incomplete
            length, content = len(half), half
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "HEAD":
            return None
        if fault == "truncated":
            self.wfile.write(half)
            self.wfile.flush()
            return self.hang_up()
        self.wfile.write(content)
        return None


class FakeGcs(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), GcsHandler)
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, str] = {}


class GcsHandler(Handler):
    server: FakeGcs

    def respond(self) -> None:
        body, url = self.body(), urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if about := re.fullmatch("/storage/v1/b/([^/]+)", url.path):
            if about[1] != "bucket":
                return self.refuse(404, "The specified bucket does not exist.")
            return self.say({"kind": "storage#bucket", "id": "bucket", "name": "bucket"})
        asked = re.fullmatch(r"(/upload)?/storage/v1/b/([^/]+)/o(?:/(.*))?", url.path)
        assert asked, self.path
        name, objects = unquote(asked[3] or ""), self.server.objects
        if asked[2] != "bucket":
            return self.refuse(404, "The specified bucket does not exist.")
        if asked[1] and self.command == "POST":
            upload = uuid.uuid4().hex
            self.server.uploads[upload] = query["name"]
            place = f"http://{self.headers['Host']}{url.path}?uploadType=resumable&upload_id={upload}"
            return self.answer(200, Location=place)
        if asked[1]:
            name = self.server.uploads.pop(query["upload_id"])
            objects[name] = body
            return self.say(self.about(name))
        if not name:
            return self.say(self.listed(query["prefix"]))
        if name not in objects:
            return self.refuse(404, f"No such object: bucket/{name}")
        if self.command == "DELETE":
            del objects[name]
            return self.answer(204)
        return self.answer(200, objects[name]) if query.get("alt") == "media" else self.say(self.about(name))

    def listed(self, prefix: str) -> dict[str, Any]:
        names = [name for name in sorted(self.server.objects) if name.startswith(prefix)]
        folders = {prefix + name[len(prefix) :].split("/")[0] + "/" for name in names if "/" in name[len(prefix) :]}
        items = [self.about(name) for name in names if "/" not in name[len(prefix) :]]
        return {"kind": "storage#objects", "items": items, "prefixes": sorted(folders)}

    def about(self, name: str) -> dict[str, Any]:
        when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        size = str(len(self.server.objects[name]))
        return {"kind": "storage#object", "bucket": "bucket", "name": name, "size": size, "updated": when,
                "timeCreated": when, "generation": "1", "metageneration": "1"}  # fmt: skip

    def say(self, value: dict[str, Any]) -> None:
        self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

    def refuse(self, code: int, message: str) -> None:
        self.answer(code, json.dumps({"error": {"code": code, "message": message}}).encode())
