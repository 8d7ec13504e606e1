"""Atomic reads and writes of a store's files in a folder, on S3 or on Google Cloud Storage.

Every error is raised as a StoreError that names the store. After a transient error, a remote operation is retried,
first by the client library and then by this module. The module also detects damaged content that the library reports
as success: if a connection ends early, the content can have the right length but wrong bytes at its end.
"""

from __future__ import annotations

import datetime
import errno
import logging
import os
import random
import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from pyarrow import fs

from lightning_modules.errors import one_line
from lightning_modules.whole_files import written_whole
from sweeps.errors import StoreError
from sweeps.store.address import Address

T = TypeVar("T")
_log = logging.getLogger(f"memsweep.{__name__}")

WAITS: tuple[float, ...] = (0.5, 1, 2, 4, 8, 16)
"""Seconds to wait before each retry. Each wait is shortened at random by up to half."""
PATIENCE = 120
"""Seconds after which no further retry begins, since each attempt may itself wait long for an answer."""
READ_AGAIN = 3
"""Number of times that an object is read again which arrives damaged, or which another machine replaced meanwhile."""
SDK_ATTEMPTS = 3
CONNECT_SECONDS, ANSWER_SECONDS = 10, 20
"""S3's client gives up a silent connection after 3 s by default, but a store under load may stay silent for longer."""
GCS_RETRIES = datetime.timedelta(seconds=5)
"""Google's client retries for 15 minutes by default, even if the host name has no address. `Location` retries too."""

CHUNK = 2**24
"""Number of bytes requested at once."""
FOLDERS = frozenset({"parts", "examples", "leases", "checkpoints", "data"})
"""The folders of a store."""
VALID = "valid: a folder, s3://BUCKET/PATH or gs://BUCKET/PATH"
LEFTOVER = re.compile(r"\.[0-9a-f]{32}\.tmp|\.probe-[0-9a-f]{32}")
"""Matches the names of files that a killed writer can leave behind. Such files are never read."""
_GONE = re.compile("NO_SUCH_KEY|RESOURCE_NOT_FOUND")
"""Matches the errors for an object that was deleted after S3 had reported its size but before S3 sent it."""
_PERMANENT = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID|"
    r"UNRECOGNIZED_CLIENT|INVALID_SIGNATURE|MISSING_AUTHENTICATION_TOKEN|HTTP status (?:3|4(?!08|29))\d|"
    r"REQUEST_TIME_TOO_SKEWED|RequestTimeTooSkewed|Bucket '.*' not found|"
    r"PERMISSION_DENIED|UNAUTHENTICATED|INVALID_ARGUMENT|NOT_FOUND"
)

_UNREACHABLE = re.compile(
    r"(?i)curl(?:Code: | error \[)(?:6|35|51|53|54|58|59|60|66|77|80|83|90|91)\b|SSL connect error"
)
"""Matches a host name without an address, and TLS that fails or is spoken to plain http. Of a store that has answered
before, these are outages."""


