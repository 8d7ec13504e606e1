"""Fixtures for forked processes that tests interrupt or kill, and for handmade or random curves without a store."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeps.replay.curves import Curves

MakeCurves = Callable[..., Curves]

PRELOADED = ("memsweep.cli", "sweeps.execution.inline", "sweeps.replay.replay", "lightning_modules.training.train")

FORKED = """
import os, sys
os.chdir({folder!r})
output = os.open({output!r}, os.O_WRONLY | os.O_CREAT)
os.dup2(output, 1), os.dup2(output, 2)
sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)
sys.argv = {words!r}
exec({code!r}, {{"__name__": "__main__"}})
"""


def forkserver() -> Any:
    """Return a context for processes that fork from a server that has imported all modules of a training."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])
    return context


class Fork:
    """A forked process with the interface of `subprocess.Popen`.

    It forks from a server that has imported all modules of a training, because a fresh interpreter takes seconds to
    import them. Tests that use forks belong to the group `forks`, so that only one worker of pytest imports them.
    """

    def __init__(self, code: str, words: Sequence[str], folder: Path) -> None:
        self._output = folder / f"output-{len(list(folder.glob('output-*')))}"
        text = FORKED.format(folder=str(folder), output=str(self._output), words=list(words), code=code)
        self._process = forkserver().Process(target=exec, args=(text,))
        self._process.start()
        self.pid = self._process.pid
        self.kill = self._process.kill

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def wait_for(self, line: str) -> None:
        """Wait until the process has printed the line."""
        while line not in self.output.splitlines():
            assert self.poll() is None, self.output
            time.sleep(0.005)

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        self._process.join(timeout)
        if self._process.is_alive():
            raise subprocess.TimeoutExpired("fork", timeout or 0)
        return self.output, None


@pytest.fixture(scope="session")
def fork() -> type[Fork]:
    return Fork


@pytest.fixture
def forked_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the processes of pools as well, instead of starting them afresh."""
    context = forkserver()
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: context)


@pytest.fixture(scope="session")
def make_curves() -> MakeCurves:
    """Return a function that makes curves from one row of scores per training, with NaN at epochs without evaluation.

    `broke` maps the index of a training to the epoch in which it diverged. `more` are other measures. The columns are
    at `epochs`, by default 1, 2, 3, ..."""

    def make(
        scores: Sequence[Sequence[float]] | np.ndarray, *, epochs: Sequence[int] | None = None,
        horizons: Sequence[int] | None = None, broke: dict[int, int] | None = None,
        seconds: Sequence[float] | None = None, **more: np.ndarray,
    ) -> Curves:  # fmt: skip
        values = np.array(scores, float)
        at = np.array(epochs if epochs is not None else range(1, values.shape[1] + 1))
        ends = np.zeros(len(values), int)
        for index, epoch in (broke or {}).items():
            ends[index] = epoch
        return Curves(
            tuple(f"t{i}" for i in range(len(values))),
            np.array(horizons if horizons is not None else [at[-1]] * len(values)),
            at,
            {"score": values, **{name: np.array(each, float) for name, each in more.items()}},
            ends,
            np.array(seconds if seconds is not None else np.ones(len(values)), float),
        )

    return make
