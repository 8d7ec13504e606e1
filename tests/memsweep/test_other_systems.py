"""Systems other than Linux, simulated by what they lack. Ray is not started here."""

from __future__ import annotations

import builtins
import io
import os
import sys
from pathlib import Path

import pytest

COMMANDS = [
    "list",
    "plan small.yaml",
    "run small.yaml --inline",
    "status small.yaml",
    "export small.yaml --out points.csv",
    "heatmap small.yaml --x label_noise --y epochs --value test_accuracy --out a.png",
    "report small.yaml",
    "replay small.yaml --scheduler asha --metric test_accuracy",
    "claims",
    "compact",
    "plan small.yaml",
]


@pytest.fixture
def without_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what only Linux has: the binding of processes to cores, and the files of its kernel.

    psutil keeps them, since on another system it asks that system.
    """
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)

    def absent(opened):
        def function(path, *args, **options):
            of_psutil = "psutil" in sys._getframe(1).f_code.co_filename
            if (
                not of_psutil
                and isinstance(path, str | os.PathLike)
                and os.fspath(path).startswith(("/proc/", "/sys/"))
            ):
                raise FileNotFoundError(2, "No such file or directory", os.fspath(path))
            return opened(path, *args, **options)

        return function

    monkeypatch.setattr(builtins, "open", absent(open))
    monkeypatch.setattr(io, "open", absent(io.open))


@pytest.mark.slow
@pytest.mark.usefixtures("without_linux")
def test_every_command_works_where_only_linux_files_and_calls_are_missing(memsweep, tmp_path: Path):
    for command in COMMANDS:
        said = memsweep(*command.split())
        assert said.code == 0, (command, said.err)
    assert (tmp_path / "points.csv").stat().st_size
    assert (tmp_path / "a.png").stat().st_size
    assert said.out.endswith("nothing to train\n")