class Location:
    """A folder or a URI (`s3://bucket/path?endpoint_override=...`, `gs://...`), to which all paths are relative.

    A location is cheap to create. A method that fails raises StoreError: at once for a folder, and for a remote
    location after half a minute of retries (three minutes if it does not answer at all), or at once if a retry cannot
    help (no permission, no such bucket).
    """

    def __init__(self, uri: str | Path | Address) -> None:
        self.uri = Address(uri)
        self._answered = False
        """Whether the store has been reached. Until then, a wrong name is likelier than an outage."""

        self._possible = False
        """Whether there is a bucket or a folder of this name, or there may be one."""

    def __str__(self) -> str:
        return str(self.uri)

    def __format__(self, spec: str) -> str:
        return format(self.uri, spec)

    def __repr__(self) -> str:
        return f"Location({str(self)!r})"

    @cached_property
    def _opened(self) -> tuple[fs.FileSystem, str]:
        raw = self.uri.raw
        try:  # from_uri may send a request for the bucket's region
            if "://" not in raw:
                return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(raw))
            filesystem, root = self._retry("cannot be opened", lambda: fs.FileSystem.from_uri(raw))
        except Exception as error:  # pyarrow has no common base class for the errors of a URI
            raise StoreError(f"store {self}: cannot be opened: {self._said(error)}; {VALID}") from None
        if not root.strip("/"):
            raise StoreError(f"store {self}: names no bucket; {VALID}")
        return _with_our_limits(filesystem), root.rstrip("/")

    @property
    def is_local(self) -> bool:
        return self.uri.is_local  # opening a bucket may take a minute

    @property
    def root(self) -> str:
        """The path that pyarrow uses for the store: an absolute folder, or BUCKET/PATH."""
        return self._opened[1]

    def full(self, path: str) -> str:
        return f"{self.root}/{path}"

    def prepare(self, folder: str) -> None:
        """Create the folder if it does not exist, and check that it can be written to."""
        filesystem, problem = self._opened[0], "cannot be written"
        probe = f"{folder}/.probe-{uuid.uuid4().hex}"
        if not isinstance(filesystem, fs.GcsFileSystem):  # create_dir would create a bucket, and objects need no folder
            self._try(problem, lambda: filesystem.create_dir(self.full(folder), recursive=True))
        self._try(problem, lambda: self._write(probe, b"memsweep"))
        self.delete(probe)

    def write(self, path: str, content: bytes) -> None:
        """Write an object atomically. If the write fails, an existing object is unchanged."""
        self._try(f"{path} cannot be written", lambda: self._write(path, content))

    def read(self, path: str, sound: Callable[[bytes], bool] | None = None) -> bytes | None:
        """Return the content of an object, or None if the object does not exist.

        If `sound` rejects the bytes read from a remote store, the object is read again. The last attempt is unchecked.
        """

        def whole() -> bytes | None:
            try:
                if self.is_local:
                    return _read_file(Path(self.full(path)))
                # Read a stream, since Google's random-access files hold the GIL while they wait.
                with self._opened[0].open_input_stream(self.full(path), compression=None) as source:
                    return b"".join(iter(partial(source.read, CHUNK), b""))
            except OSError as error:
                if isinstance(error, FileNotFoundError) or _GONE.search(str(error)):
                    return None
                raise

        for wait in (*WAITS[:READ_AGAIN], None):
            content = self._try(f"{path} cannot be read", whole)
            if wait is None or content is None or sound is None or self.is_local or sound(content):
                break
            _log.warning("store %s: %s arrived damaged; reading it again within %g s", self, path, wait)
            _sleep(wait)
        return content

    def delete(self, path: str) -> None:
        """Delete an object, if it exists."""

        def delete() -> None:
            with suppress(FileNotFoundError):
                self._opened[0].delete_file(self.full(path))

        self._try(f"{path} cannot be deleted", delete)

    def list(self, folder: str) -> list[fs.FileInfo]:
        """Return the files and subfolders of a folder, sorted by name, or [] if the folder does not exist.

        Raises StoreError, also if the store itself cannot exist: it is a file, below a file, or in no bucket.
        """
        selector = fs.FileSelector(self.full(folder), allow_not_found=True)
        infos = self._try("cannot be read", lambda: self._opened[0].get_file_info(selector))
        if self.is_local:  # Arrow leaves out links that lead nowhere
            infos += self._try("cannot be read", lambda: _broken_links(self.full(folder)))
        if not infos and not self._possible:
            self._check_possible()
        self._possible = True
        return sorted(infos, key=lambda info: info.path)

    def exists(self) -> bool:
        """Return whether there is anything of a store. Raises StoreError if there cannot be."""
        return bool({info.base_name for info in self.list("")} & FOLDERS)

    def now(self, folder: str) -> datetime.datetime:
        """Return the time of the store's clock, by which it dates its files: that of a file which is written for this.

        The clock of this machine may differ, and so may the dates of other files, which anybody can set.
        """
        probe = f"{folder}/.probe-{uuid.uuid4().hex}"
        self.write(probe, b"memsweep")
        (info,) = self._try("cannot be read", lambda: self._opened[0].get_file_info([self.full(probe)]))
        self.delete(probe)
        return info.mtime or datetime.datetime.now(datetime.UTC)

    def _check_possible(self) -> None:
        if self.is_local:
            place = Path(self.root)
            first = next(part for part in (place, *place.parents) if os.path.exists(part))
            if not first.is_dir():
                raise StoreError(f"store {self}: {'is' if first == place else 'is below'} a file; {VALID}")
            return
        bucket = self.root.partition("/")[0]
        try:
            (info,) = self._try("cannot be read", lambda: self._opened[0].get_file_info([bucket]))
        except StoreError:  # the right to list one folder does not include the right to ask for the bucket
            return
        if info.type == fs.FileType.NotFound:
            raise StoreError(f"store {self}: there is no bucket {bucket}; {VALID}")

    def _write(self, path: str, content: bytes) -> None:
        if not self.is_local:
            with self._opened[0].open_output_stream(self.full(path)) as stream:
                stream.write(content)  # the object appears when the upload is complete
            return
        with written_whole(self.full(path)) as aside:
            aside.write_bytes(content)

    def _try(self, problem: str, action: Callable[[], T]) -> T:
        try:
            return action() if self.is_local else self._retry(problem, action)
        except StoreError:
            raise
        except Exception as error:  # the libraries raise more than they document
            raise StoreError(f"store {self}: {problem}: {self._said(error)}") from None

    def _retry(self, problem: str, action: Callable[[], T]) -> T:
        """Call an action, and again after errors that may pass."""
        end = time.monotonic() + PATIENCE
        for wait in (*WAITS, None):
            try:
                result = action()
            except OSError as error:
                said = str(error)
                unreachable = not self._answered and _UNREACHABLE.search(said)
                permanent = isinstance(error, FileNotFoundError | PermissionError) or _PERMANENT.search(said)
                if permanent or unreachable or wait is None or time.monotonic() > end:
                    raise
                _log.warning("store %s: %s: %s; trying again within %g s", self, problem, self._said(error), wait)
                _sleep(wait)
            else:
                self._answered = "_opened" in vars(self)  # to open a location, no request may be needed
                return result
        raise AssertionError("unreachable")

    def _said(self, error: BaseException) -> str:
        return one_line(error, self.uri.redact)


