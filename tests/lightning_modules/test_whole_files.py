"""A file is written whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path

import pytest

from lightning_modules.whole_files import written_whole


def write(path: Path, content: str) -> None:
    with written_whole(path) as aside:
        aside.write_text(content)


def test_a_file_and_its_folders_are_made_and_nothing_is_left_beside(tmp_path):
    path = tmp_path / "deep" / "er" / "file"
    write(path, "one")
    write(path, "two")
    assert path.read_text() == "two"
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("a bug"), KeyboardInterrupt()])
def test_whatever_ends_the_writing_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def half() -> None:
        with written_whole(path) as aside:
            aside.write_text("ne")
            raise error

    with pytest.raises(type(error)):
        half()
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_after_the_last_byte_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(*args: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="Input/output"):
            write(path, "new")
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF])
def test_a_file_system_that_cannot_sync_a_folder_is_noted_and_no_failure(tmp_path, monkeypatch, caplog, error):
    """CIFS, sshfs and other file systems below FUSE answer so, after the bytes are there."""
    sync = os.fsync

    def of_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(error, os.strerror(error))
        sync(handle)

    monkeypatch.setattr(os, "fsync", of_files)
    with caplog.at_level(logging.INFO, "memsweep"):
        write(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"
    assert f"{tmp_path}: may not survive a power failure" in caplog.text


def test_a_link_stays_a_link_and_the_rights_stay(tmp_path):
    path, link = tmp_path / "kept" / "file", tmp_path / "link"
    write(path, "old")
    path.chmod(0o640)
    link.symlink_to(path)
    write(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(os, "access", lambda *args: False)  # a test may run as root, who may write everything
    with pytest.raises(PermissionError):
        write(path, "new")
    assert path.read_text() == "old"


def test_a_device_is_written_and_not_replaced():
    write(Path(os.devnull), "gone")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.parametrize("left", ["new", "later", "old", "nothing"])
def test_a_lost_answer_of_a_file_server_is_no_failure_and_a_lost_file_is_one(tmp_path, monkeypatch, left):
    """The file was moved, or moved before another process replaced it, or was never moved and is lost."""
    path, replace = tmp_path / "file", os.replace
    if left != "nothing":
        path.write_text("old")
    (tmp_path / "another").write_text("later")

    def answered_late(source: Path, target: Path) -> None:
        replace(source, target if left in ("new", "later") else tmp_path / "elsewhere")
        if left == "later":
            replace(tmp_path / "another", target)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))

    monkeypatch.setattr(os, "replace", answered_late)
    if left in ("new", "later"):
        write(path, "new")
    else:
        with pytest.raises(FileNotFoundError):
            write(path, "new")
    assert (path.read_text() if path.exists() else "nothing") == left
