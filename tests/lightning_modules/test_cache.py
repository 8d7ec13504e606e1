"""Tests of the folder in which this machine keeps what saves time."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_modules.cache import cache_folder, write_to_cache


@pytest.mark.parametrize(
    ("settings", "folder"),
    [
        ({"MEMSWEEP_CACHE": "/fast/disk", "XDG_CACHE_HOME": "/elsewhere"}, Path("/fast/disk")),
        ({"MEMSWEEP_CACHE": "", "XDG_CACHE_HOME": "/elsewhere"}, Path("/elsewhere/memsweep")),
        ({"XDG_CACHE_HOME": ""}, Path.home() / ".cache/memsweep"),
        ({}, Path.home() / ".cache/memsweep"),
    ],
)
def test_the_folder_is_the_first_that_is_set(settings, folder, monkeypatch):
    for name in ("MEMSWEEP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == folder


def test_a_file_is_written_whole_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "deep" / "file"
    assert write_to_cache(path, b"one")
    assert write_to_cache(path, b"two")
    assert path.read_bytes() == b"two"
    assert [*path.parent.iterdir()] == [path]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_bytes(b"in the way")
    assert not write_to_cache(tmp_path / "file" / "other", b"one")
