"""Run the command line in this process, with fake trainings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from memsweep import cli

from sweeps.execution.inline import Inline
from sweeps.execution.protocol import CohortEnded, Listener
from sweeps.planning.plan import Plan
from sweeps.store.store import Store
from tests.memsweep.command import SWEEP, Said

Memsweep = Callable[..., Said]


@pytest.fixture
def memsweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Memsweep:
    """Return a function that runs the program in this process, in a folder with only small.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "200")  # for the help; all other output must be complete at any width
    (tmp_path / "small.yaml").write_text(SWEEP)

    def run(*args: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["memsweep", *args])
        code = 0
        try:
            cli.main()
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else 0 if exit.code is None else 1
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return run


@pytest.fixture
def trains(monkeypatch: pytest.MonkeyPatch, make_record) -> list[Plan]:
    """Replace inline training by fake records, and return the list of plans that were executed."""
    asked: list[Plan] = []

    def execute(self: Inline, plan: Plan, store: Store, listen: Listener) -> None:
        asked.append(plan)
        for index, cohort in enumerate(plan.cohorts):
            store.append([make_record(m.id, m.evaluated, **_fields(m.settings), flops=1e9, wall_seconds=1.0)
                          for m in cohort.members])  # fmt: skip
            listen(CohortEnded(index))

    monkeypatch.setattr(Inline, "execute", execute)
    return asked


def _fields(point):
    return {name: value for name, value in vars(point).items() if value is not None}
