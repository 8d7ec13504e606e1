"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_log = logging.getLogger(f"memsweep.{__name__}")

_CANNOT_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES, errno.EPERM}
"""How file systems answer that they cannot flush a file or a folder, or open a folder for it. A full or a broken disk
answers otherwise."""


@contextmanager
def written_whole(path: str | Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield the path of a new file beside `path`, which takes its place when the block ends.

    If the block fails or the process is killed, a file that was at `path` stays as it was. Missing folders are created.
    A symbolic link stays, and the file that it points to is replaced. A device or a pipe, which cannot be replaced, is
    itself yielded.

    Args:
        path: The file to write.
        durable: Whether the file also survives a power failure once the block has ended.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        yield target
        return
    if target.exists() and not os.access(target, os.W_OK):  # to replace it would need no permission for the file itself
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # a file is in the way, and not at `path`
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target.parent)) from None
    aside = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield aside
        with suppress(FileNotFoundError):
            shutil.copymode(target, aside)
        if durable:
            _sync(aside)
        _replace(aside, target)
        if durable:
            _sync(target.parent)
    finally:
        aside.unlink(missing_ok=True)


def _replace(aside: Path, target: Path) -> None:
    """Move a file to the place of another one.

    If the answer of an NFS server is lost, its client asks again, and is told that there is no file to move any more.
    The file has been moved if there is another one at its target now: it, or that of a process that wrote later.
    """
    before = _identity(target)
    try:
        os.replace(aside, target)
    except FileNotFoundError:
        if _identity(target) in (before, None):
            raise


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what no other file at a path has in common with a file, if there is one. Numbers alone are used again."""
    with suppress(FileNotFoundError):
        found = os.stat(path)
        return found.st_ino, found.st_ctime_ns
    return None


def _sync(path: Path) -> None:
    """Flush a file to disk, or a folder, since otherwise a new file in it may not survive a power failure.

    Some file systems cannot do this, such as CIFS and sshfs for a folder; what was written there is there all the same.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
        _log.info("%s: may not survive a power failure: its file system cannot sync it: %s", path, error.strerror)
