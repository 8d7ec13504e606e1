"""Tests that hostile sweep files and `--set` strings are accepted or refused in a sentence, in bounded time and memory.

`hostile.py` generates the cases from fixed seeds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweeps.spec import hostile
from tests.sweeps.spec.hostile import MEMORY, Case, Generator, answer, examine, watchdog
from tests.sweeps.spec.hostile_values import bomb

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture(autouse=True)
def _own_path(monkeypatch):
    """Restore the import path, to which the folders of loaded sweep files are added."""
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_two_hundred_cases(tmp_path):
    counts, faults = examine(Generator(1).cases(200), tmp_path / "hostile.yaml")
    assert not faults, "\n".join(faults)
    assert counts.total() == 200
    assert {name.partition(": ")[0] for name in counts} == {"structure", "raw YAML", "bytes", "--set"}


@pytest.mark.slow
def test_six_thousand_cases_in_a_gibibyte():
    command = [sys.executable, "-m", "tests.sweeps.spec.hostile", "2", "6000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=3000)
    answered = json.loads(done.stdout)
    assert not answered["faults"], "\n".join(answered["faults"])
    assert sum(answered["counts"].values()) == 6000
    assert answered["peak"] < MEMORY
    for kind in ("structure", "raw YAML", "bytes", "--set"):
        assert answered["counts"][f"{kind}: accepted"] > 20
        assert answered["counts"][f"{kind}: refused when read"] > 20


def test_a_fault_of_each_kind_is_noticed(tmp_path, monkeypatch):
    """The examination notices an exception, a long message, and a case that takes too long."""
    cases = [Case("bytes", b"name: x"), Case("bytes", b"grid: 3"), Case("bytes", b"name: y")]

    def load(file, settings):
        text = Path(file).read_text()
        if text == "name: x":
            raise KeyError(text)
        if text == "name: y":
            while True:
                pass
        raise hostile.MemsweepError("x" * 2001)

    monkeypatch.setattr(hostile, "load_sweep", load)
    monkeypatch.setattr(hostile, "CPU_SECONDS", 0.05)
    counts, faults = examine(iter(cases), tmp_path / "hostile.yaml")
    assert counts == {"bytes: wrong": 3}
    assert [fault.partition(":")[0] for fault in faults] == ["KeyError", "AssertionError", "HangError"]


KNOWN = {
    "aliases that multiply": (f"name: x\nfigures: {bomb(60)}", "not valid YAML: line 2, column 194: more than 50,000 "),
    "a long value": (f"name: x\nfixed: {{seed: {bomb(8)}}}", "fixed.seed: given [['x', 'x', 'x'], [['x', 'x', 'x'], "),
    "a long name": (
        f"name: {'x' * 4000}",
        f"name: given '{'x' * 47}...{'x' * 48}'; valid: text of at most 100 letters",
    ),
    "a long file": (f"name: {'x' * 10**7}", "not valid YAML: more than 250,000 characters"),
    "many keys": ("".join(f"k{i}: 1\n" for i in range(15_000)), "k0: unknown key; given 'k0'; valid: "),
    "many rules": (f"name: x\nexclude: [{', '.join(f'{{seed: {i}, width: 3}}' for i in range(4000))}]", ""),
}
SLOW = ("many keys", "many rules")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in KNOWN])
def test_a_known_file_takes_little_time_and_gets_a_short_answer(tmp_path, name):
    text, problem = KNOWN[name]
    with watchdog(10):
        answered = answer(Case("file", text.encode()), tmp_path / "s.yaml")
    assert answered.startswith(f"refused when read: FILE: {problem}" if problem else "accepted")
    assert len(answered) < 500