def _read_file(path: Path) -> bytes:
    """Return the content of a file, which another machine may replace meanwhile: NFS then takes the open file away."""
    for _ in range(READ_AGAIN):
        try:
            return path.read_bytes()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
    return path.read_bytes()


def _with_our_limits(filesystem: fs.FileSystem) -> fs.FileSystem:
    """Apply our retries and time limits by calling the constructor again, since a URI cannot set all of them."""
    if not isinstance(filesystem, fs.S3FileSystem | fs.GcsFileSystem):
        return filesystem
    options: dict[str, Any] = dict(filesystem.__reduce__()[1][0])  # its pickled form contains all other arguments
    if isinstance(filesystem, fs.S3FileSystem):
        retries = fs.AwsStandardS3RetryStrategy(max_attempts=SDK_ATTEMPTS)
        options |= {"retry_strategy": retries, "connect_timeout": CONNECT_SECONDS, "request_timeout": ANSWER_SECONDS}
        return fs.S3FileSystem(**options)
    options["retry_time_limit"] = options["retry_time_limit"] or GCS_RETRIES  # a URI may have set it
    return fs.GcsFileSystem(**options)


def _sleep(wait: float) -> None:
    time.sleep(wait * random.uniform(0.5, 1))


def _broken_links(folder: str) -> list[fs.FileInfo]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        links = [entry.path for entry in entries if entry.is_symlink()]
        return [fs.FileInfo(link, fs.FileType.Unknown) for link in links if not os.path.exists(link)]
    return []
